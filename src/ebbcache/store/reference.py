"""One cache's entries: a hash table, an order of eviction and a byte total that always agree.

The design is one rule: user code first, then a commit. Whatever may run foreign code (`hash`, `==`, a timer)
runs with nothing held and nothing changed. Then a *commit* under the store's lock tests that the bucket is
still the one that was looked at, and if so changes table, order and totals in straight-line bytecode: stores
and deletes by subscript or attribute whose keys are exact ints, no call, no loop, no allocation that the
garbage collector would see. CPython (3.11 and later) switches threads, runs signal handlers and finalisers
only at calls and backward jumps, or when it allocates, so nobody can see or re-enter a half-made change;
where there is no GIL, the lock does the same. A commit that fails its test changed nothing; it starts over.

Removed entries are handed to the caller, who drops them when all is consistent and nothing is held.

Keys are looked up by their hash in ``dict[int, entry or tuple of entries]`` and compared here, so that a
victim can be unlinked without running its `__hash__` or `__eq__`, and `hash` is called exactly once an
operation. Bounds: a hit, an insert and a removal touch O(1) entries, plus those with the very same hash.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, ClassVar, TypeVar, overload

from ebbcache.clock import clock
from ebbcache.store.density import LOWEST, densities, density_class
from ebbcache.store.entry import Entry, K, V
from ebbcache.store.heap import LazyHeap, moment

T = TypeVar("T")

TALLY_SAMPLE = 1024
"""Entries that a tally looks at, at most."""


class Store(MutableMapping[K, V]):
    """What all policies share. A subclass says who goes first (`_victim`, `_ranked`) and what a hit moves.

    What a cache is built from starts with an underscore: a cache *is* a store, and its users see a mapping.
    Every such method that needs a key takes its hash too, so that one operation asks for it once.
    """

    __slots__ = (
        "__weakref__",
        "_cost_count",
        "_cost_total",
        "_due",
        "_entries",
        "_gain",
        "_lock",
        "_seed",
        "_serials",
        "_slots",
        "_table",
        "_unordered",
        "_weight",
        "hits",
        "misses",
        "nbytes",
        "timer",
    )

    policy: ClassVar[str]
    """The policy's name."""
    hits: int
    """Lookups that found a live entry."""
    misses: int
    """Lookups that did not."""
    nbytes: int
    """Bytes held: the sum of the entries' sizes."""
    timer: Callable[[], Any]
    """Tells the time for deadlines."""

    _table: dict[int, Any]  # a key's hash -> its Entry, or a tuple of the entries that share the hash
    _entries: dict[int, Entry[K, V]]  # serial -> entry; LRUStore keeps it in order of use
    _slots: list[int]  # serials to sample from, some of them dead
    _due: LazyHeap  # deadlines that are numbers or datetimes
    _unordered: bool  # some deadline is neither: only a walk finds what has expired

    def __init__(self, timer: Callable[[], Any] = time.monotonic) -> None:
        self._lock = threading.RLock()
        self._serials = itertools.count()
        self._seed = 1
        self._gain = 1.0
        self._cost_total = 0.0
        self._cost_count = 0
        self._entries = {}
        self._table = {}
        self._slots = []
        self._due = LazyHeap(self._lock)
        self._unordered = False
        self._weight: int | float = 0
        self.nbytes = 0
        self.hits = 0
        self.misses = 0
        self.timer = timer
        _remember(self)

    # ------------------------------------------------------------------------------------------- lookups
    # `__getitem__` and `get` say the same thing twice, and LRUStore says it again with a move: these are
    # what a cache's speed is made of, and a helper between them would add half to the time of a hit.

    def __getitem__(self, key: K) -> V:
        h = hash(key)
        try:
            entry = self._table[h]
            found = entry.key
        except (KeyError, AttributeError):  # nobody, or a tuple
            entry = self._seek(key, h)
        else:
            if not (found is key or found == key):
                entry = None
            elif entry.deadline is not None:
                entry = self._alive(entry)
        if entry is None:
            self.misses += 1
            return self.__missing__(key)
        entry.hits += self._gain
        entry.stamp = clock.now
        self.hits += 1
        return entry.value  # type: ignore[no-any-return]

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V) -> V: ...
    @overload
    def get(self, key: K, /, default: T) -> V | T: ...
    def get(self, key: K, /, default: Any = None) -> Any:
        """Return the value for `key` (a hit), else `default` (a miss); `__missing__` is not asked. O(1)."""
        h = hash(key)
        try:
            entry = self._table[h]
            found = entry.key
        except (KeyError, AttributeError):
            entry = self._seek(key, h)
        else:
            if not (found is key or found == key):
                entry = None
            elif entry.deadline is not None:
                entry = self._alive(entry)
        if entry is None:
            self.misses += 1
            return default
        entry.hits += self._gain
        entry.stamp = clock.now
        self.hits += 1
        return entry.value

    def __contains__(self, key: object) -> bool:
        bucket = self._table.get(hash(key))
        entry = None if bucket is None else _match(bucket, key)
        return entry is not None and (entry.deadline is None or bool(self.timer() < entry.deadline))

    def __len__(self) -> int:
        if self._due.items or self._unordered:
            self._gone(self._expire(), "expired")
        return len(self._entries)

    def __iter__(self) -> Iterator[K]:
        for entry in self._living():
            yield entry.key

    def __missing__(self, key: K) -> V:
        raise KeyError(key)

    def __setitem__(self, key: K, value: V) -> None:
        raise NotImplementedError

    def __delitem__(self, key: K) -> None:
        raise NotImplementedError

    def _gone(self, victims: list[Entry[K, V]], kind: str) -> None:
        """Hear of entries that a lookup removed because they had expired. Nothing is held meanwhile."""

    def _seek(self, key: object, h: int) -> Entry[K, V] | None:
        """Return the live entry of `key`, whose hash is `h`. No hit is counted."""
        bucket = self._table.get(h)
        entry = None if bucket is None else _match(bucket, key)
        if entry is not None and entry.deadline is not None:
            return self._alive(entry)
        return entry

    def _alive(self, entry: Entry[K, V]) -> Entry[K, V] | None:
        """Return `entry` unless it has expired; then remove it and return None."""
        if self.timer() < entry.deadline:
            return entry
        if self._unlink(entry):
            self._gone([entry], "expired")
        return None

    def _hit(self, entry: Entry[K, V]) -> V:
        """Count a hit on an entry that `_seek` found, and return its value."""
        entry.hits += self._gain
        entry.stamp = clock.now
        self.hits += 1
        return entry.value

    def _snapshot(self) -> list[Entry[K, V]]:
        """Return all entries, expired ones too, in the order that the store keeps. O(n) in C."""
        with self._lock:
            return list(self._entries.values())

    def _living(self) -> Iterator[Entry[K, V]]:
        """Yield what a snapshot holds, leaving out what has expired when its turn comes."""
        for entry in self._snapshot():
            if entry.deadline is None or self.timer() < entry.deadline:
                yield entry

    # ------------------------------------------------------------------------------------------- commits

    def _put(
        self,
        key: K,
        h: int,
        value: V,
        size: int,
        *,
        weight: int | float = 1,
        cost: float | None = None,
        deadline: Any = None,
        absent: bool = False,
        history: tuple[float, float] | None = None,
    ) -> tuple[Entry[K, V], Entry[K, V] | None]:
        """Link an entry for `key`, whose hash is `h`; return it and the one it replaced, or None.

        A replaced entry's hits carry over. With `absent`, a live entry that is there already stays, and is
        returned twice. `history` is (hits, stamp) of an entry that comes from another store. O(1), amortised
        over the clean-up of what died in `_slots` and the heaps.
        """
        entry: Entry[K, V] = Entry()
        entry.key = key
        entry.value = value
        entry.hash = h
        entry.serial = serial = next(self._serials)
        entry.size = size
        entry.weight = weight
        entry.cost = cost
        first, entry.stamp = (self._gain, clock.now) if history is None else history
        entry.deadline = deadline
        slot = (serial,)
        linked = False
        while True:
            bucket = self._table.get(h)
            old: Entry[K, V] | None = None
            fresh: Any = entry
            entry.hits = first
            if bucket is not None:
                old = _match(bucket, key)
                if old is None:
                    fresh = (bucket, entry) if type(bucket) is Entry else (*bucket, entry)
                else:
                    if old.deadline is not None and self._alive(old) is None:
                        continue
                    if absent:
                        return old, old
                    entry.hits = old.hits
                    if bucket is not old:
                        fresh = tuple([entry if other is old else other for other in bucket])
            with self._lock:
                table = self._table
                if (h in table and table[h] is bucket) if bucket is not None else h not in table:
                    # What may run out of memory comes first, and is harmless alone: a slot whose serial is
                    # unknown is a dead one, and an entry that nobody can look up is taken out again.
                    entries = self._entries
                    slots = self._slots
                    slots += slot
                    entries[serial] = entry
                    try:
                        table[h] = fresh
                    except BaseException:
                        del entries[serial]
                        raise
                    if old is None:
                        self.nbytes += size
                        self._weight += weight
                    else:
                        del entries[old.serial]
                        self.nbytes += size - old.size
                        self._weight += weight - old.weight
                    if cost is not None:
                        self._cost_total += cost
                        self._cost_count += 1
                    linked = True
            if linked:
                self._linked(entry)
                return entry, old

    def _unlink(self, entry: Entry[K, V]) -> bool:
        """Remove `entry`; return whether it was still linked. Runs no foreign code. O(1)."""
        h = entry.hash
        while True:
            bucket = self._table.get(h)
            rest: Any = None
            if bucket is not entry:
                if bucket is None or type(bucket) is Entry:
                    return False
                rest = tuple([other for other in bucket if other is not entry])
                if len(rest) == len(bucket):
                    return False
                if len(rest) == 1:
                    rest = rest[0]
            with self._lock:
                table = self._table
                if h in table and table[h] is bucket:
                    if rest is None:
                        del table[h]
                    else:
                        table[h] = rest
                    entries = self._entries
                    del entries[entry.serial]
                    self.nbytes -= entry.size
                    self._weight -= entry.weight
                    return True

    def _take(self, key: object, h: int) -> Entry[K, V] | None:
        """Remove and return the live entry of `key`, whose hash is `h`; None if there is none. O(1)."""
        while True:
            entry = self._seek(key, h)
            if entry is None or self._unlink(entry):
                return entry

    def _resize(self, entry: Entry[K, V], size: int) -> bool:
        """Give `entry` a new size in bytes; return whether it was still linked. O(1)."""
        h = entry.hash
        serial = entry.serial
        with self._lock:
            entries = self._entries
            if serial in entries and entries[serial] is entry:
                self.nbytes += size - entry.size
                entry.size = size
                return True
        return False

    def _drain(self) -> list[Entry[K, V]]:
        """Remove and return everything, in one commit. O(1), and O(n) in C for the list."""
        table: dict[int, Any] = {}
        entries = self._empty()
        slots: list[int] = []
        due = LazyHeap(self._lock)
        with self._lock:
            old = self._entries
            self._table = table
            self._entries = entries
            self._slots = slots
            self._due = due
            self._unordered = False
            self.nbytes = 0
            self._weight = 0
        return list(old.values())

    def _empty(self) -> dict[int, Entry[K, V]]:
        return {}

    def _linked(self, entry: Entry[K, V]) -> None:
        """Enter a new entry in the heaps, and forget the dead where they outnumber the living."""
        if entry.deadline is not None:
            when = moment(entry.deadline)
            if when is None:
                self._unordered = True
            else:
                self._due.push(when, entry.serial)
                if self._due.wants_rebuild(len(self._entries)):
                    self._due.rebuild(self._deadlines)
        if len(self._slots) > 2 * len(self._entries) + 64:
            with self._lock:
                self._slots[:] = self._entries  # one instruction: nothing can be linked halfway through

    def _deadlines(self) -> Iterator[tuple[float, int]]:
        for entry in self._snapshot():
            when = None if entry.deadline is None else moment(entry.deadline)
            if when is not None:
                yield when, entry.serial

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
            for entry in self._snapshot():
                if entry.deadline is not None and not (now < entry.deadline) and self._unlink(entry):
                    expired.append(entry)
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
            if entry is None or self._unlink(entry):
                return entry

    def _evict(self, nbytes: int, leave: int = 0) -> list[Entry[K, V]]:
        """Remove victims in the policy's order until their sizes reach `nbytes`; return them.

        Stops before less than `leave` bytes would stay.
        """
        if nbytes >= self.nbytes and leave <= 0:
            return self._drain()
        victims: list[Entry[K, V]] = []
        freed = 0
        while freed < nbytes:
            entry = self._victim(None)
            if entry is None or self.nbytes - entry.size < leave:
                break
            if self._unlink(entry):
                victims.append(entry)
                freed += entry.size
        self._tighten()
        return victims

    def _tighten(self) -> None:
        """Give back the room that a much larger table once needed. O(1), or O(n) after n removals.

        Each copy is one instruction in C, so that nothing can be linked halfway through it.
        """
        living = len(self._entries)
        if len(self._slots) > 2 * living + 64:
            with self._lock:
                self._slots[:] = self._entries
        if sys.getsizeof(self._table) > 256 * living + 4096:
            with self._lock:
                self._table = {**self._table}
                self._copy_entries()

    def _copy_entries(self) -> None:
        self._entries = {**self._entries}

    def _ranked(self, n: int, hottest: bool) -> list[Entry[K, V]]:
        """Return up to `n` live entries from the cold (or hot) end of the order of eviction."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------- density

    def _mean_cost(self) -> float:
        return self._cost_total / self._cost_count if self._cost_count else 1.0

    def _sample(self, n: int) -> list[Entry[K, V]]:
        """Return `n` entries drawn uniformly, some perhaps twice; all of them where there are no more."""
        if len(self._entries) <= n:
            return self._snapshot()
        # Park and Miller's generator: a few bytes of state a store, and two stores that were treated alike
        # choose alike. Dead slots are at most about half, or few.
        seed = self._seed
        slots = self._slots
        living = self._entries.get
        sample: list[Entry[K, V]] = []
        for _ in range(8 * n):
            seed = seed * 48271 % 0x7FFFFFFF
            try:
                entry = living(slots[seed % len(slots)])
            except (IndexError, ZeroDivisionError):  # cleaned up by another thread in between
                continue
            if entry is not None:
                sample.append(entry)
                if len(sample) == n:
                    break
        self._seed = seed
        return sample

    def _tally(self, now: float) -> dict[int, int]:
        """Return bytes held by density class at `now` on the shared clock.

        Exact up to 1,024 entries; beyond, a uniform sample of that many, scaled up to `nbytes`.
        """
        entries = self._sample(TALLY_SAMPLE)
        tally: dict[int, int] = {}
        moment_now = self.timer() if self._due.items or self._unordered else None
        for entry, density in zip(
            entries, densities(entries, now, self._gain, self._mean_cost()), strict=True
        ):
            expired = (
                moment_now is not None and entry.deadline is not None and not moment_now < entry.deadline
            )
            level = LOWEST if expired else density_class(density)
            tally[level] = tally.get(level, 0) + entry.size
        sampled = sum(tally.values())
        if sampled and len(self._entries) > len(entries):
            nbytes = self.nbytes
            tally = {level: size * nbytes // sampled for level, size in tally.items()}
        return tally

    # ------------------------------------------------------------------------------------------- checking

    def _check(self) -> None:
        """Walk everything and assert every invariant. For tests, while nobody else is at work."""
        buckets = [b if type(b) is tuple else (b,) for b in self._table.values()]
        linked = {entry.serial: entry for bucket in buckets for entry in bucket}
        assert all(len(b) > 1 for b in self._table.values() if type(b) is tuple), "a tuple of one"
        assert linked == dict(self._entries), "table and order disagree"
        assert all(entry.hash == h for h, b in zip(self._table, buckets, strict=True) for entry in b)
        assert all(serial == entry.serial for serial, entry in self._entries.items())
        assert self.nbytes == sum(entry.size for entry in linked.values()), "byte total"
        assert abs(self._weight - sum(entry.weight for entry in linked.values())) < 1e-6, "weight total"
        assert linked.keys() <= set(self._slots), "an entry that no sample can find"
        assert len(self._slots) == len(set(self._slots)) <= 2 * len(linked) + 65 + 64
        numbers = set(self._due.items)
        for entry in linked.values():
            if entry.deadline is not None:
                when = moment(entry.deadline)
                assert self._unordered if when is None else (when, entry.serial) in numbers
        items = self._due.items
        assert all(items[(i - 1) // 2] <= items[i] for i in range(1, len(items))), "heap order"


def _match(bucket: Any, key: object) -> Entry[Any, Any] | None:
    """Return the entry of `key` in a bucket. Runs the keys' ``==``, as a dict would: stored key first."""
    if type(bucket) is Entry:
        found: Entry[Any, Any] = bucket
        return found if found.key is key or found.key == key else None
    for entry in bucket:
        if entry.key is key or entry.key == key:
            return entry  # type: ignore[no-any-return]
    return None


# A fork may come while another thread is inside a critical section; its state is whole (see above), but nobody
# in the child will ever release its lock. Stores have no hash, so they are remembered by id.
_stores: dict[int, weakref.ref[Store[Any, Any]]] = {}


def _remember(store: Store[Any, Any]) -> None:
    ident = id(store)
    _stores[ident] = weakref.ref(store, lambda _: _stores.pop(ident, None))


def _renew_locks() -> None:
    for ref in list(_stores.values()):
        store = ref()
        if store is not None:
            store._lock = store._due.lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_locks)
