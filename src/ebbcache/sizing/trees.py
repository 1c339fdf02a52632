"""A value read level by level, all objects of a type at once: what most values need no more than.

Most objects have one reference and so belong to whoever holds it; these hang in *trees*, which take no
memo. What has more references is the top of a tree of its own, whose references from inside are counted. If
none is in doubt at the end, nobody needs to know which tree refers to which top; `walk` sees to the others.
Bound: exact; some 100 ns an object where many are alike, as C's loops do the work.
"""

from __future__ import annotations

from itertools import chain
from operator import itemgetter
from sys import getrefcount
from typing import Any, Final, NamedTuple

from .kinds import Kind, Table
from .layout import Part, class_of
from .references import IN_FOUND, shares, sort_kids

SLACK: Final = 2
"""References from outside that a part of a value may have and still be charged to it.

The variable in which a caller built the part, or the tuple of arguments it came in, is still there when the
value is sized, and gone soon after.
"""

LEAF_SLACK: Final = 3
"""The same for leaves, of which a program passes more around and loses less by charging one too many."""

SHOWN: Final = 2
"""What a view looks into: its base and its dtype. More are elements of an array that owns its memory."""

LARGE: Final = 1 << 20

_FEW: Final = 3
"""Objects of a type from which on it pays to read them all at once."""

_LEVEL: Final = 64
"""Looks that there are to be for each of so many objects, if they have to be read one by one."""

_NOTHING: Final[list[Any]] = []
_objs_of: Final = itemgetter(1)


class Level(NamedTuple):
    """Where `read_trees` had to stop."""

    rest: list[Any]
    """What it has not read of a level."""
    below: list[Any]
    """What it found below what it has read of it."""


class Found:
    """What is not known to belong to the trees that refer to it."""

    __slots__ = ("common", "shared", "strict", "tops")

    def __init__(self, common: list[Any], shared: list[Any]) -> None:
        self.common = common  # leaves, once for each reference
        self.shared = shared  # others, the same
        self.tops: dict[int, Any] = {}  # those of `shared` that were counted
        self.strict: set[int] = set()  # ids of those that a view referred to first: no slack for these

    def look_into(self, shown: list[Any]) -> None:
        """Note references of a view."""
        for obj in shown:
            if id(obj) not in self.tops and not any(obj is other for other in self.shared):
                self.strict.add(id(obj))
            self.shared.append(obj)


def read_trees(
    table: Table, level: dict[int, list[Any]], left: float, found: Found
) -> tuple[int, float, Level | None]:
    """Return the bytes of the trees below `level`, the looks that are left, and where this stopped, if so.

    It stops at what needs samples, cannot be read, or is told to be more by a `__sizeof__`. Objects of
    `level` are grouped by the ids of their types.
    """
    kinds = table.kinds
    common, shared = found.common, found.shared
    size = 0
    more: Any
    obj: Any
    while level:
        below: dict[int, list[Any]] = {}
        kids: list[Any] = []
        groups = iter(level.items())
        for key, objs in groups:
            kind = kinds.get(key) or table.kind(objs[0])
            singly = objs
            if kind.claim is not None:
                singly = _NOTHING
            elif len(objs) >= _FEW:
                read = _read_all(kind, objs, left)
                if read is not None:
                    own, more = read
                    size += own
                    left -= len(objs) + len(more)
                    kids = kids + more if kids else more
                    read = None  # what is left in variables looks like held by others
                    continue
                if _LEVEL * len(objs) >= left:
                    singly = _NOTHING
            done = 0
            for obj in singly:
                if left <= 0:
                    break  # what holds one object is never too long for what is left, as links of a chain
                try:
                    own, more, times = kind.read(obj, left)
                except Exception:
                    break  # it will be read again
                if times != 1:
                    break
                size += own
                left -= len(more) + 1
                done += 1
                if kind.view and len(more) <= SHOWN:
                    size += sort_kids(kids, table, below, common, shared)
                    kids = []
                    found.look_into(more)
                elif kids:
                    kids += more
                else:
                    kids = more
            if done < len(objs):
                more = obj = None
                size += sort_kids(kids, table, below, common, shared)
                rest = [*objs[done:], *chain.from_iterable(map(_objs_of, groups))]
                return size, left, Level(rest, [*chain.from_iterable(below.values())])
        more = obj = None
        if kids:
            size += sort_kids(kids, table, below, common, shared)
        level = below
    return size, left, None


def _read_all(kind: Kind, objs: list[Any], left: float) -> tuple[int, list[Any]] | None:
    """Return the bytes of `objs` and what they refer to, if there is a way to read so many at once."""
    if kind.read_all is None or 2 * len(objs) >= left:
        return None
    try:
        return kind.read_all(objs, left)
    except Exception:
        return None  # one of them


def settle(
    table: Table, root: object, size: float, left: float, found: Found, budget: int | None, evicted: bool
) -> float | None:
    """Return what `root` comes to, its own tree of `size` bytes and what was found; None if in doubt.

    Trees of tops that nothing outside holds are added until there are no more such; then those of tops for
    which references may be missing because these come from one such tree or the other, as in a cycle.
    """
    tops, strict, shared = found.tops, found.strict, found.shared
    kinds = table.kinds
    known = {id(root): 0}  # references from inside, and as many from outside as may be
    waiting: list[int] = []
    tried: list[int] = []
    parts: list[int] = []
    obj: Any
    while True:
        for obj in shared:
            key = id(obj)
            if class_of(obj) is Part:
                key = ~obj.key
            if key in known:
                known[key] += 1
                continue
            tops[key] = obj
            if key < 0:
                known[key] = 1
                parts.append(key)
                continue
            kind = kinds.get(id(class_of(obj))) or table.kind(obj)
            if kind.claim is not None:
                return None
            known[key] = 1 if evicted or kind.alone or key in strict else 1 + SLACK
            waiting.append(key)
        obj = None
        shared.clear()
        ready: list[int] = []
        doubtful: list[int] = []
        worth: list[int] = []
        for key in waiting:
            outside = getrefcount(tops[key]) - IN_FOUND - known[key]
            if outside <= 0:
                ready.append(key)
                continue
            doubtful.append(key)
            # To find n references takes n looks at least, and what was in vain before is so again.
            if outside < left and (budget is None or not outside > table.shared_before(tops[key]) / 2 > 0):
                worth.append(key)
        if not ready:
            if not worth:
                break
            ready = worth
            tried += worth
            doubtful = [key for key in doubtful if key not in {*worth}]
        waiting = doubtful
        level: dict[int, list[Any]] = {}
        for key in ready:
            level.setdefault(id(class_of(tops[key])), []).append(tops[key])
        own, left, stopped = read_trees(table, level, left, found)
        del level
        if stopped is not None:
            return None
        size += own
    for key in tried:
        if getrefcount(tops[key]) - IN_FOUND > known[key]:
            return None
    if found.common:
        size += shares(found.common, 0 if evicted else LEAF_SLACK)
    for key in parts:
        part: Part = tops[key]
        if part.references <= known[key]:  # nobody else holds it
            size += part.ask()
    if size >= LARGE and not evicted:
        # A large part that the slack has us charge may still be one that every value refers to. If each of
        # them were charged with it none might get into a cache, so only the first one is.
        for key in tops.keys() - {*waiting, *parts}:
            by_slack = getrefcount(tops[key]) - IN_FOUND > known[key] - SLACK
            if by_slack and table.charged_to_another(tops[key], root):
                return None
    return size
