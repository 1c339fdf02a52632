"""An order by number over entries that come and go: a binary heap that is put right lazily.

A heap item is ``(number, serial)``, never the entry, so the heap keeps no key or value alive, and ordering
it runs no foreign code. Entries leave the store without telling the heap; whoever takes the top asks the
store whether that serial still lives (the usual trick for decrease-key). The store rebuilds its heaps when
much in them is dead, so all operations are O(log n) amortised.

There is no lock. Every change is one call into C, made in straight line with the test that it depends on:
only if the top is still the item that was looked at; only if nothing was pushed during a rebuild. So
neither a thread nor a signal handler nor a finaliser comes in between (with a GIL; where there is none,
`guarded` has a heap with a lock).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush, heapreplace

Item = tuple[float, int]

_EPOCH = datetime.datetime(2020, 1, 1)
_EPOCH_UTC = _EPOCH.replace(tzinfo=datetime.UTC)


class LazyHeap:
    """A heap of ``(number, serial)`` pairs, least first."""

    __slots__ = ("items", "pushes")

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.pushes = 0

    def push(self, number: float, serial: int) -> None:
        """Add an item. O(log n)."""
        item = (number, serial)
        self.pushes += 1
        heappush(self.items, item)

    def top(self) -> Item | None:
        """Return the least item, or None."""
        items = self.items
        return items[0] if items else None

    def drop(self, item: Item) -> None:
        """Remove `item` if it is still the top. O(log n)."""
        items = self.items
        if items and items[0] is item:
            heappop(items)

    def replace(self, item: Item, number: float) -> None:
        """Give `item` a new number if it is still the top. O(log n)."""
        fresh = (number, item[1])
        items = self.items
        if items and items[0] is item:
            heapreplace(items, fresh)

    def rebuild(self, living: Callable[[], Iterable[Item]]) -> None:
        """Hold exactly what `living()` gives. O(n); again if something was pushed meanwhile."""
        while True:
            pushes = self.pushes
            items = list(living())
            heapify(items)
            if self._exchange(items, pushes):
                return

    def _exchange(self, items: list[Item], pushes: int) -> bool:
        """Put other items in place unless something was pushed since there were `pushes`."""
        if self.pushes != pushes:
            return False
        self.items = items
        return True


def moment(deadline: object) -> float | None:
    """Return `deadline` as a number of the same order, or None where only its own ``<`` can tell.

    >>> moment(7.5), moment(datetime.datetime(2020, 1, 2)), moment("tomorrow")
    (7.5, 86400.0, None)
    """
    if type(deadline) is float or type(deadline) is int:
        return deadline if deadline == deadline else None
    if type(deadline) is datetime.datetime:
        return (deadline - (_EPOCH if deadline.tzinfo is None else _EPOCH_UTC)).total_seconds()
    return None
