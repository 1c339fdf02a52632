"""References: how many there are to an object, and to whom a walk says they belong.

`sys.getrefcount` counts those of the code that asks as well, so how many these are is measured once for
each place that asks. Bound: `sort_kids` takes some 150 ns an object, less where all are leaves with one
reference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import compress, islice, repeat
from itertools import count as positions
from operator import is_not
from sys import getrefcount
from typing import Any, Final, cast

from .chunks import Blocks, chunk
from .kinds import Table
from .layout import Part, class_of

_MANY: Final = 8
"""Objects from which on it pays to have C's loops look for stretches of one type."""

_CROWD: Final = 4096
"""A leaf with as many references costs each of them nothing worth counting."""

_MIXED: Final = 24
"""The same, if the first two are of different types."""

_SHORT: Final = 2
"""Stretches shorter than that before the others are taken for a mixture."""


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


_own: Final = Blocks(chunk)
_own_of: Final = _own.__getitem__


def sort_kids(
    kids: list[Any], table: Table, below: dict[int, list[Any]], common: list[Any], shared: list[Any]
) -> int:
    """Return the bytes of leaves with one reference, and sort what else counts.

    Leaves with more references go to `common`, other objects with more to `shared`, and those with one to
    `below`, by the ids of their types.
    """
    count = len(kids)
    if count >= _MANY and (count >= _MIXED or class_of(kids[0]) is class_of(kids[1])):
        return _sort_many(kids, count, table, below, common, shared)
    leaves, free, kinds = table.leaves, table.free, table.kinds
    size = 0
    for kid in kids:
        key = id(class_of(kid))
        if key in leaves:
            if getrefcount(kid) == _IN_LOOP:
                size += _own[kid.__sizeof__()]
            else:
                common.append(kid)
        elif key in free:
            pass
        elif getrefcount(kid) == _IN_LOOP:
            if key in below:
                below[key].append(kid)
            else:
                below[key] = [kid]
        elif key in kinds:
            shared.append(kid)
        else:
            _sort_new(kid, table, common, shared)
    return size


def _sort_many(
    kids: list[Any],
    length: int,
    table: Table,
    below: dict[int, list[Any]],
    common: list[Any],
    shared: list[Any],
) -> int:
    """Do the same in C's loops for stretches of one type, such as items of lists and keys of dicts."""
    leaves, free, kinds = table.leaves, table.free, table.kinds
    types = [*map(class_of, kids)]
    size = at = short = 0
    odd: list[Any] = []
    counts: list[int] = []
    while at < length:
        cls = types[at]
        others = map(is_not, islice(types, at, None), repeat(cls))
        end = next(compress(positions(at), others), length)
        if end - at < _MANY:
            short += 1
            end = length if short > _SHORT else end
            counts += map(getrefcount, islice(kids, at, end))
            odd += islice(kids, at, end)
            at = end
            continue
        key = id(cls)
        if key in free:
            at = end
            continue
        references = [*map(getrefcount, islice(kids, at, end))]
        stretch = kids[at:end] if end - at < length else kids
        at = end
        if references.count(_IN_MAP) < len(references):
            rest = [kid for kid, count in zip(stretch, references, strict=True) if count != _IN_MAP]
            if key not in kinds:
                table.kind(rest[0])
                if key in free:
                    continue
            (common if key in leaves else shared).extend(rest)
            if len(rest) == len(references):
                continue
            stretch = [kid for kid, count in zip(stretch, references, strict=True) if count == _IN_MAP]
        if key not in leaves:
            below[key] = below[key] + stretch if key in below else [*stretch]
        elif cls is float:
            size += _FLOAT * len(stretch)
        else:
            measure = cast(Callable[[Any], int], cls.__sizeof__)
            size += sum(map(_own_of, map(measure, stretch)))
    for kid, key, count in zip(odd, map(id, map(class_of, odd)), counts, strict=True):
        if key in leaves:
            if count == _IN_MAP:
                size += _own[kid.__sizeof__()]
            else:
                common.append(kid)
        elif key in free:
            pass
        elif count == _IN_MAP:
            if key in below:
                below[key].append(kid)
            else:
                below[key] = [kid]
        elif key in kinds:
            shared.append(kid)
        else:
            _sort_new(kid, table, common, shared)
    return size


def _sort_new(kid: Any, table: Table, common: list[Any], shared: list[Any]) -> None:
    """Sort an object of a type not met before, which may turn out to be a leaf, or free."""
    table.kind(kid)
    key = id(class_of(kid))
    if key in table.leaves:
        common.append(kid)
    elif key not in table.free:
        shared.append(kid)


_FLOAT: Final = chunk(float.__basicsize__)


def shares(common: list[Any], slack: int) -> float:
    """Return what leaves with several references come to, each charged by its share; empties `common`."""
    ids = [*map(id, common)]
    total = 0.0
    if len(ids) < _MANY:
        for leaf in common:
            count = ids.count(id(leaf))
            references = getrefcount(leaf) - _IN_LOOP + 2 - count
            if references < _CROWD:
                own = _own[leaf.__sizeof__()]
                total += own / count if references - count <= slack else own / references
        return total
    found = dict(zip(ids, common, strict=True))
    counts = Counter(ids).values() if len(found) < len(ids) else repeat(1)
    common.clear()
    everywhere = [*map(getrefcount, found.values())]
    for leaf, count, references in zip(found.values(), counts, everywhere, strict=False):
        references -= _IN_MAP - 1
        if references < _CROWD:
            own = _own[leaf.__sizeof__()]
            total += own if references - count <= slack else own * count / references
    return total
