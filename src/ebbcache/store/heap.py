"""An order by number over entries that come and go: a binary heap that is put right lazily.

A heap item is ``(number, serial)``, never the entry, so the heap keeps no key or value alive, and ordering
it runs no foreign code. Entries leave the store without telling the heap; whoever takes the top asks the
store whether that serial still lives (the usual trick for decrease-key). The store rebuilds its heaps when
much in them is dead, so all operations are O(log n) amortised.

No item is lost to a thread, a signal handler or a finaliser in between: every change is one call into C,
made only if the top is still the item that was looked at, and a rebuild starts over if anything was pushed
meanwhile. Entries are pushed before they are linked, so that none is without an item.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush, heapreplace

Item = tuple[float, int]

_EPOCH = datetime.datetime(2020, 1, 1)
_EPOCH_UTC = _EPOCH.replace(tzinfo=datetime.UTC)


class LazyHeap:
    """A heap of ``(number, serial)`` pairs, least first."""

    __slots__ = ("changes", "items", "lock", "pushes")

    def __init__(self, lock: threading.RLock) -> None:
        self.items: list[Item] = []
        self.lock = lock
        self.pushes = 0
        self.changes = 0  # other than pushes

    def push(self, number: float, serial: int) -> None:
        """Add an item. O(log n)."""
        with self.lock:
            self.pushes += 1
            heappush(self.items, (number, serial))

    def top(self) -> Item | None:
        """Return the least item, or None."""
        with self.lock:
            items = self.items
            return items[0] if items else None

    def drop(self, item: Item) -> None:
        """Remove `item` if it is still the top. O(log n)."""
        with self.lock:
            items = self.items
            if items and items[0] is item:
                self.changes += 1
                heappop(items)

    def replace(self, item: Item, number: float) -> None:
        """Give `item` a new number if it is still the top. O(log n)."""
        with self.lock:
            items = self.items
            if items and items[0] is item:
                heapreplace(items, (number, item[1]))

    def rebuild(self, living: Callable[[], Iterable[Item]]) -> None:
        """Hold exactly what `living()` gives. O(n); again if something was pushed meanwhile."""
        while True:
            pushes = self.pushes
            items = list(living())
            heapify(items)
            with self.lock:
                if self.pushes == pushes:
                    self.changes += 1
                    self.items = items
                    return


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
