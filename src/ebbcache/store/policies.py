"""Three orders of eviction over one store: by last use, by aging frequency, by value density.

LRU: an ordered dict of serials, moved by every hit. LFU: a lazy heap by hits, aged by *forward decay*
(Cormode, Shkapenyuk, Srivastava, Xu, ICDE 2009): not the old hits shrink, what a new one counts grows, by
half-lives of ten accesses an entry; the order is that of LRFU with halving (Lee et al., 2001), without
ever touching an entry to age it. Density: sampling for a little, a waterline for a lot; what was used and
given up is known again for a while (`past.py`), and a few newcomers are tried for long. Bounds: LRU's
victim is O(1); LFU's O(log n) amortised; density's a sample, or one pass for all victims.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeVar, cast, overload

from ebbcache.clock import clock
from ebbcache.store.density import densities, density_class
from ebbcache.store.entry import Entry, K, V
from ebbcache.store.past import Past
from ebbcache.store.reference import Store
from ebbcache.store.trust import Trust

T = TypeVar("T")

SAMPLE = 32
"""Entries that one victim of the density policy is chosen from, where nothing is known yet."""
FRESH = 16
"""Entries drawn for one victim beside the pool of candidates."""
POOL = 8
"""Candidates remembered."""
HALF_LIFE = 10
"""LFU: accesses per entry after which a hit counts half of a new one."""
TRIED = 32.0
"""Density: the hits that one newcomer in `SELDOM` is credited with. It then outlives others for long enough
to be seen again where requests come in loops longer than the cache, of which LRU keeps nothing; once it has
more hits than this, those that are tried later do not drive it out."""
SELDOM = 512
"""Density: how many newcomers come on one that is tried for long."""


class LRUStore(Store[K, V]):
    """Gives up the entry that has not been used for the longest time. Iterates from coldest to hottest."""

    __slots__ = ("_touch",)

    policy = "lru"
    _keeps_place = False
    overhead = 390
    _touch: Callable[[int], None]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._entries = entries = self._empty()
        self._touch = entries.move_to_end

    def __getitem__(self, key: K) -> V:
        h = hash(key)
        entry = self._table.get(h)
        if entry is not None:
            try:
                found = entry.key
            except AttributeError:
                entry = self._seek(key, h)
            else:
                if not (found is key or found == key):
                    entry = None
                elif entry.deadline is not None and not (self.timer() < entry.deadline):
                    entry = self._alive(entry)
        if entry is None:
            self.misses += 1
            return self.__missing__(key)
        entry.hits += 1.0
        entry.stamp = clock.now
        self._hits += 1
        try:
            self._touch(entry.serial)
        except KeyError:  # removed by another thread since it was found
            pass
        return entry.value

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V) -> V: ...
    @overload
    def get(self, key: K, /, default: T) -> V | T: ...
    def get(self, key: K, /, default: Any = None) -> Any:
        """Return the value for `key` (a hit), else `default` (a miss); `__missing__` is not asked. O(1)."""
        h = hash(key)
        entry = self._table.get(h)
        if entry is not None:
            try:
                found = entry.key
            except AttributeError:
                entry = self._seek(key, h)
            else:
                if not (found is key or found == key):
                    entry = None
                elif entry.deadline is not None and not (self.timer() < entry.deadline):
                    entry = self._alive(entry)
        if entry is None:
            self.misses += 1
            return default
        entry.hits += 1.0
        entry.stamp = clock.now
        self._hits += 1
        try:
            self._touch(entry.serial)
        except KeyError:
            pass
        return entry.value

    def _hit(self, entry: Entry[K, V]) -> V:
        try:
            self._touch(entry.serial)
        except KeyError:
            pass
        return super()._hit(entry)

    def _empty(self) -> OrderedDict[int, Entry[K, V]]:
        return OrderedDict()

    def _drain(self) -> list[Entry[K, V]]:
        drained = super()._drain()
        self._touch = cast("OrderedDict[int, Entry[K, V]]", self._entries).move_to_end
        return drained

    def _tighten(self) -> None:
        super()._tighten()
        self._touch = cast("OrderedDict[int, Entry[K, V]]", self._entries).move_to_end

    def _victim(self, keep: Entry[K, V] | None) -> Entry[K, V] | None:
        skip = None if keep is None else keep.serial
        while True:
            entries = self._entries
            try:
                for serial in entries:  # the first, or the second
                    if serial != skip:
                        return entries[serial]
            except (KeyError, RuntimeError):  # changed by another thread in between
                continue
            return None

    def _ranked(self, n: int, hottest: bool) -> list[Entry[K, V]]:
        mortal = self._due.items or self._unordered
        while True:
            values = self._entries.values()
            try:
                order = list(islice(reversed(values) if hottest else values, None if mortal else n))
            except RuntimeError:  # changed by another thread in between
                continue
            break
        living = (entry for entry in order if entry.deadline is None or self.timer() < entry.deadline)
        return list(islice(living, n))


class LFUStore(Store[K, V]):
    """Gives up the entry with the fewest hits, where old hits count less; among equals the oldest."""

    __slots__ = ("_age_at", "_ranks")

    policy = "lfu"
    overhead = 413

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ranks = self._heap()
        self._age_at = 0

    def _announce(self, entry: Entry[K, V], placed: bool) -> None:
        super()._announce(entry, placed)
        if placed:
            self._ranks.push(entry.hits, entry.serial)
        accesses = self._hits + self.misses
        left = self._age_at - accesses
        half_life = HALF_LIFE * len(self._entries)
        if left <= 0 or left > half_life:  # the latter: counters were reset, or the store shrank
            self._age_at = accesses + half_life
            if left <= 0 and accesses:
                self._age()

    def _tidy(self) -> None:
        super()._tidy()
        self._ranks.rebuild(self._current)

    def _current(self) -> Iterator[tuple[float, int]]:
        return ((entry.hits, entry.serial) for entry in self._snapshot())

    def _age(self) -> None:
        self._gain *= 2.0
        if self._gain > 2.0**500:
            # Long before floats end, all counts are scaled down together; powers of two keep them exact.
            scale = 1.0 / self._gain
            entries = self._snapshot()
            self._gain = 1.0
            for entry in entries:
                entry.hits *= scale
            self._ranks.rebuild(self._current)

    def _drain(self) -> list[Entry[K, V]]:
        drained = super()._drain()
        self._ranks.rebuild(self._current)
        return drained

    def _victim(self, keep: Entry[K, V] | None) -> Entry[K, V] | None:
        ranks = self._ranks
        held: Entry[K, V] | None = None
        try:
            while True:
                item = ranks.top()
                if item is None:
                    if not self._entries or (held is not None and len(self._entries) == 1):
                        return None
                    ranks.rebuild(self._current)
                    continue
                entry = self._entries.get(item[1])
                if entry is None:
                    ranks.drop(item)
                elif entry.hits != item[0]:
                    ranks.replace(item, entry.hits)
                elif entry is keep:
                    held = entry
                    ranks.drop(item)
                else:
                    return entry
        finally:
            if held is not None:
                ranks.push(held.hits, held.serial)

    def _ranked(self, n: int, hottest: bool) -> list[Entry[K, V]]:
        pick = heapq.nlargest if hottest else heapq.nsmallest
        return pick(n, self._living(), key=lambda entry: (entry.hits, entry.serial))

    def _check(self, amid: bool = False) -> None:
        super()._check(amid)
        least: dict[int, float] = {}
        for number, serial in self._ranks.items:
            least[serial] = min(number, least.get(serial, number))
        if not amid:
            assert all(least[entry.serial] <= entry.hits for entry in self._snapshot()), "out of the ranks"


class DensityStore(Store[K, V]):
    """Gives up what saves the least work per byte and second of idleness."""

    __slots__ = ("_past", "_pool", "_trust")

    policy = "density"
    overhead = 343

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._past = Past()
        self._trust = Trust()
        # The coldest of past samples: (density, serial, hits at that time), Redis' idea of an eviction
        # pool. With these, half the sample decides as well as all of it would, to some 0.3 % more misses.
        self._pool: list[tuple[float, int, float]] = []

    def _welcome(self, h: int) -> float:
        past = self._past
        if not past.cells:
            return 1.0
        self._seed = seed = self._seed * 48271 % 0x7FFFFFFF
        first = 1.0 + past.hits(h)
        return TRIED if seed % SELDOM == 0 and first < TRIED else first

    def _remember(self, entry: Entry[K, V]) -> None:
        self._past.add(entry.hash, entry.hits, len(self._entries))

    def _drain(self) -> list[Entry[K, V]]:
        self._past = Past()
        self._trust = Trust()
        return super()._drain()

    def _tighten(self) -> None:
        super()._tighten()
        self._past.tighten(len(self._entries))

    def _trusted(self, now: float) -> float:
        return self._trust.factor(self._entries.get, now)

    def _expect(self, entries: list[Entry[K, V]], levels: list[int], now: float) -> None:
        self._trust.watch(entries, levels, now)

    def _densities(self, entries: list[Entry[K, V]], now: float) -> list[float]:
        return densities(entries, now, self._gain, self._mean_cost())

    def _victim(self, keep: Entry[K, V] | None) -> Entry[K, V] | None:
        entries = self._entries
        living = entries.get
        # Whoever left or was hit since is no candidate any more.
        pool = [rank for rank in self._pool if (old := living(rank[1])) is not None and old.hits == rank[2]]
        while True:
            few = len(entries) <= SAMPLE
            sample = self._sample(FRESH if pool and not few else SAMPLE)
            ranks = [
                (density, entry.serial, entry.hits)
                for density, entry in zip(self._densities(sample, clock.now), sample, strict=True)
            ]
            ranks = sorted(ranks if few else pool + ranks)
            for at, (_, serial, hits) in enumerate(ranks):
                entry = entries.get(serial)
                if entry is not None and entry is not keep and entry.hits == hits:
                    self._pool = ranks[at + 1 : at + 1 + POOL]
                    return entry
            if few:
                return None
            entries = self._entries
            pool = []

    def _evict(self, nbytes: int, leave: int = 0) -> list[Entry[K, V]]:
        now = clock.tick()
        if nbytes * 16 < self.nbytes or (nbytes >= self.nbytes and leave <= 0):
            return super()._evict(nbytes, leave)
        victims: list[Entry[K, V]] = []
        classes: dict[int, list[tuple[float, int, Entry[K, V]]]] = {}
        entries = self._snapshot()
        for density, entry in zip(self._densities(entries, now), entries, strict=True):
            classes.setdefault(density_class(density), []).append((density, entry.serial, entry))
        missing = nbytes
        for level in sorted(classes):
            if missing <= 0:
                break
            # Only the class that the waterline runs through needs an order; the others go as a whole.
            ranks = classes[level]
            if sum([rank[2].size for rank in ranks]) > missing:
                ranks.sort()
            for _, _, entry in ranks:
                if missing <= 0 or self.nbytes - entry.size < leave:
                    missing = 0
                    break
                if self._unlink(entry):
                    self._remember(entry)
                    victims.append(entry)
                    missing -= entry.size
        self._tighten()
        return victims

    def _ranked(self, n: int, hottest: bool) -> list[Entry[K, V]]:
        entries = list(self._living())
        ranks = zip(self._densities(entries, clock.tick()), entries, strict=True)
        pick = heapq.nlargest if hottest else heapq.nsmallest
        return [entry for _, entry in pick(n, ranks, key=lambda rank: (rank[0], rank[1].serial))]
