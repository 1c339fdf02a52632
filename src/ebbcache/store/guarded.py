"""The pure stores where there is no GIL: the same, with a lock wherever straight-line code is not enough.

Without a GIL (PEP 703) a dict or a list guards each of its own operations, but no two of them together; an
OrderedDict's order and the functions of heapq guard nothing, and ``+= 1`` loses counts. The table's commits
are made under its lock anyway; here hits, misses, the order of use and the heaps come under one as well.
Still nobody's code runs under a lock: what is guarded moves ints, floats and entries that stay linked.
Bound: an operation takes a lock once more for each of these things that it touches.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from functools import partial
from itertools import islice
from typing import Any, TypeVar, cast, overload

from ebbcache.clock import clock
from ebbcache.gil import holding, taking
from ebbcache.store import policies
from ebbcache.store.entry import Entry, K, V
from ebbcache.store.heap import Item, LazyHeap
from ebbcache.store.reference import Store

T = TypeVar("T")


class GuardedHeap(LazyHeap):
    """A heap whose every change is made under a lock of its own, inside of which nothing else is locked."""

    __slots__ = ("lock",)

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()

    def push(self, number: float, serial: int) -> None:
        """Add an item. O(log n)."""
        holding(self.lock, partial(super().push, number, serial))

    def top(self) -> Item | None:
        """Return the least item, or None."""
        return holding(self.lock, super().top)

    def drop(self, item: Item) -> None:
        """Remove `item` if it is still the top. O(log n)."""
        holding(self.lock, partial(super().drop, item))

    def replace(self, item: Item, number: float) -> None:
        """Give `item` a new number if it is still the top. O(log n)."""
        holding(self.lock, partial(super().replace, item, number))

    def _exchange(self, items: list[Item], pushes: int) -> bool:
        return holding(self.lock, partial(super()._exchange, items, pushes))


class GuardedStore(Store[K, V]):
    """What all guarded policies share; it goes before the policy's store among the bases."""

    __slots__ = ()
    # Every object has a header of 16 bytes more here.
    empty = 2160
    dated = 121
    _heap = GuardedHeap

    def __getitem__(self, key: K) -> V:
        entry = self._seek(key, hash(key))
        if entry is not None:
            return self._hit(entry)
        self._missed()
        return self.__missing__(key)

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V) -> V: ...
    @overload
    def get(self, key: K, /, default: T) -> V | T: ...
    def get(self, key: K, /, default: Any = None) -> Any:
        """Return the value for `key` (a hit), else `default` (a miss); `__missing__` is not asked. O(1)."""
        entry = self._seek(key, hash(key))
        if entry is not None:
            return self._hit(entry)
        self._missed()
        return default

    def _missed(self) -> None:
        for _ in taking(self._lock):
            try:
                self.misses += 1
            finally:
                self._lock.release()
            break

    def _hit(self, entry: Entry[K, V]) -> V:
        for _ in taking(self._lock):
            try:
                entry.hits += self._gain
                entry.stamp = clock.now
                self._hits += 1
            finally:
                self._lock.release()
            break
        return entry.value

    def _snapshot(self) -> list[Entry[K, V]]:
        return holding(self._lock, lambda: list(self._entries.values()))

    def _locks(self) -> list[Any]:
        return [*super()._locks(), *[heap.lock for heap in self._heaps()]]

    def _renew_locks(self) -> None:
        super()._renew_locks()
        for heap in self._heaps():
            heap.lock = threading.RLock()

    def _heaps(self) -> list[GuardedHeap]:
        return [cast("GuardedHeap", self._due)]


class LRUStore(GuardedStore[K, V], policies.LRUStore[K, V]):
    """Gives up the entry that has not been used for the longest time. Iterates from coldest to hottest."""

    __slots__ = ()
    overhead = 457

    def _hit(self, entry: Entry[K, V]) -> V:
        for _ in taking(self._lock):
            try:
                entry.hits += 1.0
                entry.stamp = clock.now
                self._hits += 1
                entries = cast("OrderedDict[int, Entry[K, V]]", self._entries)
                if entry.serial in entries:
                    entries.move_to_end(entry.serial)
            finally:
                self._lock.release()
            break
        return entry.value

    def _victim(self, keep: Entry[K, V] | None) -> Entry[K, V] | None:
        while True:
            try:
                first = holding(self._lock, lambda: list(islice(self._entries.values(), 2)))
            except RuntimeError:  # changed by a signal handler in this thread
                continue
            return next((entry for entry in first if entry is not keep), None)

    def _ranked(self, n: int, hottest: bool) -> list[Entry[K, V]]:
        order = self._snapshot()
        if hottest:
            order.reverse()
        living = (entry for entry in order if entry.deadline is None or self.timer() < entry.deadline)
        return list(islice(living, n))


class LFUStore(GuardedStore[K, V], policies.LFUStore[K, V]):
    """Gives up the entry with the fewest hits, where old hits count less; among equals the oldest."""

    __slots__ = ()
    overhead = 480

    def _age(self) -> None:
        holding(self._lock, super()._age)

    def _heaps(self) -> list[GuardedHeap]:
        return [*super()._heaps(), cast("GuardedHeap", self._ranks)]


class DensityStore(GuardedStore[K, V], policies.DensityStore[K, V]):
    """Gives up what saves the least work per byte and second of idleness."""

    __slots__ = ()
    overhead = 407
