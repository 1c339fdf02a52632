"""One cache's entries: a hash table, an order of eviction and a byte total that always agree.

The design is one rule: user code first, then a commit. Whatever may run foreign code (`hash`, `==`, a
timer) runs with nothing held and nothing changed. Then a *commit* under the store's lock tests that the
bucket is still the one that was looked at, and if so changes table, order and totals in straight-line
bytecode: stores and deletes by subscript or attribute whose keys are exact ints, no call, no loop, no
allocation that the garbage collector would see. CPython (3.11 and later) switches threads, runs signal
handlers and finalisers only at calls and backward jumps, or when it allocates, so nobody can see or
re-enter a half-made change, and nobody's code ever runs under the lock; where there is no GIL, the lock is
what keeps others out (`guarded` has more). A commit that fails its test changed nothing; it starts over.

Removed entries are handed to the caller, who drops them when all is consistent and nothing is held.

Keys are looked up by their hash in ``dict[int, entry or tuple of entries]`` and compared here, so that a
victim can be unlinked without running its `__hash__` or `__eq__`, and `hash` is called exactly once an
operation. Bounds: a hit, an insert and a removal touch O(1) entries, plus those with the very same hash.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, ClassVar, TypeVar, overload

from ebbcache.clock import clock
from ebbcache.gil import taking
from ebbcache.store.entry import Entry, K, V, match
from ebbcache.store.forked import remember
from ebbcache.store.heap import LazyHeap, moment
from ebbcache.store.numbers import Counts

T = TypeVar("T")


class Table(MutableMapping[K, V]):
    """Entries by key, with byte and weight totals: lookups and commits.

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
        "_hits",
        "_lock",
        "_seed",
        "_serials",
        "_slots",
        "_table",
        "_unordered",
        "_version",
        "_weight",
        "listener",
        "misses",
        "nbytes",
        "timer",
    )

    policy: ClassVar[str]
    """The policy's name."""
    overhead: ClassVar[int]
    """Bytes spent on an entry beside its key and value (and deadline), on the mean."""
    empty: ClassVar[int] = 1900
    """Bytes of a cache without entries, about."""
    dated: ClassVar[int] = 105
    """Bytes spent on a deadline."""
    _counters: ClassVar[type[Counts]] = Counts
    _heap: ClassVar[type[LazyHeap]] = LazyHeap
    misses: int
    """Lookups that did not."""
    nbytes: int
    """Bytes held: the sum of the entries' sizes."""
    timer: Callable[[], Any]
    """Tells the time for deadlines."""
    listener: Any
    """Called with key, value and cause after an entry has left, or None."""

    _table: dict[int, Any]  # a key's hash -> its Entry, or a tuple of the entries that share the hash
    _entries: dict[int, Entry[K, V]]  # serial -> entry; LRUStore keeps it in order of use
    _slots: list[int]  # serials to sample from, some of them dead
    _hits: int
    _due: LazyHeap  # deadlines that are numbers or datetimes
    _version: int  # counts commits
    _keeps_place = True  # a new value for a key takes over the old one's serial
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
        self._due = self._heap()
        self._unordered = False
        self._version = 0
        self._weight: int | float = 0
        self.nbytes = 0
        self._hits = 0
        self.misses = 0
        self.listener = None
        self.timer = timer
        remember(self)

    @property
    def hits(self) -> int:
        """Lookups that found a live entry."""
        return self._hits

    @hits.setter
    def hits(self, count: int) -> None:
        self._hits = count

    # ------------------------------------------------------------------------------------------- lookups
    # `__getitem__` and `get` say the same thing twice, and LRUStore says it again with a move: these are
    # what a cache's speed is made of, and a helper between them would add half to the time of a hit.

    def __getitem__(self, key: K) -> V:
        h = hash(key)
        entry = self._table.get(h)
        if entry is not None:
            try:
                found = entry.key
            except AttributeError:  # a tuple of entries
                entry = self._seek(key, h)
            else:
                if not (found is key or found == key):
                    entry = None
                elif entry.deadline is not None and not (self.timer() < entry.deadline):
                    entry = self._alive(entry)
        if entry is None:
            self.misses += 1
            return self.__missing__(key)
        entry.hits += self._gain
        entry.stamp = clock.now
        self._hits += 1
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
        entry.hits += self._gain
        entry.stamp = clock.now
        self._hits += 1
        return entry.value

    def __contains__(self, key: object) -> bool:
        bucket = self._table.get(hash(key))
        entry = None if bucket is None else match(bucket, key)
        return entry is not None and (entry.deadline is None or bool(self.timer() < entry.deadline))

    def __iter__(self) -> Iterator[K]:
        for entry in self._living():
            yield entry.key

    def __missing__(self, key: K) -> V:
        raise KeyError(key)

    def __len__(self) -> int:
        return len(self._entries)

    def __setitem__(self, key: K, value: V) -> None:
        self._insert(key, hash(key), value, None, None)

    def __delitem__(self, key: K) -> None:
        entry = self._take(key, hash(key))
        if entry is None:
            raise KeyError(key)
        self._gone([entry], "deleted", "user")

    def _insert(self, key: K, h: int, value: V, ttl: Any, cost: float | None, absent: bool = False) -> V:
        raise NotImplementedError

    def _gone(self, victims: list[Entry[K, V]], kind: str, by: str = "ttl") -> None:
        """Hear of entries that were removed. Nothing is held meanwhile."""

    def _seek(self, key: object, h: int) -> Entry[K, V] | None:
        """Return the live entry of `key`, whose hash is `h`. No hit is counted."""
        bucket = self._table.get(h)
        entry = None if bucket is None else match(bucket, key)
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
        self._hits += 1
        return entry.value

    def _snapshot(self) -> list[Entry[K, V]]:
        """Return all entries, expired ones too, in the order that the store keeps. O(n) in C."""
        while True:
            try:
                return list(self._entries.values())
            except RuntimeError:  # changed while it was copied, which no build with a GIL allows
                continue

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

        A replaced entry's hits carry over, and, but in the order of use and with deadlines, its place.
        With `absent`, a live entry that is there already stays, and is returned twice. `history` is
        (hits, stamp) of an entry that comes from another store. O(1), amortised over the clean-up of what
        died in `_slots` and the heaps.
        """
        entry: Entry[K, V] = Entry()
        entry.key = key
        entry.value = value
        entry.hash = h
        fresh_serial = next(self._serials)
        entry.size = size
        entry.weight = weight
        entry.cost = cost
        first: float | None = None
        if history is None:
            entry.stamp = clock.now
        else:
            first, entry.stamp = history
        entry.deadline = deadline
        linked = False
        while True:
            bucket = self._table.get(h)
            old: Entry[K, V] | None = None
            fresh: Any = entry
            entry.serial = serial = fresh_serial
            slot: tuple[int, ...] = (serial,)
            if bucket is not None:
                old = match(bucket, key)
                if old is None:
                    fresh = (bucket, entry) if type(bucket) is Entry else (*bucket, entry)
                else:
                    if old.deadline is not None and self._alive(old) is None:
                        continue
                    if absent:
                        return old, old
                    entry.hits = old.hits
                    if self._keeps_place and old.deadline is None and deadline is None:
                        entry.serial = serial = old.serial
                        slot = ()
                    if bucket is not old:
                        fresh = tuple([entry if other is old else other for other in bucket])
            if old is None:
                entry.hits = self._welcome(h) if first is None else first
            try:
                for _ in taking(self._lock):
                    try:
                        table = self._table
                        if (h in table and table[h] is bucket) if bucket is not None else h not in table:
                            # What may run out of memory comes first, and is harmless alone: a slot whose
                            # serial is unknown is a dead one, and an entry that nobody can look up is taken
                            # out again.
                            entries = self._entries
                            slots = self._slots
                            slots += slot
                            entries[serial] = entry
                            try:
                                table[h] = fresh
                            except BaseException:
                                if slot:
                                    del entries[serial]
                                else:
                                    entries[serial] = old  # type: ignore[assignment]
                                raise
                            if old is None:
                                self.nbytes += size
                                self._weight += weight
                            else:
                                if slot:
                                    del entries[old.serial]
                                self.nbytes += size - old.size
                                self._weight += weight - old.weight
                            if cost is not None:
                                self._cost_total += cost
                                self._cost_count += 1
                            self._version += 1
                            linked = True
                    finally:
                        self._lock.release()
                    break
                if linked:
                    self._announce(entry, bool(slot))
            except BaseException:
                # An interrupt may come right here; without an item in the heaps an entry would be
                # forgotten. An item too many does no harm.
                if linked:
                    self._announce(entry, bool(slot))
                raise
            if linked:
                if 2 * len(self._slots) > 3 * len(self._entries) + 128:
                    self._tidy()
                return entry, old

    def _welcome(self, h: int) -> float:
        """Return the hits that a new entry begins with, whose key has the hash `h`."""
        return self._gain

    def _announce(self, entry: Entry[K, V], placed: bool) -> None:
        """Enter a linked entry in the heaps, unless it has taken over another's place there."""
        if entry.deadline is not None:
            when = moment(entry.deadline)
            if when is None:
                self._unordered = True
            else:
                self._due.push(when, entry.serial)

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
            for _ in taking(self._lock):
                try:
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
                        self._version += 1
                        return True
                finally:
                    self._lock.release()
                break

    def _take(self, key: object, h: int) -> Entry[K, V] | None:
        """Remove and return the live entry of `key`, whose hash is `h`; None if there is none. O(1)."""
        while True:
            entry = self._seek(key, h)
            if entry is None or self._unlink(entry):
                return entry

    def _resize(self, entry: Entry[K, V], size: int) -> bool:
        """Give `entry` a new size in bytes; return whether it was still linked. O(1)."""
        serial = entry.serial
        for _ in taking(self._lock):
            try:
                entries = self._entries
                if serial in entries and entries[serial] is entry:
                    self.nbytes += size - entry.size
                    entry.size = size
                    return True
            finally:
                self._lock.release()
            break
        return False

    def _drain(self) -> list[Entry[K, V]]:
        """Remove and return everything, in one commit. O(1), and O(n) in C for the list."""
        table: dict[int, Any] = {}
        entries = self._empty()
        slots: list[int] = []
        due = self._heap()
        old: dict[int, Entry[K, V]] = {}
        for _ in taking(self._lock):
            try:
                self._version += 1
                old = self._entries
                self._table = table
                self._entries = entries
                self._slots = slots
                self._due = due
                self._unordered = False
                self.nbytes = 0
                self._weight = 0
            finally:
                self._lock.release()
            break
        return list(old.values())

    def _empty(self) -> dict[int, Entry[K, V]]:
        return {}

    def _locks(self) -> list[Any]:
        """Return all locks that a change may hold."""
        return [self._lock]

    def _renew_locks(self) -> None:
        """Forget locks that a thread of the parent process may hold."""
        self._lock = threading.RLock()

    def _tidy(self) -> None:
        """Forget the dead. O(n), after n removals. Where others are at work meanwhile, the next one does
        it."""
        version = self._version
        slots = [entry.serial for entry in self._snapshot()]
        for _ in taking(self._lock):
            try:
                if self._version == version:
                    self._slots = slots
            finally:
                self._lock.release()
            break
        if self._due.items:
            self._due.rebuild(self._moments)

    def _moments(self) -> Iterator[tuple[float, int]]:
        for entry in self._snapshot():
            when = None if entry.deadline is None else moment(entry.deadline)
            if when is not None:
                yield when, entry.serial
