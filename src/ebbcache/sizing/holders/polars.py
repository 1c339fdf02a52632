"""Frames and series of polars, which are Rust objects that say how much they hold. Bound: O(columns).

Of texts they tell the bytes, but not the 16 of each one's view (polars-arrow/src/array/binview). A lazy
frame holds the frames that its plan scans. Buffers may be shared between them, and of a slice only its own
rows are told: what it keeps alive besides is not known.
"""

from __future__ import annotations

from typing import Any, Final

from ebbcache.sizing.chunks import malloc_chunk
from ebbcache.sizing.holders import Rule
from ebbcache.sizing.layout import Expand, Expanded, fixed, members

_TEXTS: Final = frozenset(("String", "Binary"))
_VIEW: Final = 16


def _holders(cls: type) -> Expand:
    estimated_size: Any = members(cls)["estimated_size"]
    columns_of: Any = members(cls).get("get_columns")  # a series has none
    length_of: Any = members(cls).get("len") or members(cls)["height"]

    def read(obj: Any, cap: float) -> Expanded:
        columns = [obj] if columns_of is None else columns_of(obj)
        views = sum(str(column.dtype()) in _TEXTS for column in columns) * _VIEW * length_of(obj)
        return fixed(cls) + malloc_chunk(estimated_size(obj) + views), [], 1

    return read


def _plans(cls: type) -> Expand:
    def read(obj: Any, cap: float) -> Expanded:
        plan = obj.visit()
        kids: list[Any] = []
        nodes = [plan.get_node()]
        while nodes and len(kids) < cap:
            plan.set_node(nodes.pop())
            nodes += plan.get_inputs()
            frame = getattr(plan.view_current_node(), "df", None)
            if frame is not None:
                kids.append(frame)
        return fixed(cls), kids, 1

    return read


holders = Rule(_holders)
plans = Rule(_plans)
