"""A store that weighs what it is given, keeps to its limits, and can be shrunk when memory runs short.

This is where the rooms meet: an insert is weighed (sizing), draws on the shared allowance (governor), is
linked (store) and then makes room by the cache's own limits; the engine calls `shrink`. All user code
(sizer, listener, destructors, a subclass's methods) runs between commits, never under a lock, and what it
raises never undoes or half-does an operation. Bound: an insert evicts only what it needs, each victim in
the time of the policy; during the insert the cache may exceed `maxsize` or `maxbytes` by that one entry.
"""

from __future__ import annotations

import itertools
import logging
import math
import operator
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from ebbcache import governor, sizing
from ebbcache._checks import check_callable, check_number, check_ttl, check_type
from ebbcache._correction import Correction
from ebbcache._facts import CacheStats, Cause
from ebbcache._mapping import MappingStore
from ebbcache.clock import clock
from ebbcache.engine import current_pass
from ebbcache.shrinkers import Shrinker, register_shrinker
from ebbcache.sizing import freed_with, register_sizer, weigh
from ebbcache.sizing import sizeof as measured
from ebbcache.store import Entry, trust_leaves
from ebbcache.store.entry import K, V
from ebbcache.store.heap import moment
from ebbcache.units import parse_bytes

logger = logging.getLogger("ebbcache")
allowance = governor.allowance
sizing.watch_leaves(trust_leaves)

REGISTERED = 2700 if sys.version_info >= (3, 14) else 1900
"""Bytes that a registration takes, about: since 3.14 all objects have room for attributes they may get."""


class _Deadlines:
    """A cache with deadlines as the governor keeps it: weakly, and in a set, though caches have no hash."""

    __slots__ = ("__weakref__", "_cache")

    def __init__(self, cache: Cache[Any, Any]) -> None:
        self._cache = weakref.ref(cache)

    def expire(self) -> None:
        cache = self._cache()
        if cache is not None:
            cache.expire()

    def seconds_to_expiry(self) -> float | None:
        cache = self._cache()
        return None if cache is None else cache.seconds_to_expiry()


class Cache(MappingStore[K, V]):
    """What all caches share: limits, weighing, listener, pressure, statistics, copies and pickles.

    `maxsize` is the most entries, or units where `getsizeof(value)` gives some; None: no limit. `maxbytes`
    and `min_bytes` are bytes or text such as ``"64 MiB"``: the most it holds, and what soft pressure leaves
    alone. `sizeof(key, value)` replaces measuring; nothing is added to it. `listener(key, value, cause)`
    hears of every entry that leaves. `name` is for status and logs. With ``register=False`` neither memory
    pressure nor the shared allowance concerns the cache. Raises TypeError or ValueError for arguments that
    make no sense; inserting a value larger than `maxsize` raises ValueError.
    """

    _ttl: Any = None
    _numbers: ClassVar[Any] = itertools.count(1)

    name: str
    """What `status()` and log lines call it."""
    maxsize: int | float | None
    """The most entries (or units, with `getsizeof`) that it holds; None: no limit. Fixed."""
    maxbytes: int | None
    """The most bytes that it holds; None: no limit. Fixed."""
    min_bytes: int
    """The bytes that soft pressure leaves alone. Fixed."""
    registered: bool
    """Whether memory pressure shrinks it, and its inserts draw on the shared allowance. Fixed."""

    def __init__(
        self,
        maxsize: int | float | None = None,
        getsizeof: Callable[[V], int | float] | None = None,
        *,
        maxbytes: int | str | None = None,
        min_bytes: int | str = 0,
        name: str | None = None,
        sizeof: Callable[[K, V], int] | None = None,
        listener: Callable[[K, V, Cause], object] | None = None,
        register: bool = True,
    ) -> None:
        if maxsize is not None:
            check_number(maxsize, "maxsize")
        if name is not None:
            check_type(name, "name", str)
        check_type(register, "register", bool)
        for argument, function in (("getsizeof", getsizeof), ("sizeof", sizeof), ("listener", listener)):
            if function is not None:
                check_callable(function, argument)
        super().__init__()
        self.maxsize = maxsize
        self.maxbytes = None if maxbytes is None else parse_bytes(maxbytes, "maxbytes")
        self.min_bytes = parse_bytes(min_bytes, "min_bytes")
        if self.maxbytes is not None and self.min_bytes > self.maxbytes:
            raise ValueError(f"min_bytes must not exceed maxbytes, got {min_bytes!r} and {maxbytes!r}")
        if getsizeof is not None:
            self.getsizeof = getsizeof  # type: ignore[method-assign,assignment]
        self.listener = listener
        self._sizeof = sizeof
        self._named = name
        self.registered = register
        self._start()

    def _start(self) -> None:
        """Do what a new cache does once its settings are in place, be it made, copied or unpickled."""
        self.name = self._named or f"{type(self).__name__}-{next(Cache._numbers)}"
        self._weighs = "getsizeof" in vars(self) or type(self).getsizeof is not Cache.getsizeof
        self._counts = self._counters()
        self._correction = Correction()
        self._told: set[str] = set()
        self._deadlines: _Deadlines | None = None
        self._handle: Shrinker | None = None
        simple = not self._weighs and self._sizeof is None and not self._own_popitem
        drawn = allowance if self.registered else None
        spent = self.overhead if self._ttl is None else self.overhead + self.dated
        limits = self.maxsize, self.maxbytes, self._ttl
        self._plain(simple, spent, *limits, measured, weigh, drawn, self._counts)
        if self.registered:
            self._handle = register_shrinker(self.name, self.shrink, size=self._held, tally=self.tally)

    @staticmethod
    def getsizeof(value: Any) -> int | float:
        """Return how much of `maxsize` `value` takes: 1, unless the constructor or a subclass replaced
        this."""
        return 1

    @property
    def currsize(self) -> int | float:
        """The entries it holds, or their units where it has a `getsizeof`; the expired do not count."""
        self._gone(self._expire(), "expired")
        return self._weight

    # ------------------------------------------------------------------------------------------- inserting

    def set(self, key: K, value: V, ttl: Any = None, cost: float | None = None) -> None:
        """Insert `value` for `key`, as ``cache[key] = value`` does, and say more about it.

        `ttl` is how long it may live, in the timer's units (seconds); None: the cache's own ttl, if it has
        one. `cost` is how many seconds making the value took, which density weighs against bytes.
        Raises TypeError or ValueError if these make no sense, or if `getsizeof` says more than `maxsize`.

        >>> from ebbcache.caches import LRUCache
        >>> cache = LRUCache()
        >>> cache.set("answer", 42, ttl=3600, cost=0.25)
        >>> cache["answer"]
        42
        """
        if cost is not None:
            check_number(cost, "cost")
            cost = float(cost)
            if cost == float("inf"):
                raise ValueError("cost must be finite, got inf")
        if ttl is not None:
            check_ttl(ttl)
        self._insert(key, hash(key), value, ttl, cost)

    def _insert(self, key: K, h: int, value: V, ttl: Any, cost: float | None, absent: bool = False) -> V:
        weight: int | float = 1
        maxsize = self.maxsize
        if self._weighs:
            weight = self.getsizeof(value)
            if type(weight) is not int and type(weight) is not float:
                weight = float(weight)  # so that adding it up runs nobody's code
            if not weight >= 0:
                raise ValueError(f"value size must not be negative, getsizeof() said {weight!r}")
        if maxsize is not None and weight > maxsize:
            raise ValueError("value too large")
        clock.tick()
        if ttl is None:
            ttl = self._ttl
        deadline = None if ttl is None else self.timer() + ttl
        if self._sizeof is None:
            size = measured(key) + (measured(value) if cost is None else weigh(value, cost))
            size += self.overhead if deadline is None else self.overhead + self.dated
        else:
            size = self._measure(key, value, deadline)
        maxbytes = self.maxbytes
        if maxbytes is not None and size > maxbytes:
            return self._refuse(key, h, value, "maxbytes", absent)
        if self.registered:
            allowance.left = left = allowance.left - size
            if left < 0 and not governor.spent(size):
                return self._refuse(key, h, value, "memory", absent)
        if maxsize is not None and self._own_popitem:
            self._popitems(maxsize, key, h, weight)
        entry, old = self._put(
            key, h, value, size, weight=weight, cost=cost, deadline=deadline, absent=absent
        )
        if absent and old is not None:
            return self._hit(old)
        self._counts.inserts += 1
        if maxsize is not None and self._weight > maxsize:
            self._make_room("maxsize", entry)
        if maxbytes is not None and self.nbytes > maxbytes:
            self._make_room("maxbytes", entry)
        if old is not None:
            self._gone([old], "replaced", "user")
        if deadline is not None and self._deadlines is None:
            self._watch()
        return value

    def _refuse(self, key: K, h: int, value: V, by: str, absent: bool) -> V:
        """Do not keep `value`; what the key had before is out of date, and goes."""
        old = self._seek(key, h) if absent else self._take(key, h)
        if absent and old is not None:
            return self._hit(old)
        self._counts.refused += 1
        if old is not None:
            self._gone([old], "replaced", "user")
        if self.listener is not None:
            self._tell(key, value, Cause("refused", by))
        return value

    def _make_room(self, by: Literal["maxsize", "maxbytes"], keep: Entry[K, V]) -> None:
        """Evict until the limit is kept: the expired first, the new entry never."""
        self._gone(self._expire(), "expired")
        victims: list[Entry[K, V]] = []
        while (
            self.maxsize is not None and self._weight > self.maxsize
            if by == "maxsize"
            else self.maxbytes is not None and self.nbytes > self.maxbytes
        ):
            victim = self._evict_one(keep)
            if victim is None:
                break
            victims.append(victim)
        self._gone(victims, "evicted", by)

    def _popitems(self, maxsize: int | float, key: K, h: int, weight: int | float) -> None:
        """Make room through a subclass's own `popitem`, as cachetools does, as long as that helps."""
        while True:
            self._gone(self._expire(), "expired")
            old = self._seek(key, h)
            before = self._weight
            if before + weight - (0 if old is None else old.weight) <= maxsize:
                return
            self.popitem()
            if self._weight >= before:
                return

    # ------------------------------------------------------------------------------------------- weighing

    def _measure(self, key: K, value: V, deadline: object) -> int:
        sizer = self._sizeof
        spent = self.overhead if deadline is None else self.overhead + self.dated
        if sizer is None:
            return measured(key) + measured(value) + spent
        try:
            size = operator.index(sizer(key, value))
            if size >= 0:
                return size
            problem = f"answered {size}"
        except Exception as error:
            problem = f"failed: {_described(error)}"
        self._log_once("sizeof", "sizeof() of %s %s; shallow sizes are used", self.name, problem)
        return _shallow(key) + _shallow(value) + spent

    def resize(self, key: K) -> int:
        """Measure the value of `key` again, after it was changed in place, and return the entry's bytes.

        KeyError if the key is not there. What grew beyond `maxbytes` makes room like an insert.
        """
        entry = self._seek(key, hash(key))
        if entry is None:
            raise KeyError(key)
        size = self._measure(entry.key, entry.value, entry.deadline)
        before = entry.size
        if self._resize(entry, size):
            if self.registered:
                allowance.left -= size - before
            if self.maxbytes is not None and self.nbytes > self.maxbytes:
                self._make_room("maxbytes", entry)
        return size

    # ------------------------------------------------------------------------------------------- leaving

    def shrink(self, target: int, hard: bool = False) -> int:
        """Free about `target` bytes, the expired first and then as the policy says; return the bytes freed.

        They are bytes counted times the `correction` in `stats()`. Frees at most one entry too much. Soft
        shrinking leaves `min_bytes` alone; hard shrinking does not. The engine calls this when memory runs
        short; anybody else may, too.
        """
        check_type(target, "target", int)
        check_number(target, "target")
        correction = self._correction
        victims = self._expire()
        believed = sum([entry.size for entry in victims])
        self._gone(victims, "expired")
        self._drop(victims)
        missing = math.ceil(target / correction.factor) - believed
        if missing > 0:
            victims = self._evict(missing, leave=0 if hard else self.min_bytes)
            believed += sum([entry.size for entry in victims])
            self._gone(victims, "evicted", _whose())
            self._drop(victims)
        return round(believed * correction.factor)

    def _drop(self, victims: list[Entry[K, V]]) -> None:
        """Let go of what was unlinked, and learn from it what sizes are worth, unless they are a user's."""
        if self._sizeof is None:
            self._correction.drop(victims, self._weight_now)

    def _weight_now(self, entry: Entry[K, V]) -> int:
        spent = self.overhead if entry.deadline is None else self.overhead + self.dated
        return freed_with(entry.key) + freed_with(entry.value) + spent

    def expire(self, time: Any = None) -> list[tuple[K, V]]:
        """Remove what has expired at `time` (None: now) and return its ``(key, value)`` pairs.

        Nobody needs to call this: the expired are never returned, and are freed in the background.
        O(log n) for each that has expired.
        """
        expired = self._expire(time)
        self._gone(expired, "expired")
        return [(entry.key, entry.value) for entry in expired]

    def seconds_to_expiry(self) -> float | None:
        """Return the seconds until the first deadline, 0 or less if it is past; None if there is none.

        Where the timer counts something else than seconds, so does the answer.
        """
        first = self._next_deadline()
        if first is not None:
            now = moment(self.timer())
            return 1.0 if now is None else first - now
        if self._unordered:
            now = self.timer()
            late = any(e.deadline is not None and not now < e.deadline for e in self._snapshot())
            return 0.0 if late else 1.0
        return None

    def _watch(self) -> None:
        self._deadlines = deadlines = _Deadlines(self)
        governor.watch_expiry(deadlines)

    def _gone(self, victims: list[Entry[K, V]], kind: str, by: str = "ttl") -> None:
        if not victims:
            return
        if kind == "evicted":
            self._counts.evictions += len(victims)
        elif kind == "expired":
            self._counts.expirations += len(victims)
        if self.listener is not None:
            cause = Cause(kind, by)  # type: ignore[arg-type]
            for entry in victims:
                self._tell(entry.key, entry.value, cause)

    def _tell(self, key: K, value: V, cause: Cause) -> None:
        listener = self.listener
        if listener is None:
            return
        try:
            listener(key, value, cause)
        except Exception as error:
            self._counts.listener_errors += 1
            self._log_once(
                f"listener {cause.kind} {type(error).__qualname__}",
                "the listener of %s failed on an entry that was %s: %s",
                self.name,
                cause.kind,
                _described(error),
            )

    def _log_once(self, about: str, message: str, *details: object) -> None:
        if about not in self._told and len(self._told) < 32:
            self._told.add(about)
            try:
                logger.warning(message + " (said once)", *details)
            except Exception:  # a logging filter is user code as well
                pass

    # ------------------------------------------------------------------------------------------- looking

    def stats(self) -> CacheStats:
        """Return the cache's size and counters, as of now. O(1), after dropping what has expired."""
        entries = len(self)
        counts = self._counts
        return CacheStats(
            name=self.name,
            policy=self.policy,
            entries=entries,
            nbytes=self.nbytes,
            hits=self.hits,
            misses=self.misses,
            inserts=counts.inserts,
            evictions=counts.evictions,
            expirations=counts.expirations,
            refused=counts.refused,
            listener_errors=counts.listener_errors,
            correction=self._correction.factor,
        )

    def tally(self, hard: bool = False) -> Mapping[int, int]:
        """Return the bytes held by density class (a binary exponent); soft: less the densest
        `min_bytes`."""
        factor = self._correction.factor
        tally = self._tally(clock.tick())
        if factor != 1.0:
            tally = {level: round(nbytes * factor) for level, nbytes in tally.items()}
        if not hard and self.min_bytes:
            floor = self.min_bytes
            for level in sorted(tally, reverse=True):
                kept = min(floor, tally[level])
                tally[level] -= kept
                floor -= kept
        return tally

    def _held(self) -> int:
        return round(self.nbytes * self._correction.factor)

    def _filled(self) -> None:
        # Its entries were weighed where they come from; whether there is memory for them is asked next
        # time.
        if self.registered:
            allowance.left -= self.nbytes
        if self._next_deadline() is not None or self._unordered:
            self._watch()


@register_sizer(Cache)
def _weight_of(cache: Cache[Any, Any]) -> int:
    """Say what a cache weighs as another's value; the entries of a registered one are counted already."""
    return cache.empty + (REGISTERED if cache.registered else cache.nbytes)


def _whose() -> str:
    """Name whoever makes this thread shrink caches."""
    running = current_pass()
    if running is None:
        return "user"
    if running.why == "pressure":
        return "hard pressure" if running.hard else "soft pressure"
    return running.why


def _shallow(obj: object) -> int:
    try:
        return sys.getsizeof(obj)
    except Exception:
        return object.__sizeof__(obj)


def _described(error: Exception) -> str:
    try:
        return f"{type(error).__qualname__}: {error}"
    except Exception:
        return type(error).__qualname__
