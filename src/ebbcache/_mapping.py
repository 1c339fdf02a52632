"""A store as a mapping: everything a dict does, in terms of a store's lookups and commits.

The store itself comes in beside it: a cache class names its policy's store as the second base, so caches on
either implementation can live in one process.

Each operation asks for a key's hash once, and hands what it removed to `_gone` when the store is consistent
again. Where a subclass brings its own ``__getitem__`` or ``__setitem__``, the methods built on them honour
it, as cachetools' do. Bounds are the store's: O(1) for what concerns one key, O(n) for iteration and
copies.
"""

from __future__ import annotations

import reprlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from ebbcache._views import CacheItems, CacheKeys, CacheValues
from ebbcache.clock import clock
from ebbcache.store.entry import K, V

if TYPE_CHECKING:
    from ebbcache.store import Entry
    from ebbcache.store import Store as _Base
else:
    from collections.abc import MutableMapping as _Base

T = TypeVar("T")

_MISSING: Any = object()
VOLATILE = frozenset({"name", "_weighs", "_counts", "_told", "_deadlines", "_handle"})
"""A cache's attributes that a copy makes anew; all others, a subclass's too, are settings."""


class MappingStore(_Base[K, V]):
    """The dict-like surface; a subclass says how to insert, copy and report."""

    _own_getitem = False
    _own_setitem = False
    _own_popitem = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._own_getitem = _foreign(cls, "__getitem__")
        cls._own_setitem = _foreign(cls, "__setitem__")
        cls._own_popitem = _foreign(cls, "popitem")
        if cls._own_getitem and not _foreign(cls, "get"):
            cls.get = _get_by_item  # type: ignore[method-assign,assignment]

    @abstractmethod
    def _insert(self, key: K, h: int, value: V, ttl: Any, cost: float | None, absent: bool = False) -> V:
        """Weigh and link a value; return the value that counts, which `absent` may leave another's."""

    @abstractmethod
    def _gone(self, victims: list[Entry[K, V]], kind: str, by: str = "ttl") -> None:
        """Count and report removed entries."""

    @abstractmethod
    def _start(self) -> None:
        """Do what a new cache does once its settings are in place, be it made, copied or unpickled."""

    @abstractmethod
    def _filled(self) -> None:
        """Take note of entries that a copy was given."""

    @overload
    def pop(self, key: K, /) -> V: ...
    @overload
    def pop(self, key: K, /, default: V) -> V: ...
    @overload
    def pop(self, key: K, /, default: T) -> V | T: ...
    def pop(self, key: K, /, default: Any = _MISSING) -> Any:
        """Remove `key` and return its value; else `default`, or KeyError where that is not given. O(1)."""
        h = hash(key)
        if self._own_getitem and self._seek(key, h) is not None:
            value = self[key]
            del self[key]
            return value
        entry = self._take(key, h)
        if entry is None:
            if default is _MISSING:
                raise KeyError(key)
            return default
        self._gone([entry], "deleted", "user")
        return entry.value

    def popitem(self) -> tuple[K, V]:
        """Remove and return the ``(key, value)`` that the policy would give up next; KeyError if empty."""
        self._gone(self._expire(), "expired")
        entry = self._evict_one()
        if entry is None:
            raise KeyError(f"{type(self).__name__} is empty")
        self._gone([entry], "evicted", "user")
        return entry.key, entry.value

    @overload
    def setdefault(self: MappingStore[K, T | None], key: K, default: None = None, /) -> T | None: ...
    @overload
    def setdefault(self, key: K, default: V, /) -> V: ...
    def setdefault(self, key: K, default: Any = None, /) -> Any:
        """Return the value for `key`; if there is none, insert `default` and return that. Atomic. O(1)."""
        if self._own_getitem or self._own_setitem:
            if key in self:
                return self[key]
            self[key] = default
            return default
        h = hash(key)
        entry = self._seek(key, h)
        if entry is not None:
            return self._hit(entry)
        self.misses += 1
        return self._insert(key, h, default, None, None, absent=True)

    def clear(self) -> None:
        """Remove everything; the listener hears of each entry. O(1) for the store, O(n) to drop values."""
        self._gone(self._drain(), "cleared", "user")

    def update(self, other: Any = (), /, **kwargs: Any) -> None:
        """Insert all items of a mapping or an iterable of pairs, then the keyword arguments, one by one."""
        snapshot: Any = other
        if isinstance(other, MappingStore):
            other = list(snapshot.items())  # what pressure takes meanwhile is no KeyError
        super().update(other, **kwargs)

    @classmethod
    def fromkeys(cls, iterable: Iterable[Any], value: Any = None) -> Self:
        """Return a new cache, made without arguments, with `value` for each key of `iterable`."""
        cache = cls()
        for key in iterable:
            cache[key] = value
        return cache

    def keys(self) -> CacheKeys[K]:
        """Return a view of the keys; iterating over it takes a snapshot."""
        return CacheKeys(self)

    def values(self) -> CacheValues[V]:
        """Return a view of the values; iterating over it takes a snapshot and counts no hits."""
        return CacheValues(self)

    def items(self) -> CacheItems[K, V]:
        """Return a view of the pairs; iterating over it takes a snapshot and counts no hits."""
        return CacheItems(self)

    def coldest(self, n: int = 1) -> list[tuple[K, V]]:
        """Return the `n` pairs that the policy would give up next, first one first. No hits are counted.

        O(n) for LRU and TTL caches, O(entries * log n) for the others.
        """
        return [(entry.key, entry.value) for entry in self._ranked(_count(n), hottest=False)]

    def hottest(self, n: int = 1) -> list[tuple[K, V]]:
        """Return the `n` pairs that the policy would keep longest, last victim first. As `coldest`."""
        return [(entry.key, entry.value) for entry in self._ranked(_count(n), hottest=True)]

    # ------------------------------------------------------------------------------------------- copies

    def copy(self) -> Self:
        """Return a new cache with the same settings, entries and order; its counters start at 0. O(n)."""
        twin = self._twin()
        twin._fill(self._rows())
        return twin

    __copy__ = copy

    def __getstate__(self) -> dict[str, Any]:
        """Return settings and live entries, in order; ages and remaining times instead of instants."""
        now, instant = clock.tick(), self.timer()
        return {
            "settings": self._settings(),
            "timer": self.timer,
            "entries": [
                (*row[:3], now - stamp, None if deadline is None else deadline - instant, *row[5:])
                for row in self._rows()
                for stamp, deadline in [row[3:5]]
            ],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._resume(state["timer"], state["settings"])
        now, instant = clock.tick(), self.timer()
        self._fill(
            (*row[:3], now - age, None if left is None else instant + left, *row[5:])
            for row in state["entries"]
            for age, left in [row[3:5]]
        )

    def _settings(self) -> dict[str, Any]:
        settings = {name: setting for name, setting in vars(self).items() if name not in VOLATILE}
        return {**settings, "listener": self.listener}

    def _twin(self) -> Self:
        """Return a new, empty cache of the same kind and settings."""
        cls = type(self)
        twin = cls.__new__(cls)
        twin._resume(self.timer, self._settings())
        return twin

    def _resume(self, timer: Callable[[], Any], settings: Mapping[str, Any]) -> None:
        super().__init__(timer)
        settings = {**settings}
        self.listener = settings.pop("listener", None)
        vars(self).update(settings)
        self._start()

    def _rows(self) -> list[tuple[Any, ...]]:
        return [
            (e.key, e.value, e.hits / self._gain, e.stamp, e.deadline, e.size, e.weight, e.cost)
            for e in self._living()
        ]

    def _fill(self, rows: Iterable[tuple[Any, ...]]) -> None:
        for key, value, hits, stamp, deadline, size, weight, cost in rows:
            history = (hits, stamp)
            self._put(
                key, hash(key), value, size, weight=weight, cost=cost, deadline=deadline, history=history
            )
        self._filled()

    def __or__(self, other: Any) -> Self:
        if not isinstance(other, Mapping):
            return NotImplemented
        result = self.copy()
        result.update(other)
        return result

    def __ror__(self, other: Any) -> Self:
        if not isinstance(other, Mapping):
            return NotImplemented
        result = self._twin()
        result.update(other)
        result.update(self)
        return result

    def __ior__(self, other: Any) -> Self:
        self.update(other)
        return self

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self.items())!r})"


def _foreign(cls: type, name: str) -> bool:
    """Say whether `cls` gets its method `name` from a class that is not part of ebbcache."""
    definer = next(base for base in cls.__mro__ if name in vars(base))
    return definer.__module__.split(".")[0] not in ("ebbcache", "collections", "typing")


def _get_by_item(self: MappingStore[Any, Any], key: Any, default: Any = None) -> Any:
    """Return ``self[key]`` if the key is there, else `default`."""
    return self[key] if key in self else default  # noqa: SIM401 - `get` is what this is


def _count(n: object) -> int:
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"n must be an int, not {n!r}")
    if n < 0:
        raise ValueError(f"n must not be negative, got {n!r}")
    return n
