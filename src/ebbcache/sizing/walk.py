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
import operator
import sys
from bisect import bisect
from collections import Counter
from itertools import accumulate
from sys import getrefcount, getsizeof
from typing import Any, Final

from .chunks import ROUNDED, SMALL, chunk
from .kinds import Kind, Table
from .layout import Expanded, Part, class_of, fixed, number_of_bytes, scatter, thinned

SLACK: Final = 2
"""References from outside that a part of a value may have and still be charged to it.

The variable in which a caller built the part, or the tuple of arguments it came in, is still there when the
value is sized, and gone soon after.
"""

LEAF_SLACK: Final = 3
"""The same for leaves, of which a program passes more around and loses less by charging one too many."""

_LARGE: Final = 1 << 20

_SIZED: Final = {id(list): 1, id(tuple): 1, id(set): 1, id(frozenset): 1, id(dict): 2}
"""How many objects an item of these is."""

_MANY: Final = 16
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
        return getrefcount(self.obj) - _AT_TOP


class _PartTop(Top):
    """A part that is no object: it refers to nothing, and its owner says how many hold it."""

    __slots__ = ()

    def __init__(self, part: Part) -> None:
        super().__init__(part, 0)
        self.nbytes = float(part.nbytes)

    def references(self) -> int:
        return self.obj.references or self.seen


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
    """One walk over one value. `budget` is the number of objects to look at, None: all.

    `evicted` says that the value is about to go: no variable of a caller holds parts of it, and what was
    charged to which value is not to be changed any more.
    """

    def __init__(self, table: Table, budget: int | None, *, evicted: bool = False) -> None:
        limit = sys.maxsize if budget is None else budget
        self._table = table
        self._left: float = limit
        self._last = -limit  # what `_left` may come down to: once it is spent, samples take as much again
        self._quota = max(64, limit // 8)  # for one level, once the budget is spent
        self._tops: dict[int, Top] = {}
        self._queue: list[Top] = []
        self._sampled = False
        self._evicted = evicted
        self._slack = 0 if evicted else SLACK
        self._leaf_slack = 0 if evicted else LEAF_SLACK

    def weigh(self, root: object) -> int:
        """Return the bytes that would be freed with `root`."""
        top = Top(root, 0)
        self._tops[id(root)] = top
        top.nbytes = self._tree(top, 1)
        if self._queue:
            self._settle()
        elif not top.common and not top.uses:
            return round(top.nbytes)
        return round(self._sum(top))

    def _refer(self, user: Top, obj: Any, weight: float, slack: int) -> None:
        """Note a reference from the tree of `user`."""
        part = class_of(obj) is Part
        key = ~obj.key if part else id(obj)
        top = self._tops.get(key)
        if top is None:
            top = self._tops[key] = _PartTop(obj) if part else Top(obj, slack)
            if not part:
                self._queue.append(top)
        top.count += weight
        top.seen += 1
        if not (user.uses and user.uses[-1] == key):
            user.uses.append(key)

    def _tree(self, top: Top, scale: float) -> float:
        """Return the bytes of what only `top` holds, itself included, and note what it shares.

        `scale` is how many others like it `top` stands for; what it shares stands for as many.
        """
        kind_of = self._table.kind
        free = self._table.free
        leaves = self._table.leaves
        slack = self._slack
        total = 0.0
        level: list[tuple[list[Any], float]] = [([top.obj], 1.0)]
        while level:
            below: list[tuple[list[Any], float]] = []
            for batch, weight in level:
                for obj in batch:
                    kind = kind_of(obj)
                    if kind.claim is not None and obj is not top.obj:
                        self._refer(top, obj, weight * scale, slack)
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
                            self._refer(top, kid, heavy * scale, 0)
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
                            kind = kind_of(kid)  # which may show that it is a leaf, or free
                            if key in leaves:
                                common.append(kid)
                            elif key not in free:
                                self._refer(top, kid, heavy * scale, 0 if kind.alone else slack)
                    total += size * heavy
                    if inner:
                        below.append((inner, heavy))
                    if common:
                        top.common.append((common, heavy * scale))
            level = self._thin(below) if below else below
        kind = kind_of(top.obj)
        return total if kind.claim is None else max(total, self._claimed(kind, top.obj))

    def _thin(self, level: list[tuple[list[Any], float]]) -> list[tuple[list[Any], float]]:
        """Return `level`, or some objects of it in the place of all if to look at all costs too much.

        Long containers are likelier to be drawn, and stand for fewer; the longest stand for themselves.
        """
        width = sum([len(batch) for batch, _ in level])
        if width * 64 < self._left:
            return level
        if self._left <= self._last:
            return []
        flat = [(obj, weight) for batch, weight in level for obj in batch]
        costs = self._costs([obj for obj, _ in flat])
        if sum(costs) <= self._left:
            return level
        room = max(self._left * 0.75, self._quota)
        # An object is drawn in proportion to its cost, and then costs as much: hence the squares.
        count = max(16, int(room * sum(costs) / sum(map(operator.mul, costs, costs))))
        if count >= width:
            return level
        self._sampled = True
        step = sum(costs) / count
        thin = [([obj], weight) for (obj, weight), cost in zip(flat, costs, strict=True) if cost >= step]
        rest = [(item, cost) for item, cost in zip(flat, costs, strict=True) if cost < step]
        if rest:
            ends = [*accumulate(cost for _, cost in rest)]
            draws = max(1, round(ends[-1] / step))
            for place in scatter(int(ends[-1] * 16), draws):
                (obj, weight), cost = rest[bisect(ends, place / 16)]
                thin.append(([obj], weight * ends[-1] / draws / cost))
        return thin

    def _costs(self, level: list[Any]) -> list[float]:
        """Return how many objects `_tree` will about look at to read each of `level`."""
        costs = [0.0] * len(level)
        others: list[int] = []
        for place, obj in enumerate(level):
            factor = _SIZED.get(id(class_of(obj)))
            if factor is None:
                others.append(place)
            else:
                costs[place] = factor * len(obj) + 1.0
        if others:
            probes = [others[i] for i in scatter(len(others), min(16, len(others)))]
            typical = sum(self._cost(level[place]) for place in probes) / len(probes)
            for place in others:
                costs[place] = typical
        return costs

    def _cost(self, obj: Any) -> int:
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
        """Walk the trees of all tops but those that are surely shared, or of some of each round's."""
        doubtful: list[Top] = []
        walked, spent = 1, 8.0
        while self._left > self._last:
            ready: list[Top] = []
            for top in self._queue:
                (doubtful if self._outside(top) > 0 else ready).append(top)
            if not ready:
                # The references missing for the doubtful ones can only come from their own trees, and to
                # find n of them takes n looks at least.
                ready = [top for top in doubtful if self._worth_a_try(top)]
                if not ready:
                    return
                doubtful = []
            self._queue = []
            for top in self._draw(ready, spent / walked):
                before = self._left
                top.nbytes = self._tree(top, self._stands_for(top, at_start=True))
                walked += 1
                spent += before - self._left
                if self._left <= self._last:
                    break

    def _worth_a_try(self, top: Top) -> bool:
        """Return whether the references missing for `top` may turn up in its own tree."""
        outside = self._outside(top)
        if outside >= self._left:
            return False
        return self._last == -sys.maxsize or not outside > self._table.shared_before(top.obj) / 2 > 0

    def _draw(self, tops: list[Top], cost: float) -> list[Top]:
        """Return `tops`, or some if to walk all costs too much; these then stand for the others too."""
        count = max(16, int(max(self._left * 0.75, self._quota) / cost))
        if len(tops) * cost <= self._left or count >= len(tops):
            return tops
        self._sampled = True
        drawn = [tops[i] for i in scatter(len(tops), count)]
        for top in tops:
            top.nbytes = 0.0
        for top in drawn:
            top.count *= len(tops) / count
        return drawn

    def _stands_for(self, top: Top, *, at_start: bool = False) -> float:
        """Return for how many tops `top` stands.

        If samples make it more references than it has, then it is one of as many times more. Until its tree
        is walked the references from there are missing, as a parent's from its children; but if it was met
        only once, then for every reference that was meant there is one like it.
        """
        if not self._sampled:
            return 1.0
        if at_start and top.seen == 1:
            return max(1.0, top.count)
        return max(1.0, top.count / max(1, top.references()))

    def _outside(self, top: Top) -> float:
        """Return how many more references `top` has from outside the value than it may have."""
        references = top.references()
        slack = top.slack + references / 2 if self._sampled else top.slack
        return references - top.count - slack

    def _sum(self, root: Top) -> float:
        """Return the bytes of all that nothing outside keeps alive."""
        tops = [top for top in self._tops.values() if top is not root]
        shared = [top for top in tops if self._outside(top) > 0]
        for top in shared:
            if (
                top.nbytes is not None and not self._evicted
            ):  # in vain: do not try that again with every value that refers to it
                self._table.note(top.obj, shared=self._outside(top))
        self._keep(root, shared)
        total = self._total(root, tops)
        if total >= _LARGE and not self._evicted:
            # A large part that the slack has us charge may still be one that every value refers to. If each
            # of them were charged with it none might get into a cache, so only the first one is.
            charged = [top for top in tops if not top.kept and top.references() > top.count]
            again = [top for top in charged if self._table.charged_to_another(top.obj, root.obj)]
            if again:
                self._keep(root, again)
                total = self._total(root, tops)
        return total

    def _keep(self, root: Top, tops: list[Top]) -> None:
        """Mark `tops` as kept by something outside, and all that they reach, but `root`, which is to go."""
        while tops:
            top = tops.pop()
            if top is not root and not top.kept:
                top.kept = True
                tops += [self._tops[key] for key in top.uses]

    def _total(self, root: Top, tops: list[Top]) -> float:
        """Return the bytes of `root` and of the `tops` that are not kept."""
        freed = [top for top in tops if not top.kept]
        sizes = [top.nbytes for top in freed if top.nbytes]
        typical = sum(sizes) / len(sizes) if sizes else 0.0  # for those that the budget did not reach
        total = root.nbytes or 0.0
        for top in freed:
            total += (typical if top.nbytes is None else top.nbytes) * self._stands_for(top)
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
        held: Counter[int] = Counter()  # references of this walk from what is kept, which are none
        for top in self._tops.values():
            if top.kept:
                for kids, _ in top.common:
                    held.update(map(id, kids))
        total = 0.0
        for key, count in seen.items():
            references = getrefcount(found[key]) - count - _IN_FOUND - held[key]
            share = 1.0 if references - count <= self._leaf_slack else count / references
            if self._sampled:
                share = max(share, weights[key] / references)
            total += chunk(getsizeof(found[key])) * share
        return total
