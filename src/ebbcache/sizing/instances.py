"""Attributes of instances, which lie apart in arrays that no method tells of.

CPython 3.11 and 3.12 put them into a block of their own (Objects/dictobject.c: new_values), 3.13 behind the
instance (init_inline_values); whoever asks for the `__dict__` has one made. A word in front of the instance
says which, and the array's capacity is what the class's instances had for attributes when it was made: the
keys that they share tell it. All this is read from memory, as the walk in C does, and only in builds whose
types are as large as these layouts make them. Elsewhere the capacity is taken as one more than the most
attributes seen, which is what CPython settles on after some thirty instances. Bound: exact in known builds.
"""

from __future__ import annotations

import gc
import sys
import sysconfig
import types
from collections.abc import Callable
from typing import Any, Final

from .chunks import chunk
from .layout import (
    HEAP_TYPE,
    MANAGED_DICT,
    Expand,
    Expanded,
    basicsize,
    class_of,
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


def _reader_of_memory(cls: type, several: bool) -> Callable[[Any], tuple[int, int]]:
    """Return what tells of an instance what its attributes take beside it, and inside it.

    `several` classes like `cls` may be served.
    """
    import ctypes

    word = ctypes.c_size_t.from_address
    half = ctypes.c_uint32.from_address
    byte = ctypes.c_uint8.from_address
    if _VERSION >= (3, 13):
        bare = basicsize(cls)
        asked = chunk(_DICT + 16)

        def inline(obj: Any) -> tuple[int, int]:
            at = id(obj)
            room = byte(at + bare).value
            kept = word(at - 24).value
            beside = 0
            if kept and byte(at + bare + 3).value and half(kept).value == 1:
                # Somebody asked for its `__dict__` once, whose values still are the instance's. 3.13 does
                # not show it among what an instance refers to; 3.14 does, and it says it had these values.
                beside = asked if _VERSION < (3, 14) else -chunk(8 * room)
            return beside, (room + 7 & -8) + 8 * (room + 1)

        return inline

    offset = _LAYOUTS[_VERSION][1]
    keys = word(id(cls) + offset).value
    usable = word(keys + 16) if keys else None
    entries = word(keys + 24) if keys else None
    first = _VERSION < (3, 12)

    def capacity(obj: Any) -> int:
        if not several:
            return 0 if entries is None or usable is None else entries.value + usable.value
        keys = word(id(class_of(obj)) + offset).value
        return word(keys + 16).value + word(keys + 24).value if keys else 0

    def apart(obj: Any) -> tuple[int, int]:
        values = word(id(obj) - (32 if first else 24)).value
        if not first:
            values = values + 1 if values & 1 else 0
        if not values:
            return 0, 0
        prefix = byte(values - 1).value
        return chunk(prefix + 8 * max(capacity(obj), prefix - 9)), 0

    return apart


def _guess(slots: int) -> Callable[[Any], tuple[int, int]]:
    """Return what guesses the same by the most attributes that instances of a class had."""
    most = 0

    def guess(obj: Any) -> tuple[int, int]:
        nonlocal most
        kids = gc.get_referents(obj)
        count = len(kids) - slots - 1  # the type is one of them
        if count == 1 and not _INLINE_VALUES:
            kid = kids[0]
            # Is that the `__dict__`, which somebody asked for? Then it holds the attributes, and shares its
            # keys with other instances: its own table is smaller than any of a dict that stands for itself.
            if type(kid) is dict and (most > 1 or 0 < kid.__sizeof__() - _DICT < _TABLE):
                return 0, 0
        most = max(most, count)
        room = most + 1
        if _INLINE_VALUES:
            return 0, 8 * (room + 1) + (room + 7 & -8)
        return chunk((room + 9 & -8) + 8 * room), 0

    return guess


def reader_of_instances(cls: type, several: bool = False) -> Expand | None:
    """Return the reader of a class whose instances keep attributes apart, in CPython's hidden arrays.

    None if `cls` is no such class: it has slots only, or a base that is written in C.
    """
    names = (value for base in mro(cls) for value in members(base).values())
    slots = sum(isinstance(value, types.MemberDescriptorType) for value in names)
    if not flags(cls) & _VALUES or basicsize(cls) - 8 * slots > _EMPTY:
        return None
    bare = basicsize(cls) + header(cls)
    attributes = _reader_of_memory(cls, several) if KNOWN else _guess(slots)

    def read(obj: Any, cap: float) -> Expanded:
        beside, inside = attributes(obj)
        return chunk(bare + inside) + beside, *thinned(gc.get_referents(obj), cap)

    return read


def with_attributes(cls: type, read: Expand, several: bool = False) -> Expand:
    """Return `read`, which reads what a base in C has, with the attributes of instances of `cls`."""
    if not (KNOWN and flags(cls) & _VALUES and flags(cls) & HEAP_TYPE):
        return read
    bare = basicsize(cls) + header(cls)
    attributes = _reader_of_memory(cls, several)

    def read_both(obj: Any, cap: float) -> Expanded:
        own, kids, times = read(obj, cap)
        beside, inside = attributes(obj)
        return own + beside + chunk(bare + inside) - chunk(bare), kids, times

    return read_both
