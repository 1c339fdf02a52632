"""Arrow's arrays and tables, as pyarrow shows them: C++ objects around buffers that several may share.

Every array tells its buffers, with their addresses and whole sizes, so a slice is charged what it keeps
alive. How many hold a buffer is not told: each value that reaches it is charged with it, once. The pool
cuts buffers at 64 bytes (arrow/memory_pool.cc). Bound: O(arrays); C++ objects have a typical size.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from typing import Any, Final

from ebbcache.sizing.chunks import malloc_chunk
from ebbcache.sizing.holders import Rule
from ebbcache.sizing.layout import Expand, Expanded, Part, class_of, fixed

_ARRAY: Final = 336  # ArrayData, Array, the vectors in them, and their control blocks
_BUFFER: Final = 144
_FIELD: Final = 256


def _expanded(obj: Any, own: int, arrays: Iterable[Any] = (), buffers: Iterable[Any] = ()) -> Expanded:
    """Return `obj` as read: `own` bytes in C++, and what `arrays` and `buffers` come to."""
    found = [*buffers]
    for array in arrays:
        parts = array.buffers()
        own += _ARRAY * ((len(parts) + 1) // 2)  # children are arrays, too
        found += parts
        dictionary = getattr(array, "dictionary", None)
        if dictionary is not None:
            own += _ARRAY
            found += dictionary.buffers()
    kids: list[Any] = [
        Part(part.address, _BUFFER + malloc_chunk(part.size + 63 & -64))
        for part in found
        if part is not None and part.size
    ]
    return fixed(class_of(obj)) + own, kids + gc.get_referents(obj), 1


def _rule(read: Callable[[Any], Expanded]) -> Rule:
    def whatever_the_cap(obj: Any, cap: float) -> Expanded:
        return read(obj)

    def of_any_class(cls: type) -> Expand:
        return whatever_the_cap

    return Rule(of_any_class)


def _columns(table: Any) -> Expanded:
    columns = table.columns
    chunks = [chunk for column in columns for chunk in column.chunks]
    return _expanded(table, (_FIELD + 2 * _BUFFER) * len(columns), chunks)


arrays = _rule(lambda array: _expanded(array, 0, [array]))
chunked = _rule(lambda column: _expanded(column, _BUFFER, column.chunks))
tables = _rule(_columns)
batches = _rule(lambda batch: _expanded(batch, _FIELD * batch.num_columns, batch.columns))
buffers = _rule(lambda buffer: _expanded(buffer, 0, buffers=[buffer]))
scalars = _rule(lambda scalar: _expanded(scalar, 2 * _BUFFER))
schemas = _rule(lambda schema: _expanded(schema, _FIELD * len(schema)))
