"""Frames and series of polars, which are Rust objects that say how much they hold. Bound: O(columns).

Buffers may be shared between them, and of a slice only its own rows are told: what it keeps alive besides
is not known.
"""

from __future__ import annotations

from typing import Any

from ebbcache.sizing.chunks import malloc_chunk
from ebbcache.sizing.holders import Rule
from ebbcache.sizing.layout import Expand, Expanded, fixed, members


def _holders(cls: type) -> Expand:
    estimated_size: Any = members(cls)["estimated_size"]

    def read(obj: Any, cap: float) -> Expanded:
        return fixed(cls) + malloc_chunk(estimated_size(obj)), [], 1

    return read


holders = Rule(_holders)
