"""Attributes of instances, which lie apart in arrays that no method tells of.

CPython 3.11 and 3.12 put them into a block of their own (Objects/dictobject.c: new_values), 3.13 behind the
instance (init_inline_values); whoever asks for the `__dict__` has one made. A word in front of the instance
says which, and the array's capacity is what the class's instances had for attributes when it was made: the
keys that they share tell it. All this is read from memory, as the walk in C does, and only in builds whose
types are as large as these layouts make them. Elsewhere the capacity is taken as one more than the most
attributes seen, which is what CPython settles on after some thirty instances. Bound: exact in known builds.
"""

from __future__ import annotations

import functools
import gc
import sys
import sysconfig
import types
from collections.abc import Sequence
from typing import Any, Final

from .chunks import chunk
from .layout import (
    HEAP_TYPE,
    MANAGED_DICT,
    Expand,
    ExpandAll,
    Expanded,
    Sizer,
    basicsize,
    class_of,
    fixed,
    flags,
    header,
    members,
    mro,
    thinned,
)

_VERSION: Final = sys.version_info[:2]
_INLINE_VALUES: Final = 1 << 2 if _VERSION >= (3, 13) else 0
_EMPTY: Final = 24 if _VERSION < (3, 12) else 16  # an instance without slots; 3.11 adds a weakref
_DICT: Final = dict.__basicsize__
_TABLE: Final = {"": None}.__sizeof__() - _DICT

# The size of a heap type, and where in it its instances' shared keys are.
_LAYOUTS: Final = {(3, 11): (904, 872), (3, 12): (920, 880), (3, 13): (928, 880), (3, 14): (936, 880)}


KNOWN: Final = (
    sys.implementation.name == "cpython"
    and basicsize(type) == _LAYOUTS.get(_VERSION, (0, 0))[0]
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
)
_VALUES: Final = _INLINE_VALUES or MANAGED_DICT
_COUNT: Final = (1 << 32) - 1  # what of an object's first word is its reference count


@functools.cache
def _memory() -> tuple[Sequence[int], Sequence[int]]:
    """Return the memory of the process as it lies there, in words and in bytes."""
    import ctypes

    words: Any = (ctypes.c_uint64 * (1 << 44)).from_address(0)
    octets: Any = (ctypes.c_uint8 * (1 << 47)).from_address(0)
    return words, octets


def _reader_of_memory(cls: type, several: bool) -> Sizer:
    """Return what tells of an instance what it takes with its attributes, inside it and beside.

    `several` classes like `cls` may be served.
    """
    words, octets = _memory()
    bare = basicsize(cls) + header(cls)
    if _VERSION >= (3, 13):
        behind = basicsize(cls)
        asked = chunk(_DICT + 16)
        blocks = [chunk(bare + (room + 7 & -8) + 8 * (room + 1)) for room in range(256)]

        def inline(obj: Any) -> int:
            at = id(obj)
            room = octets[at + behind]
            kept = words[at - 24 >> 3]
            if kept and octets[at + behind + 3] and words[kept >> 3] & _COUNT == 1:
                # Somebody asked for its `__dict__` once, whose values still are the instance's. 3.13 does
                # not show it among what an instance refers to; 3.14 does, and it says it had these values.
                return blocks[room] + (asked if _VERSION < (3, 14) else -chunk(8 * room))
            return blocks[room]

        return inline

    alone = chunk(bare)
    offset = _LAYOUTS[_VERSION][1]
    before = 4 if _VERSION < (3, 12) else 3

    def keys_of(cls: type) -> int:
        return words[id(cls) + offset >> 3] >> 3

    keys_of_class = keys_of(cls)

    def apart(obj: Any) -> int:
        values = words[(id(obj) >> 3) - before]
        if before == 3:  # a pointer less 1, or one to a dict
            values = values + 1 if values & 1 else 0
        if not values:
            return alone
        keys = keys_of(class_of(obj)) if several else keys_of_class
        room = words[keys + 2] + words[keys + 3] if keys else 0
        prefix = octets[values - 1]
        return alone + chunk(prefix + 8 * max(room, prefix - 9))

    return apart


def _guess(cls: type, slots: int) -> Sizer:
    """Return what guesses the same by the most attributes that instances of a class had."""
    bare = basicsize(cls) + header(cls)
    most = 0

    def guess(obj: Any) -> int:
        nonlocal most
        kids = gc.get_referents(obj)
        count = len(kids) - slots - 1  # the type is one of them
        if count == 1 and not _INLINE_VALUES:
            kid = kids[0]
            # Is that the `__dict__`, which somebody asked for? Then it holds the attributes, and shares its
            # keys with other instances: its own table is smaller than any of a dict that stands for itself.
            if type(kid) is dict and (most > 1 or 0 < kid.__sizeof__() - _DICT < _TABLE):
                return chunk(bare)
        most = max(most, count)
        room = most + 1
        if _INLINE_VALUES:
            return chunk(bare + 8 * (room + 1) + (room + 7 & -8))
        return chunk(bare) + chunk((room + 9 & -8) + 8 * room)

    return guess


def reader_of_instances(cls: type, several: bool = False) -> tuple[Expand, ExpandAll] | None:
    """Return the readers of a class whose instances keep attributes apart, in CPython's hidden arrays.

    None if `cls` is no such class: it has slots only, or a base that is written in C.
    """
    names = (value for base in mro(cls) for value in members(base).values())
    slots = sum(isinstance(value, types.MemberDescriptorType) for value in names)
    if not flags(cls) & _VALUES or basicsize(cls) - 8 * slots > _EMPTY:
        return None
    own = _reader_of_memory(cls, several) if KNOWN else _guess(cls, slots)

    def read(obj: Any, cap: float) -> Expanded:
        kids = gc.get_referents(obj)
        if 2 * len(kids) <= cap:
            return own(obj), kids, 1
        return own(obj), *thinned(kids, cap)

    def read_all(objs: list[Any], cap: float) -> tuple[int, list[Any]] | None:
        kids = gc.get_referents(*objs)
        return None if 2 * len(kids) > cap else (sum(map(own, objs)), kids)

    return read, read_all


def with_attributes(cls: type, read: Expand, several: bool = False) -> Expand:
    """Return `read`, which reads what a base in C has, with the attributes of instances of `cls`."""
    if not (KNOWN and flags(cls) & _VALUES and flags(cls) & HEAP_TYPE):
        return read
    alone = fixed(cls)
    attributes = _reader_of_memory(cls, several)

    def read_both(obj: Any, cap: float) -> Expanded:
        own, kids, times = read(obj, cap)
        return own + attributes(obj) - alone, kids, times

    return read_both
