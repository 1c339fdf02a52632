"""The native stores: the pure ones' names, over the type that `native/` has in C.

The classes are made here because a cache is a `MutableMapping`; every method that counts is in C, and
`native/store.h` is the place to start reading. Bounds are the pure stores', at some 60 bytes an entry and
hits without a call of Python.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, ClassVar

from ebbcache.clock import Clock
from ebbcache.gil import is_free_threaded
from ebbcache.store import _store
from ebbcache.store._store import Allowance, Core, Counts, Entry, Instance, Memo, apart, trust_leaves
from ebbcache.store.entry import K, V

__all__ = [
    "Allowance",
    "Counts",
    "DensityStore",
    "Entry",
    "Instance",
    "LFUStore",
    "LRUStore",
    "Memo",
    "Store",
    "apart",
    "trust_leaves",
]


if is_free_threaded():
    # Nobody can read a float object that another thread replaces without a lock, and a hit has no time for
    # one: here the process's time is a C double, which C reads and writes in one piece.
    Clock.now = property(_store.stamp, _store.set_stamp)  # type: ignore[assignment, misc]


class Store(Core, MutableMapping[K, V]):
    """What all policies share; `ebbcache.store.reference` says what each method means."""

    __slots__ = ()

    overhead: ClassVar[int]
    """Bytes spent on an entry beside its key and value (and deadline), on the mean."""
    empty: ClassVar[int] = 1500 if is_free_threaded() else 1400
    """Bytes of a cache without entries, about."""
    dated: ClassVar[int] = 30
    """Bytes spent on a deadline."""
    _counters: ClassVar[type[Counts]] = Counts

    def _insert(self, key: K, h: int, value: V, ttl: Any, cost: float | None, absent: bool = False) -> V:
        raise NotImplementedError

    def _gone(self, victims: list[Entry[K, V]], kind: str, by: str = "ttl") -> None:
        """Hear of entries that were removed. Nothing is held meanwhile."""


class LRUStore(Store[K, V]):
    """Gives up the entry that has not been used for the longest time. Iterates from coldest to hottest."""

    __slots__ = ()
    policy = "lru"
    overhead = 58


class LFUStore(Store[K, V]):
    """Gives up the entry with the fewest hits, where old hits count less; among equals the oldest."""

    __slots__ = ()
    policy = "lfu"
    overhead = 74


class DensityStore(Store[K, V]):
    """Gives up what saves the least work per byte and second of idleness."""

    __slots__ = ()
    policy = "density"
    overhead = 58
