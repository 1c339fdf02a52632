"""Arrow's arrays and tables, as pyarrow shows them: C++ objects around buffers that several may share.

Every array tells its buffers, with their addresses and whole sizes, so a slice is charged what it keeps
alive. How many hold a buffer is not told: the first value met that reaches it is charged with it as long as
it lives, others are not. The pool cuts buffers at 64 bytes (arrow/memory_pool.cc). Bound: O(arrays); C++
objects have a typical size.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

from ebbcache.sizing.chunks import malloc_chunk
from ebbcache.sizing.holders import Rule
from ebbcache.sizing.layout import Expand, Expanded, Part, class_of, fixed

_ARRAY: Final = 248  # ArrayData, Array, the vectors in them, and their control blocks
_BUFFER: Final = 168
_CHILD: Final = 310  # a field and a type for each child of a nested array
_CHUNKED: Final = 176
_CHUNK: Final = 16
_TABLE: Final = 318
_COLUMN: Final = 420
_BATCH: Final = 160
_FIELD: Final = 228
_SCHEMA: Final = 219
_SCALAR: Final = 72
_INLINE: Final = 15  # what a std::string holds in itself
_REMEMBERED: Final = 4096

_first: dict[int, weakref.ref[Any]] = {}
"""Who was met first with a buffer, by its address: it may be gone, and the address be another's."""


def _owners(obj: Any, address: int) -> int:
    """Return how many are known to hold a buffer that `obj` holds: 0, which is nobody else, or 2."""
    first = _first.get(address)
    holder = None if first is None else first()
    if holder is None:
        if len(_first) >= _REMEMBERED:
            _first.clear()
        _first[address] = weakref.ref(obj)
        return 0
    return 0 if holder is obj else 2


def _nodes(kind: Any) -> int:
    """Return how many arrays there are in one of that type, its children among them."""
    return 1 + sum(_nodes(kind.field(n).type) for n in range(kind.num_fields))


def _expanded(obj: Any, own: int, arrays: Iterable[Any] = (), buffers: Iterable[Any] = ()) -> Expanded:
    """Return `obj` as read: `own` bytes in C++, and what `arrays` and `buffers` come to."""
    found = [*buffers]
    for array in arrays:
        kind = array.type
        nodes = _nodes(kind) if kind.num_fields else 1
        found += array.buffers()
        dictionary = getattr(array, "dictionary", None)
        if dictionary is not None:
            own += _ARRAY
            found += dictionary.buffers()
        own += nodes * _ARRAY + (nodes - 1) * _CHILD
    kids: list[Any] = [
        Part(part.address, _BUFFER + malloc_chunk(part.size + 63 & -64), _owners(obj, part.address))
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


def _chunks(column: Any) -> Expanded:
    chunks = column.chunks
    return _expanded(column, _CHUNKED + _CHUNK * len(chunks), chunks)


def _columns(table: Any) -> Expanded:
    columns = table.columns
    chunks = [chunk for column in columns for chunk in column.chunks]
    return _expanded(table, _TABLE + _COLUMN * len(columns) + _CHUNK * len(chunks), chunks)


def _scalars(scalar: Any) -> Expanded:
    text = scalar.as_buffer() if hasattr(scalar, "as_buffer") else None
    if text is None:
        return _expanded(scalar, _SCALAR)
    return _expanded(
        scalar, _SCALAR + _BUFFER + (malloc_chunk(text.size + 1) if text.size > _INLINE else 0)
    )


arrays = _rule(lambda array: _expanded(array, 0, [array]))
chunked = _rule(_chunks)
tables = _rule(_columns)
batches = _rule(lambda batch: _expanded(batch, _BATCH, batch.columns))
buffers = _rule(lambda buffer: _expanded(buffer, 0, buffers=[buffer]))
scalars = _rule(_scalars)
schemas = _rule(lambda schema: _expanded(schema, _SCHEMA + _FIELD * len(schema)))
