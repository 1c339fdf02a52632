"""Classes that were made for one value, as `email` makes one for a header: they go with it.

Taken for such are classes that add nothing to their bases, and those that their module does not know by
their name. How many hold one is its references less those that its own parts have (Objects/typeobject.c:
the mro, descriptors, a method's `__class__`): if all are instances in the value, nobody else does.
Bound: O(1) an instance, and once what the class has in its dict; the class comes out within some 10 %.
"""

from __future__ import annotations

import gc
import sys
import types
import weakref
from collections.abc import Callable
from sys import getrefcount, getsizeof
from typing import Any, Final, cast

from .chunks import chunk
from .layout import (
    HEAP_TYPE,
    IN_NAME,
    Expand,
    Expanded,
    Part,
    basicsize,
    class_of,
    fixed,
    flags,
    header,
    itemsize,
    members,
    mro,
)

_FIELDS: Final = (types.GetSetDescriptorType, types.MemberDescriptorType)
_sizeof: Any = type.__sizeof__
_module: Any = type.__dict__["__module__"].__get__
_qualname: Any = type.__dict__["__qualname__"].__get__
_names: Any = cast(Any, types.ModuleType).__dict__["__dict__"].__get__
_name: Any = type.__dict__["__name__"].__get__
_ENTRY: Final = 32  # in a dict that holds it
_OWN_NAME: Final = 2 + IN_NAME  # references to a name that nobody else has: it, and the qualified name
_DECIDING: Final = frozenset(("__sizeof__", "nbytes", "__buffer__"))
_HELD: Final = 1 + IN_NAME  # references to what one other object has, as it is asked about
_LOOKS: Final = 500
"""Objects of a class that are looked at."""
_MANY: Final = 64
"""References to a class from which on its instances take so much that it counts nothing beside them."""


def _tuple(length: int) -> int:
    return chunk(basicsize(tuple) + header(tuple) + itemsize(tuple) * length)


def bytes_of_class(cls: type) -> tuple[int, int]:
    """Return the bytes that `cls` takes, and how many references to it are its own."""
    names = members(cls)
    fields: list[Any] = [value for value in names.values() if class_of(value) in _FIELDS]
    own = chunk(basicsize(type) + header(type)) + chunk(_sizeof(cls) - basicsize(type))
    own += fixed(dict) + chunk({**names}.__sizeof__() - basicsize(dict))
    own += _tuple(len(mro(cls))) + _tuple(1)
    own += (
        fixed(cast(type, weakref.ref)) + chunk(basicsize(int) + itemsize(int)) + _ENTRY
    )  # its base's reference to it
    name = _name(cls)
    if getrefcount(name) <= _OWN_NAME:
        own += chunk(getsizeof(name))
    return own + sum(fixed(class_of(field)) for field in fields), 1 + len(fields)


_IN_C: Final = (types.MethodDescriptorType, types.WrapperDescriptorType)


def _is_in_c(cls: type) -> bool:
    """Return whether `cls` has methods of its own in C: then a module may have it by another name."""
    fields: list[Any] = [value for value in members(cls).values() if class_of(value) in _IN_C]
    return any(field.__objclass__ is cls for field in fields)


def is_passing(cls: type) -> bool:
    """Return whether `cls` is one of Python's that its module does not know by its name."""
    if not flags(cls) & HEAP_TYPE or _is_in_c(cls):
        return False
    module: Any = _module(cls)
    home: Any = sys.modules.get(module) if type(module) is str else None
    names: Any = _names(home) if isinstance(home, types.ModuleType) else {}
    found: Any = None
    for name in _qualname(cls).split("."):
        found = names.get(name)
        if not issubclass(class_of(found), type):
            break
        names = members(found)
    return found is not cls


def looks_like_its_bases(cls: type) -> bool:
    """Return whether `cls` adds nothing to its bases that decides how instances are read."""
    names = members(cls)
    return not (names.keys() & _DECIDING) and not any(
        class_of(value) is types.MemberDescriptorType for value in names.values()
    )


def whole_class(cls: type, kind_of: Callable[[Any], Any]) -> tuple[int, int]:
    """Return the bytes of `cls` with all that only it holds, and how many references to it are its own."""
    own, inner = bytes_of_class(cls)
    todo: list[Any] = [*members(cls).values()]
    looks = 0
    while todo and looks < _LOOKS:
        obj = todo.pop()
        looks += 1
        if obj is cls:
            inner += 1
        elif getrefcount(obj) <= _HELD and class_of(obj) not in _FIELDS:
            if is_passing(class_of(obj)):  # to ask for its kind may lead here again
                nbytes, kids = fixed(class_of(obj)), gc.get_referents(obj)
            else:
                read: Expand = kind_of(obj).read
                nbytes, kids, _ = read(obj, _LOOKS)
            own += nbytes
            todo += kids
            kids.clear()
    return own, inner


def with_class(read: Expand, nbytes: int, inner: int) -> Expand:
    """Return `read`, which reads an instance, with its class if only instances in the value hold that."""

    def read_both(obj: Any, cap: float) -> Expanded:
        cls = class_of(obj)
        owners = getrefcount(cls) - IN_NAME - inner
        own, kids, times = read(obj, cap)
        if times == 1 and owners <= _MANY:
            kids.append(Part(id(cls), nbytes, max(1, owners)))
        return own, kids, times

    return read_both


def with_any_class(read: Expand, kind_of: Callable[[Any], Any]) -> Expand:
    """Return `read` as `with_class` does, for instances of several classes that hold much themselves."""

    def read_both(obj: Any, cap: float) -> Expanded:
        cls = class_of(obj)
        references = getrefcount(cls) - IN_NAME
        own, kids, times = read(obj, cap)
        if times == 1 and references <= _MANY:
            nbytes, inner = whole_class(cls, kind_of)
            kids.append(Part(id(cls), nbytes, max(1, references - inner)))
        return own, kids, times

    return read_both
