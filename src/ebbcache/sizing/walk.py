"""Adding up what one value holds: no recursion, trial deletion for what is shared, samples past a budget.

Most objects have one reference and so belong to whoever holds it; these hang in *trees*, walked level by
level without a memo. An object with more references is the top of a tree of its own (a `Top`), noted
once, its references from inside counted. What has more references from outside than `SLACK` is shared,
and with it all it reaches: trial deletion, as CPython's collector does it (Modules/gcmodule.c,
deduce_unreachable). A shared leaf is charged its share. Bound: exact up to `budget` objects; beyond, at
most about as many again are looked at, scattered, and stand for the rest. Of a chain the rest is not seen.
"""

from __future__ import annotations

import gc
import operator
import sys
from bisect import bisect
from collections import Counter
from itertools import accumulate
from sys import getrefcount, getsizeof
from typing import Any, Final, TypeAlias

from .chunks import chunk
from .kinds import Kind, Table
from .layout import Expanded, Part, class_of, fixed, number_of_bytes, scatter, thinned
from .references import IN_FOUND, PartTop, Top, shares, sort_kids
from .trees import LARGE, LEAF_SLACK, SHOWN, SLACK, Found, Level, read_trees, settle

_SIZED: Final = {id(list): 1, id(tuple): 1, id(set): 1, id(frozenset): 1, id(dict): 2}
"""How many objects an item of these is."""

_PART: Final = 0.35
"""Of the looks that are left, for one level or round: what hangs below it wants as good a sample."""

_NARROW: Final = 16
_MANY_TOPS: Final = 100_000  # for as many it is worth counting all blocks there are
"""Objects in a level of which none is left out.

Nothing tells how a chain goes on but to go there. In C, where that takes 20 ns an object, narrow levels
are followed for eight budgets; here, at a microsecond, only for two as all others: more would take 10 ms.
"""

_Level: TypeAlias = list[tuple[list[Any], float]]
"""Objects to look at, and how many like it each stands for."""


def weigh(table: Table, root: object, budget: int | None, *, evicted: bool = False) -> int:
    """Return the bytes that would be freed with `root`. `budget` is the objects to look at, None: all.

    `evicted` says that the value is about to go: no variable of a caller holds parts of it, and what was
    charged to which value is not to be changed any more.

    Most values are a tree small enough for one look at each object, which is all that is done here. What is
    shared, what needs samples and what cannot be read is left to a `Walk`.
    """
    start = sys.maxsize if budget is None else budget
    left: float = start
    kind = table.kinds.get(id(class_of(root))) or table.kind(root)
    size, kids, times = 0, _NOTHING, 0.0
    if kind.claim is None:
        try:
            size, kids, times = kind.read(root, start)
        except Exception:
            pass  # it will be read again
    if times == 1 and not kids:
        return size
    common: list[Any] = []
    shared: list[Any] = []
    found: Found | None = None
    level: dict[int, list[Any]] = {}
    if times != 1:
        size, kids = 0, _NOTHING
        level[id(class_of(root))] = [root]
    elif kind.view and len(kids) <= SHOWN:
        found = Found(common, shared)
        found.look_into(kids)
    else:
        size += sort_kids(kids, table, level, common, shared)
    left -= len(kids)
    kids = _NOTHING  # what is left in variables looks like held by others
    if not level and not shared:
        return round(size + shares(common, 0 if evicted else LEAF_SLACK)) if common else size
    if found is None:
        found = Found(common, shared)
    if level:
        more, left, stopped = read_trees(table, level, left, found)
        size += more
        level = {}
        if stopped is not None:
            return Walk(table, budget, left, evicted=evicted).weigh(root, size, found, stopped)
    if shared:
        total = settle(table, root, size, left, found, budget, evicted)
        if total is None:
            common, shared = [], []  # what is in lists of ours looks like held by others
            found = Found(common, shared)
            return Walk(table, budget, start, evicted=evicted).weigh(root, 0, found, Level([root], []))
        return round(total)
    if common:
        return round(size + shares(common, 0 if evicted else LEAF_SLACK))
    return size


_NOTHING: Final[list[Any]] = []


class Walk:
    """One walk over one value, of whose `budget` so many looks are `left`."""

    def __init__(self, table: Table, budget: int | None, left: float, *, evicted: bool) -> None:
        limit = sys.maxsize if budget is None else budget
        self._table = table
        self._left = left
        self._last = -limit  # what `_left` may come down to: once it is spent, samples take as much again
        self._quota = max(64, limit // 8)  # for one level, once the budget is spent
        self._tops: dict[int, Top] = {}
        self._queue: list[Top] = []
        self._sampled = False
        self._blind = False  # something that may hold references was passed over, not sampled
        self._evicted = evicted
        self._slack = 0 if evicted else SLACK
        self._leaf_slack = 0 if evicted else LEAF_SLACK

    def weigh(self, root: object, total: float, found: Found, stopped: Level) -> int:
        """Return the bytes that would be freed with `root`.

        `total` bytes of its tree were read before it `stopped`, and `found` what that refers to.
        """
        top = Top(root, 0)
        self._tops[id(root)] = top
        if found.common:
            top.common.append((found.common, 1.0))
        shared = found.shared
        shared.reverse()  # parts tell how many hold them as they were read first
        while shared:
            strict = id(shared[-1]) in found.strict or self._table.kind(shared[-1]).alone
            self._refer(top, shared.pop(), 1.0, 0 if strict else self._slack)
        below: _Level = [(stopped.below, 1.0)] if stopped.below else []
        top.nbytes = self._tree(top, 1, self.thin([(stopped.rest, 1.0)]), below, total)
        stopped.rest.clear()  # again, for what was found in the tree
        stopped.below.clear()
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
            top = self._tops[key] = PartTop(obj) if part else Top(obj, slack)
            if not part:
                self._queue.append(top)
        top.count += weight
        top.seen += 1
        if not (user.uses and user.uses[-1] == key):
            user.uses.append(key)

    def _tree(self, top: Top, scale: float, level: _Level, below: _Level, total: float) -> float:
        """Return the bytes of what only `top` holds, itself included, and note what it shares.

        `scale` is how many others like it `top` stands for; what it shares stands for as many. The tree
        goes on with `level`, `below` that, and `total` above.
        """
        kind_of = self._table.kind
        slack = self._slack
        below = [*below]  # what is in a caller's list looks like held by others
        while level:
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
                    if kind.view and count <= SHOWN:
                        for kid in kids:
                            self._refer(top, kid, heavy * scale, 0)
                        continue
                    inner: dict[int, list[Any]] = {}
                    common: list[Any] = []
                    shared: list[Any] = []
                    total += sort_kids(kids, self._table, inner, common, shared) * heavy
                    for kid in shared:
                        self._refer(top, kid, heavy * scale, 0 if kind_of(kid).alone else slack)
                    if inner:
                        below += [(objs, heavy) for objs in inner.values()]
                    if common:
                        top.common.append((common, heavy * scale))
            level = self.thin(below) if below else []
            below = []
        kind = kind_of(top.obj)
        return total if kind.claim is None else max(total, self._claimed(kind, top.obj))

    def thin(self, level: _Level) -> _Level:
        """Return `level`, or some objects of it in the place of all if to look at all costs too much.

        Long containers are likelier to be drawn, and stand for fewer; the longest stand for themselves.
        """
        width = sum([len(batch) for batch, _ in level])
        if width * 64 < self._left or (width <= _NARROW and self._left > self._last):
            return level
        if self._left <= self._last:
            self._blind = True
            return []
        flat = [(obj, weight) for batch, weight in level for obj in batch]
        costs = self._costs([obj for obj, _ in flat])
        if sum(costs) <= self._left:
            return level
        room = max(self._left * _PART, self._quota)
        # An object is drawn in proportion to its cost, and then costs as much: hence the squares.
        count = max(_NARROW, int(room * sum(costs) / sum(map(operator.mul, costs, costs))))
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
                    self._blind |= bool(doubtful) and self._left <= 0
                    return
                doubtful = []
            self._queue = []
            for top in self._draw(ready, spent / walked):
                before = self._left
                scale = self._stands_for(top, at_start=True)
                top.nbytes = self._tree(top, scale, [([top.obj], 1.0)], [], 0.0)
                walked += 1
                spent += before - self._left
                if self._left <= self._last:
                    self._blind = True
                    break

    def _worth_a_try(self, top: Top) -> bool:
        """Return whether the references missing for `top` may turn up in its own tree."""
        outside = self._outside(top)
        if outside >= self._left:
            return False
        return self._last == -sys.maxsize or not outside > self._table.shared_before(top.obj) / 2 > 0

    def _draw(self, tops: list[Top], cost: float) -> list[Top]:
        """Return `tops`, or some if to walk all costs too much; these then stand for the others too."""
        count = max(16, int(max(self._left * _PART, self._quota) / cost))
        if len(tops) * cost <= self._left or count >= len(tops):
            return tops
        self._sampled = self._blind = True
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
        """Return how many more references `top` has from outside the value than it may have.

        Where those from inside are an estimate, or more may come from what was passed over, it may have as
        many again. What was met one by one is not to be charged for having a sample below it.
        """
        references = top.references()
        slack = top.slack + references / 2 if self._blind or top.count > top.seen else top.slack
        return references - top.count - slack

    def _sum(self, root: Top) -> float:
        """Return the bytes of all that nothing outside keeps alive."""
        tops = [top for top in self._tops.values() if top is not root]
        shared = [top for top in tops if self._outside(top) > 0]
        for top in shared:
            if top.nbytes is not None and not self._evicted:
                # In vain: do not try that again with every value that refers to it.
                outside = self._outside(top)  # not in the call, where its argument is a reference more
                self._table.note(top.obj, shared=outside)
        self._keep(root, shared)
        total = self._total(root, tops)
        if total >= LARGE and not self._evicted:
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
        for top in freed:
            if isinstance(top, PartTop):
                top.nbytes = top.obj.ask()
        sizes = [top.nbytes for top in freed if top.nbytes]
        typical = sum(sizes) / len(sizes) if sizes else 0.0  # for those that the budget did not reach
        total, count = root.nbytes or 0.0, 0.0
        for top in freed:
            alike = self._stands_for(top)
            total += (typical if top.nbytes is None else top.nbytes) * alike
            count += alike
        total += self._sum_leaves([root, *freed])
        if count > _MANY_TOPS:
            # Samples take a graph for a tree, whose branches never meet; no more objects exist than blocks.
            total *= min(1.0, (sys.getallocatedblocks() or count) / count)
        return total

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
            references = getrefcount(found[key]) - count - IN_FOUND - held[key]
            share = 1.0 if references - count <= self._leaf_slack else count / references
            if self._sampled:
                share = max(share, weights[key] / references)
            total += chunk(getsizeof(found[key])) * share
        return total
