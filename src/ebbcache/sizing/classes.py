"""Classes that were made for one value, as `email` makes one for a header: they go with it.

Only classes that add nothing to their bases are taken for such. How many hold one is its references less
those that its own parts have (Objects/typeobject.c: the mro, the descriptors of `__dict__` and
`__weakref__`): if all are instances in the value, nobody else does. Bound: O(1) an instance; the class
comes out within some 5 %.
"""

from __future__ import annotations

import types
import weakref
from sys import getrefcount, getsizeof
from typing import Any, Final, cast

from .chunks import chunk
from .layout import (
    IN_NAME,
    Expand,
    Expanded,
    Part,
    basicsize,
    class_of,
    fixed,
    header,
    itemsize,
    members,
    mro,
)

_FIELDS: Final = (types.GetSetDescriptorType, types.MemberDescriptorType)
_sizeof: Any = type.__sizeof__
_name: Any = type.__dict__["__name__"].__get__
_ENTRY: Final = 32  # in a dict that holds it
_OWN_NAME: Final = 2 + IN_NAME  # references to a name that nobody else has: it, and the qualified name
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
