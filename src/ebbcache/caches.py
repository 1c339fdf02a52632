"""The four caches: `LRUCache`, `LFUCache`, `TTLCache` and `DensityCache`.

Each is a store with a policy (`ebbcache.store`) that weighs its entries and lets itself be shrunk. None
needs a size: it grows while memory is free and gives back when something else wants it. They are mappings,
safe from any thread. A hit costs O(1) and takes no lock; an insert O(1), or O(log n) for LFU and deadlines.

Constructors follow cachetools, so that its users move by changing an import. Deliberate differences:

- `maxsize` may be left out, or None: then memory alone limits the cache.
- Methods are safe from any thread, and `setdefault` is atomic.
- ``LRUCache`` and ``TTLCache`` iterate from the coldest to the hottest entry, not by age of the key. All
  iterators run over a snapshot: changes while iterating are no error.
- Eviction happens after the new value is in, so a listener or a value's destructor sees it there. A
  subclass's own `popitem` is still called first where `maxsize` demands room, as in cachetools.
- ``LFUCache`` lets old hits fade, breaks ties by age of insertion, and setting a value anew is no hit.
- ``TTLCache``: deleting an expired key removes it and raises KeyError, as in cachetools; a ttl may be given
  per entry; expired entries are freed in the background.
- ``values()``, ``items()`` and ``==`` count no hits; `repr` shows the entries only.
- There is no ``FIFOCache``, ``RRCache`` or ``TLRUCache``: a per-entry ttl (`set`) replaces the last.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from ebbcache._cache import Cache
from ebbcache._checks import check_callable, check_ttl
from ebbcache._facts import CacheStats, Cause
from ebbcache.store import DensityStore, LFUStore, LRUStore

K = TypeVar("K")
V = TypeVar("V")

__all__ = ["Cache", "CacheStats", "Cause", "DensityCache", "LFUCache", "LRUCache", "TTLCache"]


class LRUCache(Cache[K, V], LRUStore[K, V]):
    """A cache that gives up the least recently used entry first. For its arguments see `Cache`.

    >>> cache = LRUCache(maxsize=2)
    >>> cache["a"], cache["b"] = 1, 2
    >>> cache["a"]
    1
    >>> cache["c"] = 3
    >>> cache
    LRUCache({'a': 1, 'c': 3})
    """


class LFUCache(Cache[K, V], LFUStore[K, V]):
    """A cache that gives up the least frequently used entry first. For its arguments see `Cache`.

    Old hits fade: after every ten accesses per entry a hit counts half of a new one, so that yesterday's
    favourites make way. Among equals the older entry goes first.

    >>> cache = LFUCache(maxsize=2)
    >>> cache.update(a=1, b=2)
    >>> cache["a"]
    1
    >>> cache["c"] = 3
    >>> sorted(cache)
    ['a', 'c']
    """


class DensityCache(Cache[K, V], DensityStore[K, V]):
    """A cache that gives up first what saves the least work per byte and second of idleness.

    Best told what values cost: ``cache.set(key, value, cost=seconds)``; an entry without a cost counts as
    the mean of the others. For its arguments see `Cache`.

    >>> cache = DensityCache(maxsize=2)
    >>> cache.set("dear", 1, cost=10.0)
    >>> cache.set("cheap", 2, cost=0.00001)
    >>> cache.set("new", 3, cost=1.0)
    >>> sorted(cache)
    ['dear', 'new']
    """


class Timed(Cache[K, V]):
    """The arguments and the ttl of a `TTLCache`, whichever store it is on."""

    def __init__(
        self,
        maxsize: int | float | None = None,
        ttl: Any = None,
        timer: Callable[[], Any] = time.monotonic,
        getsizeof: Callable[[V], int | float] | None = None,
        *,
        maxbytes: int | str | None = None,
        min_bytes: int | str = 0,
        name: str | None = None,
        sizeof: Callable[[K, V], int] | None = None,
        listener: Callable[[K, V, Cause], object] | None = None,
        register: bool = True,
    ) -> None:
        if ttl is None:
            raise TypeError(f"{type(self).__name__}() needs a ttl")
        check_ttl(ttl)
        check_callable(timer, "timer")
        self._ttl = ttl
        super().__init__(
            maxsize,
            getsizeof,
            maxbytes=maxbytes,
            min_bytes=min_bytes,
            name=name,
            sizeof=sizeof,
            listener=listener,
            register=register,
        )
        self.timer = timer

    @property
    def ttl(self) -> Any:
        """How long an entry lives where `set` does not say otherwise, in the timer's units."""
        return self._ttl


class TTLCache(Timed[K, V], LRUStore[K, V]):
    """An LRU cache whose entries live for `ttl` units of `timer` after they were set.

    Expired entries are never returned nor counted, are freed in the background, and go first when room is
    needed. `timer()` gives the time, by default in seconds; it and `ttl` may be of any types that add and
    compare, such as `datetime.datetime.now` and a timedelta. For the other arguments see `Cache`.

    >>> time = 0
    >>> cache = TTLCache(ttl=60, timer=lambda: time)
    >>> cache["a"] = 1
    >>> cache.set("b", 2, ttl=600)
    >>> time = 60
    >>> cache
    TTLCache({'b': 2})
    """
