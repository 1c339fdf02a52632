"""A store: a table whose entries expire, are given up, and are ranked by value density.

Everything here runs between the table's commits: look for a victim, with nothing held, and unlink it if it
is still there. Bounds: an eviction touches the victims and what the policy looks at to find them; a tally
at most 1,024 entries; expiry O(log n) an entry that has expired.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ebbcache.gil import taking
from ebbcache.store.density import LOWEST, UNTIMED, densities, density_class
from ebbcache.store.entry import Entry, K, V, chain_of
from ebbcache.store.heap import moment
from ebbcache.store.numbers import Allowance, Counts
from ebbcache.store.table import Table

TALLY_SAMPLE = 1024
"""Entries that a tally looks at, at most."""


class Store(Table[K, V]):
    """What all policies share. A subclass says who goes first (`_victim`, `_ranked`) and what a hit
    moves."""

    __slots__ = ()

    def __len__(self) -> int:
        if self._due.items or self._unordered:
            self._gone(self._expire(), "expired")
        return len(self._entries)

    def _plain(
        self,
        simple: bool,
        overhead: int,
        maxsize: int | float | None,
        maxbytes: int | None,
        ttl: Any,
        sizeof: Callable[[Any], int],
        weigh: Callable[[Any, float], int],
        allowance: Allowance | None,
        counts: Counts,
    ) -> None:
        """Be told what inserts need to know; if `simple`, nothing else needs to be asked for one.

        The native store then makes them by itself. This one leaves all of it to the cache.
        """

    # ------------------------------------------------------------------------------- expiry and eviction

    def _expire(self, now: Any = None) -> list[Entry[K, V]]:
        """Remove and return what has expired at `now` (None: what the timer says). O(log n) an entry.

        Deadlines of a type that only its own ``<`` can order cost a walk over all entries.
        """
        due = self._due
        expired: list[Entry[K, V]] = []
        if not due.items and not self._unordered:
            return expired
        if now is None:
            now = self.timer()
        while (item := due.top()) is not None:
            entry = self._entries.get(item[1])
            if entry is not None:
                if now < entry.deadline:
                    break
                if self._unlink(entry):
                    expired.append(entry)
            due.drop(item)
        if self._unordered:
            late = [e for e in self._snapshot() if e.deadline is not None and not (now < e.deadline)]
            expired += [entry for entry in late if self._unlink(entry)]
        if expired:
            self._tighten()
        return expired

    def _next_deadline(self) -> float | None:
        """Return the least deadline as a number, or None where there is none (or none with an order)."""
        due = self._due
        while (item := due.top()) is not None:
            if item[1] in self._entries:
                return item[0]
            due.drop(item)
        return None

    def _victim(self, keep: Entry[K, V] | None) -> Entry[K, V] | None:
        """Return the entry to give up next, never `keep`; None if there is none."""
        raise NotImplementedError

    def _evict_one(self, keep: Entry[K, V] | None = None) -> Entry[K, V] | None:
        """Remove and return the policy's next victim, never `keep`; None if there is none."""
        while True:
            entry = self._victim(keep)
            if entry is None:
                return None
            if self._unlink(entry):
                self._remember(entry)
                return entry

    def _evict(self, nbytes: int, leave: int = 0) -> list[Entry[K, V]]:
        """Remove victims in the policy's order until their sizes reach `nbytes`; return them.

        Stops before less than `leave` bytes would stay. If that takes all bytes there are, everything goes
        in one commit, in no order.
        """
        if nbytes >= self.nbytes and leave <= 0:
            return self._drain() if self.nbytes else []
        victims: list[Entry[K, V]] = []
        freed = 0
        while freed < nbytes and self.nbytes:
            entry = self._victim(None)
            if entry is None or self.nbytes - entry.size < leave:
                break
            if self._unlink(entry):
                self._remember(entry)
                victims.append(entry)
                freed += entry.size
        self._tighten()
        return victims

    def _remember(self, entry: Entry[K, V]) -> None:
        """Take note of an entry that was given up, where the policy wants to know it again."""

    def _tighten(self) -> None:
        """Give back the room that a much larger table once needed. O(1), or O(n) after n removals."""
        living = len(self._entries)
        if 2 * len(self._slots) > 3 * living + 128:
            self._tidy()
        if sys.getsizeof(self._table) > 256 * living + 4096:
            version = self._version
            entries = self._empty()
            for entry in self._snapshot():
                entries[entry.serial] = entry
            table = {**self._table}
            for _ in taking(self._lock):
                try:
                    if self._version == version:
                        self._table = table
                        self._entries = entries
                finally:
                    self._lock.release()
                break

    def _ranked(self, n: int, hottest: bool) -> list[Entry[K, V]]:
        """Return up to `n` live entries from the cold (or hot) end of the order of eviction."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------- density

    def _mean_cost(self) -> float:
        return self._cost_total / self._cost_count if self._cost_count else UNTIMED

    def _sample(self, n: int) -> list[Entry[K, V]]:
        """Return `n` entries, each slot as likely as any other; all entries where there are no more.
        O(n)."""
        sample: list[Entry[K, V]] = []
        living = self._entries.get
        for _ in range(16):
            slots = self._slots
            size = len(slots)
            missing = n - len(sample)
            if size <= n or len(self._entries) <= n:
                return self._snapshot()
            # Evenly spaced slots, from a random place and at a random distance: a sample for the price of a
            # slice. Park and Miller's generator keeps a few bytes of state, and two stores that were
            # treated alike choose alike. Some slots are dead, hence the loop.
            start = (seed := self._seed * 48271 % 0x7FFFFFFF) % size
            step = 1 + (seed := seed * 48271 % 0x7FFFFFFF) % (size // missing)
            self._seed = seed
            drawn = slots[start : start + missing * step : step]
            if len(drawn) < missing:
                start += len(drawn) * step - size
                drawn += slots[start : start + (missing - len(drawn)) * step : step]
            sample += [entry for serial in drawn if (entry := living(serial)) is not None]
            if len(sample) >= n:
                return sample
        return sample or self._snapshot()

    def _tally(self, now: float) -> dict[int, int]:
        """Return bytes held by density class at `now` on the shared clock.

        Exact up to 1,024 entries; beyond, a uniform sample of that many, scaled up to `nbytes`.
        """
        entries = self._sample(TALLY_SAMPLE)
        factor = self._trusted(now)
        tally: dict[int, int] = {}
        instant = self.timer() if self._due.items or self._unordered else None
        found = densities(entries, now, self._gain, self._mean_cost())
        fresh: list[Entry[K, V]] = []
        levels: list[int] = []
        for entry, density in zip(entries, found, strict=True):
            if instant is not None and entry.deadline is not None and not instant < entry.deadline:
                level = LOWEST
            else:
                level = density_class(density * factor)
                fresh.append(entry)
                levels.append(level)
            tally[level] = tally.get(level, 0) + entry.size
        self._expect(fresh, levels, now)
        sampled = sum(tally.values())
        if sampled and len(self._entries) > len(entries):
            nbytes = self.nbytes
            tally = {level: size * nbytes // sampled for level, size in tally.items()}
        return tally

    def _trusted(self, now: float) -> float:
        """Return what densities are multiplied with where caches share a target."""
        return 1.0

    def _expect(self, entries: list[Entry[K, V]], levels: list[int], now: float) -> None:
        """Take note of some entries of a tally, where the policy learns from what becomes of them."""

    # ------------------------------------------------------------------------------------------- checking

    def _check(self, amid: bool = False) -> None:
        """Walk everything and assert every invariant. For tests, while nobody else is at work.

        `amid`: in a finaliser, a signal handler or a forked child an operation may be under way; all that
        may be missing then is an item in a heap.
        """
        linked: dict[int, Entry[K, V]] = {}
        for h, bucket in self._table.items():
            chain = chain_of(bucket)
            assert len(chain) > 1 or bucket is not chain, "a tuple of one"
            for entry in chain:
                assert entry.hash == h, "an entry under another's hash"
                linked[entry.serial] = entry
        assert linked == dict(self._entries), "table and order disagree"
        assert all(serial == entry.serial for serial, entry in self._entries.items())
        assert self.nbytes == sum(entry.size for entry in linked.values()), "byte total"
        assert abs(self._weight - sum(entry.weight for entry in linked.values())) < 1e-6, "weight total"
        assert linked.keys() <= set(self._slots), "an entry that no sample can find"
        assert len(self._slots) == len(set(self._slots)), "a slot twice"
        numbers = set(self._due.items)
        for entry in linked.values():
            if entry.deadline is not None:
                when = moment(entry.deadline)
                assert amid or (self._unordered if when is None else (when, entry.serial) in numbers)
        items = list(self._due.items)  # another thread may look for what is due
        assert all(items[(i - 1) // 2] <= items[i] for i in range(1, len(items))), "heap order"
