"""What types in C tell of objects that the collector cannot see into: their fields, and their buffer.

A type without tp_traverse may hold objects all the same. Fields declared as PyMemberDef
(Include/structmember.h) answer with what lies in the object, at no cost and with no code of the program's
run; a number or text that is made to answer has no reference but ours, and is nothing that the object
holds. A type that tells no size but exports a buffer of its own (PEP 3118) holds at least that. Bound:
some 200 ns a field; which fields hold objects is found out once, on the first object of a type.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from sys import getrefcount
from typing import Any, Final, TypeAlias

from .layout import HAVE_GC, IN_NAME, Expand, Expanded, Sizer, class_of, flags, members, mro

Getter: TypeAlias = Callable[[Any], Any]

_NUMBERS: Final = (int, bool, float)


def fields_of(cls: type, sample: Any) -> list[Getter]:
    """Return what reads fields of `cls` that no collector sees; `sample` is one of its objects."""
    found: list[Getter] = []
    for base in mro(cls):
        if flags(base) & HAVE_GC:
            continue
        for field in members(base).values():
            if class_of(field) is not types.MemberDescriptorType:
                continue
            try:
                value = field.__get__(sample)
            except Exception:  # it has none yet, or this is no object of that type
                found.append(field.__get__)
                continue
            if getrefcount(value) > IN_NAME and class_of(value) not in _NUMBERS:
                found.append(field.__get__)
    return found


def with_fields(read: Expand, fields: list[Getter]) -> Expand:
    """Return `read` with what lies in those fields of an object."""

    def read_both(obj: Any, cap: float) -> Expanded:
        own, kids, times = read(obj, cap)
        for get in fields:
            try:
                value = get(obj)
            except Exception:  # it has none
                continue
            if getrefcount(value) > IN_NAME:
                kids.append(value)
        return own, kids, times

    return read_both


def exported(obj: Any) -> int:
    """Return the bytes of the buffer that `obj` exports, 0 if it has none or it is another object's."""
    try:
        view = memoryview(obj)
    except Exception:  # it is closed, say
        return 0
    with view:
        return view.nbytes if view.obj is obj else 0


def exporter(cls: type, sample: Any) -> Sizer | None:
    """Return `exported` if `cls` is a type in C whose objects export a buffer, as `sample` does."""
    for base in mro(cls):
        if flags(base) & HAVE_GC or class_of(members(base).get("__buffer__")) is types.FunctionType:
            return None
    try:
        memoryview(sample).release()
    except Exception:
        return None
    return exported
