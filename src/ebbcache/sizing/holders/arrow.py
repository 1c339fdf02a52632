"""Arrow's arrays and tables, as pyarrow shows them: C++ objects around buffers that several may share.

Every array tells its buffers, with their addresses and whole sizes, so a slice is charged what it keeps
alive. How many arrays hold a buffer is read from its shared pointer (libstdc++'s shared_ptr_base.h), if
a trial finds it where it should be. Several tables may hold one array, which shows nowhere: the first value
met that reaches it is charged with it as long as it lives, others are not. The pool cuts buffers at 64
bytes (arrow/memory_pool.cc). Bound: O(arrays); C++ objects have a typical size.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import sys
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final

from ebbcache.sizing.chunks import malloc_chunk
from ebbcache.sizing.holders import InC, Rule
from ebbcache.sizing.layout import Expand, Expanded, Part, basicsize, class_of, fixed

_ARRAY: Final = 248  # ArrayData, Array, the vectors in them, and their control blocks
_BUFFER: Final = 168
_CHILD: Final = 310  # a field and a type for each child of a nested array
_CHUNKED: Final = 176
_CHUNK: Final = 16
_TABLE: Final = 99
_COLUMN: Final = 192
_BATCH: Final = 160
_FIELD: Final = 228
_SCHEMA: Final = 219
_SCALAR: Final = 72
_INLINE: Final = 15  # what a std::string holds in itself
_REMEMBERED: Final = 4096
_BLOCK: Final = object.__basicsize__ + 3 * ctypes.sizeof(ctypes.c_void_p)
"""Where in a wrapper the pointer to the count is: behind methods, weakrefs, and the pointer to the rest."""
_word: Final = ctypes.c_size_t.from_address
_count: Final = ctypes.c_int32.from_address

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


def _holders(obj: Any) -> int:
    """Return how many shared pointers there are like the one in `obj`, a wrapper of pyarrow's."""
    block = _word(id(obj) + _BLOCK).value
    return _count(block + ctypes.sizeof(ctypes.c_void_p)).value if block else 0


@functools.cache
def _counted() -> bool:
    """Return whether counts are found where `_holders` looks: tried with a buffer and a schema."""
    lib: Any = sys.modules["pyarrow.lib"]
    behind = basicsize(lib.Buffer) - _BLOCK, basicsize(lib.Schema) - _BLOCK
    if sys.platform != "linux" or behind[0] < 24 or behind[1] < 16:
        return False
    array = lib.array([1, 2, 3])
    buffer, schema = array.buffers()[1], lib.schema([("a", array.type)])
    at = id(buffer) + _BLOCK, id(schema) + _BLOCK
    # Behind a buffer's pointer are its size and 1, behind a schema's is the same without its count.
    if (_word(at[0] + 8).value, _word(at[0] + 16).value) != (buffer.size, 1):
        return False
    if _word(at[1] + 8).value != _word(at[1] - 8).value:
        return False
    before = _holders(buffer), _holders(schema)
    others = array.slice(1), lib.Table.from_arrays([array], schema=schema)
    return (*before, _holders(buffer), _holders(schema), len(others)) == (2, 1, 3, 2, 2)


@functools.cache
def _kinds() -> tuple[type, type]:
    lib: Any = sys.modules["pyarrow.lib"]
    return lib.DictionaryType, lib.BaseExtensionType


def _schema(schema: Any) -> Part:
    """Return the schema of a table, of which this is a wrapper made for us."""
    nbytes = _SCHEMA + _FIELD * len(schema)
    if not _counted():
        return Part(id(schema), nbytes, 1)
    return Part(_word(id(schema) + _BLOCK - 8).value, nbytes, max(1, _holders(schema) - 1))


def _part(obj: Any, buffer: Any, holders: int) -> Part:
    address = buffer.address
    nbytes = _BUFFER + malloc_chunk(buffer.size + 63 & -64)
    return Part(address, nbytes, holders if holders > 1 else _owners(obj, address))


def _nodes(kind: Any) -> int:
    """Return how many arrays there are in one of that type, its children among them."""
    return 1 + sum(_nodes(kind.field(n).type) for n in range(kind.num_fields))


def _expanded(obj: Any, own: int, arrays: Iterable[Any] = (), buffers: Iterable[Any] = ()) -> Expanded:
    """Return `obj` as read: `own` bytes in C++, and what `arrays` and `buffers` come to."""
    kids = [_part(obj, buffer, 0) for buffer in buffers if buffer.size]
    counted, (dictionaries, extensions) = _counted(), _kinds()
    for array in arrays:
        kind = array.type
        nodes = _nodes(kind) if kind.num_fields else 1
        own += nodes * _ARRAY + (nodes - 1) * _CHILD
        found = array.buffers()
        told = counted and nodes == 1
        if isinstance(kind, dictionaries):
            own += _ARRAY
            found += array.dictionary.buffers()
            told = False  # in C++ such arrays hold more arrays
        elif isinstance(kind, extensions):
            told = False
        kids += [  # one of the holders is the wrapper that was made for us
            _part(obj, buffer, _holders(buffer) - 1 if told else 0)
            for buffer in found
            if buffer is not None and buffer.size
        ]
    return fixed(class_of(obj)) + own, kids + gc.get_referents(obj), 1


_NAMES: Final = (
    "type",
    "num_fields",
    "buffers",
    "dictionary",
    "size",
    "address",
    "chunks",
    "columns",
    "schema",
)
_ONE_ARRAY, _ONE_COLUMN, _ALL_COLUMNS, _ALL_ARRAYS, _ONE_BUFFER = range(5)


def _in_c(how: int, head: int) -> InC:
    """Let C read what arrays, columns and so on are, `head` being what they take besides."""

    def native(base: type, cls: type) -> tuple[Any, ...]:
        functions = _owners, _nodes, _schema
        counted = _BLOCK if _counted() else -1
        nbytes = _COLUMN, _CHUNK, _ARRAY, _CHILD, _BUFFER
        return "arrow", how, _NAMES, *functions, *_kinds(), counted, head, *nbytes

    return native


def _rule(read: Callable[[Any], Expanded], native: InC | None = None) -> Rule:
    def whatever_the_cap(obj: Any, cap: float) -> Expanded:
        return read(obj)

    def of_any_class(cls: type) -> Expand:
        return whatever_the_cap

    return Rule(of_any_class, native=native)


def _chunks(column: Any) -> Expanded:
    chunks = column.chunks
    return _expanded(column, _CHUNKED + _CHUNK * len(chunks), chunks)


def _columns(table: Any) -> Expanded:
    columns = table.columns
    chunks = [chunk for column in columns for chunk in column.chunks]
    size, kids, times = _expanded(table, _TABLE + _COLUMN * len(columns) + _CHUNK * len(chunks), chunks)
    kids.append(_schema(table.schema))
    return size, kids, times


def _scalars(scalar: Any) -> Expanded:
    text = scalar.as_buffer() if hasattr(scalar, "as_buffer") else None
    if text is None:
        return _expanded(scalar, _SCALAR)
    return _expanded(
        scalar, _SCALAR + _BUFFER + (malloc_chunk(text.size + 1) if text.size > _INLINE else 0)
    )


arrays = _rule(lambda array: _expanded(array, 0, [array]), _in_c(_ONE_ARRAY, 0))
chunked = _rule(_chunks, _in_c(_ONE_COLUMN, _CHUNKED))
tables = _rule(_columns, _in_c(_ALL_COLUMNS, _TABLE))
batches = _rule(lambda batch: _expanded(batch, _BATCH, batch.columns), _in_c(_ALL_ARRAYS, _BATCH))
buffers = _rule(lambda buffer: _expanded(buffer, 0, buffers=[buffer]), _in_c(_ONE_BUFFER, 0))
scalars = _rule(_scalars)
schemas = _rule(lambda schema: _expanded(schema, _SCHEMA + _FIELD * len(schema)))
