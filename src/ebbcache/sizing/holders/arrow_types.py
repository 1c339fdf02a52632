"""Arrow's types and fields, as pyarrow shows them: trees of C++ objects (arrow/type.h) that many may share.

Types without parameters are the library's own and take nothing. How many hold a tree is read from its
shared pointer as `arrow` reads it of a buffer. Bound: O(fields); objects have a typical size, so some 10
%.
"""

from __future__ import annotations

import gc
from typing import Any, Final

from ebbcache.sizing.chunks import malloc_chunk
from ebbcache.sizing.holders import Rule
from ebbcache.sizing.holders.arrow import _BLOCK, _FIELD, _counted, _holders, _word
from ebbcache.sizing.layout import Expand, Expanded, Part, class_of, fixed

_NESTED: Final = 64
_INDEXED: Final = 150  # a struct or union finds its fields by name
_DICTIONARY: Final = 140
_METADATA: Final = 96
_PAIR: Final = 64
_INLINE: Final = 15  # what a std::string holds in itself


def metadata_bytes(metadata: Any) -> int:
    """Return what the metadata of a field or schema take."""
    if not metadata:
        return 0
    texts = [len(text) for pair in metadata.items() for text in pair]
    return _METADATA + _PAIR * len(metadata) + sum(malloc_chunk(n + 1) for n in texts if n > _INLINE)


def _type_bytes(kind: Any) -> int:
    count = kind.num_fields
    if not count:
        indexed = hasattr(kind, "index_type")
        return _DICTIONARY + _type_bytes(kind.value_type) if indexed else 0
    own = _NESTED if count == 1 else _NESTED + _INDEXED
    return own + sum(_field_bytes(kind.field(n)) for n in range(count))


def _field_bytes(field: Any) -> int:
    name = len(field.name)
    text = malloc_chunk(name + 1) if name > _INLINE else 0
    return _FIELD + text + metadata_bytes(field.metadata) + _type_bytes(field.type)


def _part(obj: Any, nbytes: int) -> Part:
    if not _counted():
        return Part(id(obj), nbytes, 1)
    return Part(_word(id(obj) + _BLOCK - 8).value, nbytes, max(1, _holders(obj)))


def _types(cls: type) -> Expand:
    def read(obj: Any, cap: float) -> Expanded:
        own, kids = fixed(class_of(obj)), gc.get_referents(obj)
        nbytes = _type_bytes(obj)
        return own, [*kids, _part(obj, nbytes)] if nbytes else kids, 1

    return read


def _fields(cls: type) -> Expand:
    def read(obj: Any, cap: float) -> Expanded:
        return fixed(class_of(obj)), [*gc.get_referents(obj), _part(obj, _field_bytes(obj))], 1

    return read


types = Rule(_types)
fields = Rule(_fields)
