"""Adding up what one value holds: no recursion, trial deletion for what is shared, samples past a budget.

Most objects have one reference and so belong to whoever holds it; these hang in *trees*, walked level by
level without a memo. An object with more references is the top of a tree of its own (a `Top`), noted
once, its references from inside counted. What has more references from outside than `SLACK` is shared,
and with it all it reaches: trial deletion, as CPython's collector does it (Modules/gcmodule.c,
deduce_unreachable). A shared leaf is charged its share. Bound: exact up to `budget` objects; beyond, at
most about as many again are looked at, scattered, and stand for the rest.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from sys import getrefcount, getsizeof
from typing import Any, Final

from .chunks import ROUNDED, SMALL, chunk
from .kinds import Kind, Table
from .layout import Expanded, class_of, fixed, number_of_bytes, scatter, thinned

SLACK: Final = 1
"""References from outside that a part of a value may have and still be charged to it.

The variable in which a caller built the part is still there when the value is sized, and gone soon after.
"""

_MANY: Final = 16
"""Objects from which on it pays to try and read them all at once."""

_CROWD: Final = 4096
"""A leaf with as many references costs each of them nothing worth counting."""


class Top:
    """An object with several references, and the tree below it."""

    __slots__ = ("common", "count", "kept", "nbytes", "obj", "slack", "uses")

    def __init__(self, obj: Any, slack: int) -> None:
        self.obj = obj
        self.slack = slack
        self.count = 0.0  # references to it from inside the value
        self.nbytes: float | None = None  # of its tree; None: not walked
        self.uses: list[Top] = []
        self.common: list[tuple[list[Any], float]] = []  # leaves with several references, and their weight
        self.kept = False  # by something outside the value

    def references(self) -> int:
        """Return how many references there are to the object, this one not counted."""
        return getrefcount(self.obj) - _AT_TOP


def _references_in_loop() -> int:
    """Return what getrefcount answers in the loop of `Walk._tree` for an object with one reference."""
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


_AT_TOP: Final = _references_at_top()
_IN_LOOP: Final = _references_in_loop()
_IN_FOUND: Final = _references_in_dict()


_IN_MAP: Final = _references_in_map()


def _leaves_only(kids: list[Any], leaves: set[int]) -> int:
    """Return the bytes of `kids` if all are leaves with one reference and small, 0 if not.

    All in C, in half the time that a loop takes.
    """
    if leaves.issuperset(map(id, map(class_of, kids))) and max(map(getrefcount, kids)) == _IN_MAP:
        sizes = [*map(getsizeof, kids)]
        if max(sizes) <= SMALL:
            return sum(map(ROUNDED.__getitem__, sizes))
    return 0


class Walk:
    """One walk over one value. `budget` is the number of objects to look at, None: all."""

    def __init__(self, table: Table, budget: int | None) -> None:
        self._table = table
        self._left: float = sys.maxsize if budget is None else budget
        self._quota = (
            sys.maxsize if budget is None else max(64, budget // 8)
        )  # a level's, once that is spent
        self._last = -budget if budget is not None else 0  # what `_left` may fall to
        self._tops: dict[int, Top] = {}
        self._queue: list[Top] = []
        self._sampled = False

    def weigh(self, root: object) -> int:
        """Return the bytes that would be freed with `root`."""
        top = Top(root, 0)
        self._tops[id(root)] = top
        top.nbytes = self._tree(top)
        if self._queue:
            self._settle()
        elif not top.common:
            return int(top.nbytes)
        return int(self._sum(top))

    def _refer(self, user: Top, obj: Any, weight: float, slack: int) -> None:
        """Note a reference from the tree of `user`."""
        top = self._tops.get(id(obj))
        if top is None:
            top = self._tops[id(obj)] = Top(obj, slack)
            self._queue.append(top)
        top.count += weight
        if not (user.uses and user.uses[-1] is top):
            user.uses.append(top)

    def _tree(self, top: Top) -> float:
        """Return the bytes of what only `top` holds, itself included, and note what it shares."""
        kind_of = self._table.kind
        free = self._table.free
        leaves = self._table.leaves
        total = 0.0
        level: list[tuple[list[Any], float]] = [([top.obj], 1.0)]
        while level:
            below: list[tuple[list[Any], float]] = []
            for batch, weight in level:
                for obj in batch:
                    kind = kind_of(obj)
                    if kind.claim is not None and obj is not top.obj:
                        self._refer(top, obj, weight, SLACK)
                        continue
                    left = self._left
                    try:
                        size, kids, times = kind.read(obj, left if left > self._quota else self._quota)
                    except Exception as error:
                        size, kids, times = self._broken(kind, obj, error)
                    total += size * weight
                    count = len(kids)
                    self._left = left - count - 1
                    if not count:
                        continue
                    heavy = weight
                    if times != 1:
                        self._sampled = True
                        heavy *= times
                    if kind.view:
                        for kid in kids:
                            self._refer(top, kid, heavy, 0)
                        continue
                    if count >= _MANY and (size := _leaves_only(kids, leaves)):
                        total += size * heavy
                        continue
                    size = 0
                    inner: list[Any] = []
                    common: list[Any] = []
                    for kid in kids:
                        key = id(class_of(kid))
                        if key in leaves:
                            references = getrefcount(kid)
                            if references == _IN_LOOP:
                                bytes_ = getsizeof(kid)
                                size += ROUNDED[bytes_] if bytes_ <= SMALL else bytes_ + 23 & -16
                            elif references < _CROWD:
                                common.append(kid)
                        elif key in free:
                            pass
                        elif getrefcount(kid) == _IN_LOOP:
                            inner.append(kid)
                        else:
                            self._refer(top, kid, heavy, SLACK)
                    total += size * heavy
                    if inner:
                        below.append((inner, heavy))
                    if common:
                        top.common.append((common, heavy))
            level = self._thin(below) if below else below
        kind = kind_of(top.obj)
        return total if kind.claim is None else max(total, self._claimed(kind, top.obj))

    def _thin(self, level: list[tuple[list[Any], float]]) -> list[tuple[list[Any], float]]:
        """Return `level`, or some objects of it in the place of all if to look at all costs too much."""
        width = sum([len(batch) for batch, _ in level])
        if width * 1000 < self._left:
            return level
        if self._left <= self._last:
            return []
        if width <= 16:
            return level
        flat = [(obj, weight) for batch, weight in level for obj in batch]
        probes = [flat[i][0] for i in scatter(width, 16)]
        cost = sum(self._cost(obj) for obj in probes) / len(probes)
        if width * cost <= self._left:
            return level
        count = max(16, int(max(self._left / 2, self._quota) / cost))
        if count >= width:
            return level
        self._sampled = True
        times = width / count
        return [([obj], weight * times) for obj, weight in (flat[i] for i in scatter(width, count))]

    def _cost(self, obj: Any) -> int:
        """Return how many objects `_tree` looks at to read `obj`."""
        try:
            return len(self._table.kind(obj).read(obj, self._quota)[1]) + 1
        except Exception:
            return 1

    def _broken(self, kind: Kind, obj: Any, error: Exception) -> Expanded:
        """Read `obj` without what its type says of itself, which just raised `error`."""
        if not isinstance(error, RuntimeError):  # that is a container that changed meanwhile
            kind.complain("__sizeof__ or nbytes failed", error)
        return fixed(class_of(obj)), *thinned(gc.get_referents(obj), self._quota)

    def _claimed(self, kind: Kind, obj: Any) -> int:
        try:
            return number_of_bytes(kind.claim(obj)) if kind.claim is not None else 0
        except Exception as error:
            kind.complain("__sizeof__ failed", error)
            return 0

    def _settle(self) -> None:
        """Walk the trees of all tops but those that are surely shared."""
        doubtful: list[Top] = []
        while True:
            while self._queue:
                top = self._queue.pop()
                if self._outside(top) > 0:
                    doubtful.append(top)
                elif self._left > self._last:
                    top.nbytes = self._tree(top)
            # The references missing for the doubtful ones can only come from their own trees. To find n of
            # them takes n looks at least.
            hopeful = [top for top in doubtful if self._outside(top) < self._left]
            if not hopeful or self._left <= 0:
                return
            doubtful.clear()
            for top in sorted(hopeful, key=self._outside):
                if self._left > 0:
                    top.nbytes = self._tree(top)

    def _outside(self, top: Top) -> float:
        """Return how many more references `top` has from outside the value than it may have."""
        references = top.references()
        slack = top.slack + references / 2 if self._sampled else top.slack
        return references - top.count - slack

    def _sum(self, root: Top) -> float:
        """Return the bytes of all that nothing outside keeps alive."""
        tops = [top for top in self._tops.values() if top is not root]
        kept = [top for top in tops if self._outside(top) > 0]
        for top in kept:
            top.kept = True
        while kept:
            for used in kept.pop().uses:
                if not used.kept and used is not root:
                    used.kept = True
                    kept.append(used)
        total = root.nbytes or 0.0
        freed = [top for top in tops if not top.kept]
        sizes = [top.nbytes for top in freed if top.nbytes is not None]
        typical = sum(sizes) / len(sizes) if sizes else 0.0  # for those that the budget did not reach
        for top in freed:
            size = typical if top.nbytes is None else top.nbytes
            total += size * max(1.0, top.count / max(1, top.references())) if self._sampled else size
        return total + self._sum_leaves([root, *freed])

    def _sum_leaves(self, tops: list[Top]) -> float:
        """Return what the leaves with several references come to, each charged by its share."""
        found: dict[int, Any] = {}
        seen: Counter[int] = Counter()
        weights: Counter[int] = Counter()
        for top in tops:
            for kids, weight in top.common:
                ids = [*map(id, kids)]
                seen.update(ids)
                found.update(zip(ids, kids, strict=True))
                if self._sampled:
                    for key in ids:
                        weights[key] += weight  # type: ignore[assignment]
        total = 0.0
        for key, count in seen.items():
            references = getrefcount(found[key]) - count - _IN_FOUND
            share = (count + SLACK) / references
            if share > 1:
                share = 1.0
            if self._sampled:
                share = max(share, weights[key] / references)
            total += chunk(getsizeof(found[key])) * share
        return total
