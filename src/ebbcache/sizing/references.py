"""References: how many there are to an object, and to whom a walk says they belong.

`sys.getrefcount` counts those of the code that asks as well, so how many these are is measured once for
each place that asks. Bound: `sort_kids` takes some 150 ns an object, less where all are leaves with one
reference.
"""

from __future__ import annotations

from sys import getrefcount, getsizeof
from typing import Any, Final

from .chunks import ROUNDED, SMALL, chunk
from .kinds import Table
from .layout import Part, class_of

_MANY: Final = 6
"""Objects from which on it pays to try and read them all at once."""

_CROWD: Final = 4096
"""A leaf with as many references costs each of them nothing worth counting."""


class Top:
    """An object with several references, and the tree below it."""

    __slots__ = ("common", "count", "kept", "nbytes", "obj", "seen", "slack", "uses")

    def __init__(self, obj: Any, slack: int) -> None:
        self.obj = obj
        self.slack = slack
        self.seen = 0  # references to it that the walk met
        self.count = 0.0  # references to it from inside the value, so many as those stand for
        self.nbytes: float | None = None  # of its tree; None: not walked
        self.uses: list[
            int
        ] = []  # ids of the tops its tree refers to; tops in cycles would outlive the walk
        self.common: list[tuple[list[Any], float]] = []  # leaves with several references, and their weight
        self.kept = False  # by something outside the value

    def references(self) -> int:
        """Return how many references there are to the object, this one not counted."""
        return getrefcount(self.obj) - AT_TOP


class PartTop(Top):
    """A part that is no object: it refers to nothing, and its owner says how many hold it."""

    __slots__ = ()

    def __init__(self, part: Part) -> None:
        super().__init__(part, 0)
        self.nbytes = float(part.nbytes() if callable(part.nbytes) else part.nbytes)
        part.nbytes = 0  # a function would hold what it tells of

    def references(self) -> int:
        """Return how many hold it, or if nobody knows, how many were met."""
        return self.obj.references or self.seen


def _references_in_loop() -> int:
    """Return what getrefcount answers in the loop of `sort_kids` for an object with one reference."""
    kids = [[object()]][0]
    for kid in kids.copy():
        return getrefcount(kid)
    raise AssertionError


def _references_in_map() -> int:
    """Return what ``map(getrefcount, ...)`` answers for an object with one reference."""
    kids = [[object()]][0]
    return max(map(getrefcount, kids.copy()))


def _references_at_top() -> int:
    """Return what getrefcount answers for the object of a `Top` that nothing else refers to."""
    top = Top(object(), 0)
    return getrefcount(top.obj)


def _references_in_dict() -> int:
    """Return what getrefcount answers for an object that only a dict refers to."""
    found = {0: object()}
    return getrefcount(found[0])


AT_TOP: Final = _references_at_top()
_IN_LOOP: Final = _references_in_loop()
IN_FOUND: Final = _references_in_dict()


_IN_MAP: Final = _references_in_map()


_SHORT: Final = 1 << 60
"""An int below this, or above its negative, has two digits at most: a block as large as a float's."""

_NUMBER: Final = chunk(float.__basicsize__)


def _leaves_only(kids: list[Any], leaves: set[int]) -> int:
    """Return the bytes of `kids` if all are leaves with one reference and small, 0 if not.

    All in C, in half the time that a loop takes.
    """
    types = [*map(id, map(class_of, kids))]
    found = {*types}
    if not found <= leaves or max(map(getrefcount, kids)) != _IN_MAP:
        return 0
    half = len(kids) // 2
    if len(found) == 2 and half > _MANY and types[:half].count(types[0]) == half == types.count(types[0]):
        return _bytes_of(kids[:half], {types[0]}) + _bytes_of(kids[half:], {types[-1]})
    return _bytes_of(kids, found)


def _bytes_of(kids: list[Any], found: set[int]) -> int:
    """Return the bytes of leaves of the types `found`."""
    if found == _FLOATS or (found == _INTS and min(kids) > -_SHORT and max(kids) < _SHORT):
        return _NUMBER * len(kids)
    try:
        return sum(map(_rounded, map(_str_sizeof if found == _TEXTS else getsizeof, kids)))
    except IndexError:  # some are too large for the table
        return sum(map(chunk, map(getsizeof, kids)))


_FLOATS: Final = {id(float)}
_INTS: Final = {id(int)}
_TEXTS: Final = {id(str)}
_rounded: Final = ROUNDED.__getitem__
_str_sizeof: Final = str.__sizeof__


def sort_kids(kids: list[Any], table: Table) -> tuple[int, list[Any], list[Any], list[Any]]:
    """Return the bytes of leaves with one reference, what else has one, leaves with more, and the rest.

    A leaf in a crowd is left out of `kids`, and so is what counts nothing.
    """
    leaves = table.leaves
    if len(kids) >= _MANY and (size := _leaves_only(kids, leaves)):
        return size, [], [], []
    free = table.free
    size = 0
    inner: list[Any] = []
    common: list[Any] = []
    shared: list[Any] = []
    for kid in kids:
        key = id(class_of(kid))
        if key in leaves:
            references = getrefcount(kid)
            if references == _IN_LOOP:
                nbytes = getsizeof(kid)
                size += ROUNDED[nbytes] if nbytes <= SMALL else chunk(nbytes)
            elif references < _CROWD:
                common.append(kid)
        elif key in free:
            pass
        elif getrefcount(kid) == _IN_LOOP:
            inner.append(kid)
        else:
            table.kind(kid)  # which may show that it is a leaf, or free
            if key in leaves:
                common.append(kid)
            elif key not in free:
                shared.append(kid)
    return size, inner, common, shared
