"""Messages of protobuf, which lie in an arena of C's (upb/mem/arena.c) that tells no size.

What fields are set is asked of the message, as `ListFields` does; how large each is follows from its type
(upb/mini_table). The arena's blocks double as it fills, up to 32 KiB, and are gone through as if the
fields had come in order. Bound: O(fields set); within some 20 %, as the rest of the last block depends on
the order.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any, Final, cast

from ebbcache.sizing.chunks import malloc_chunk
from ebbcache.sizing.holders import Rule
from ebbcache.sizing.layout import Expand, Expanded, class_of, fixed, members

_FIRST: Final = 368
_LARGEST: Final = 32 << 10
_HEAD: Final = 64  # of the arena, in its first block
_MESSAGE: Final = 8
_ARRAY: Final = 32
_ENTRY: Final = 32  # of a map
_OBJECT: Final = 32  # Python's, that holds an arena
_SIZES: Final = {1: 4, 2: 8, 3: 4, 4: 8, 5: 8, 6: 4, 7: 1, 8: 4, 9: 16, 10: 8}
"""Bytes of a field by its cpp_type: numbers, bool, enum, a text's address and length, a message's."""
_TEXT, _MESSAGES = 9, 10
_REMEMBERED: Final = 256

_structs: dict[str, int] = {}


class _Arena:
    """Blocks that fill up."""

    def __init__(self) -> None:
        self.nbytes = malloc_chunk(_FIRST)
        self._last = _FIRST
        self._left = _FIRST - _HEAD

    def take(self, nbytes: int) -> None:
        nbytes = nbytes + 7 & -8
        if nbytes > self._left:
            self._last = max(nbytes + 2 * _MESSAGE, min(2 * self._last, _LARGEST))
            self._left = self._last - 2 * _MESSAGE
            self.nbytes += malloc_chunk(self._last)
        self._left -= nbytes


def _struct(descriptor: Any) -> int:
    """Return the bytes of a message without what its fields lead to."""
    name = descriptor.full_name
    size = _structs.get(name)
    if size is None:
        if len(_structs) >= _REMEMBERED:
            _structs.clear()
        size = _MESSAGE
        for field in descriptor.fields:
            size += 8 if field.is_repeated else _SIZES.get(field.cpp_type, 8)
        _structs[name] = size
    return size


def _entries(value: Any) -> list[Any]:
    """Return the keys and values of a map; nothing of any other field."""
    return [*chain.from_iterable(cast("Any", value).items())] if isinstance(value, Mapping) else []


def _messages(cls: type) -> Expand:
    fields_of: Any = members(cls)["ListFields"]
    message_type = cls

    def fill(arena: _Arena, message: Any, cap: float) -> float:
        """Put `message` into `arena`, and return how many fields may still be looked at."""
        arena.take(_struct(message.DESCRIPTOR))
        for field, value in fields_of(message):
            cap -= 1
            texts = field.cpp_type == _TEXT
            if not field.is_repeated:
                if field.cpp_type == _MESSAGES and cap > 0:
                    cap = fill(arena, value, cap)
                elif texts:
                    arena.take(len(value))
                continue
            entries = _entries(value)
            scattered = texts or field.cpp_type == _MESSAGES
            each_takes = _ENTRY if entries else _SIZES.get(field.cpp_type, 8)
            room = 4
            while room < len(value):
                if scattered:  # what lies behind an array keeps it from growing in its place
                    arena.take(_ARRAY + room * each_takes)
                room *= 2
            arena.take(_ARRAY + room * each_takes)
            for each in value if scattered and not entries else entries:
                cap -= 1
                if isinstance(each, str | bytes):
                    arena.take(len(each))
                elif isinstance(each, message_type) and cap > 0:
                    cap = fill(arena, each, cap)
        return cap

    def read(obj: Any, cap: float) -> Expanded:
        arena = _Arena()
        fill(arena, obj, cap)
        return fixed(class_of(obj)) + _OBJECT + arena.nbytes, [], 1

    return read


messages = Rule(_messages)
