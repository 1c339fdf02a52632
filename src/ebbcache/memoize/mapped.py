"""`cached` over a mapping the caller brings: what `cachetools.cached` does, for those who come from there.

The mapping decides what stays; here is only the order of look-up, call and store. A `lock` is held for the
look-up and for the store, never during the call; a `condition` makes a second caller of the same key wait
for the first. A mapping that refuses a value (ValueError: too large) does not fail the call.

Bound: one look-up for a hit; for a miss one call and one store more.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ebbcache.memoize.options import full_name
from ebbcache.memoize.protocols import CacheInfo
from ebbcache.memoize.singleflight import Flights
from ebbcache.memoize.wrapping import looking_like


class Condition(AbstractContextManager[Any], Protocol):
    """What `threading.Condition` offers, as far as it is needed here."""

    def wait(self, timeout: float | None = None) -> bool:
        """Give the lock up until notified."""
        ...

    def notify_all(self) -> None:
        """Wake everyone who waits."""
        ...


class _Counted:
    """A mapping's look-ups by one decorated function, with its hits and misses."""

    def __init__(self, mapping: MutableMapping[Any, Any]) -> None:
        self.mapping = mapping
        self.hits = 0
        self.misses = 0

    def find(self, key: object) -> tuple[Any] | None:
        """Answer the value in a tuple of one, or None."""
        try:
            value = self.mapping[key]
        except KeyError:
            self.misses += 1
            return None
        self.hits += 1
        return (value,)

    def keep(self, key: object, value: object) -> None:
        """Store the value unless it is too large for the mapping."""
        try:
            self.mapping[key] = value
        except ValueError:
            pass

    def settle(self, key: object, value: object) -> Any:
        """Store the value unless another thread did meanwhile; answer the one that is stored."""
        try:
            return self.mapping.setdefault(key, value)
        except ValueError:
            return value

    def clear(self) -> None:
        self.mapping.clear()
        self.hits = self.misses = 0

    def info(self) -> CacheInfo:
        # Dicts have no bound; whatever calls itself bounded is believed.
        maxsize = getattr(self.mapping, "maxsize", None)
        currsize = getattr(self.mapping, "currsize", None)
        return CacheInfo(
            self.hits, self.misses, maxsize, len(self.mapping) if currsize is None else currsize
        )


def cached_in(
    mapping: MutableMapping[Any, Any],
    key: Callable[..., Any],
    lock: AbstractContextManager[Any] | None,
    condition: Condition | None,
    info: bool,
) -> Callable[[Callable[..., Any]], Any]:
    """Answer a decorator that keeps results in *mapping*."""

    def decorate(func: Callable[..., Any]) -> Any:
        counted = _Counted(mapping)
        guard = lock if lock is not None else condition
        if inspect.iscoroutinefunction(func):
            if guard is not None:
                raise TypeError(
                    f"cached: lock= and condition= are for threads, but {full_name(func)} is a coroutine "
                    "function, whose callers share one call without them"
                )
            wrapper = _shared(func, counted, key)
        elif condition is not None and guard is not None:
            wrapper = _one_at_a_time(func, counted, key, guard, condition)
        elif guard is not None:
            wrapper = _locked(func, counted, key, guard)
        else:
            wrapper = _plain(func, counted, key)

        def cache_clear() -> None:
            if guard is None:
                counted.clear()
            else:
                with guard:
                    counted.clear()

        def cache_info() -> CacheInfo:
            if guard is None:
                return counted.info()
            with guard:
                return counted.info()

        made = looking_like(wrapper, func)
        made.cache = mapping
        made.cache_key = key
        made.cache_lock = guard
        made.cache_condition = condition
        made.cache_clear = cache_clear
        if info:
            made.cache_info = cache_info
        return made

    return decorate


def _plain(func: Callable[..., Any], counted: _Counted, key: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        k = key(*args, **kwargs)
        found = counted.find(k)
        if found is not None:
            return found[0]
        value = func(*args, **kwargs)
        counted.keep(k, value)
        return value

    return wrapper


def _locked(
    func: Callable[..., Any], counted: _Counted, key: Callable[..., Any], lock: AbstractContextManager[Any]
) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        k = key(*args, **kwargs)
        with lock:
            found = counted.find(k)
        if found is not None:
            return found[0]
        value = func(*args, **kwargs)
        with lock:
            return counted.settle(k, value)

    return wrapper


def _one_at_a_time(
    func: Callable[..., Any],
    counted: _Counted,
    key: Callable[..., Any],
    lock: AbstractContextManager[Any],
    condition: Condition,
) -> Callable[..., Any]:
    pending: dict[Any, None] = {}

    def ended(k: Any) -> None:
        with lock:
            pending.pop(k, None)
            condition.notify_all()

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        k = key(*args, **kwargs)
        mine = False
        try:
            with lock:
                while k in pending:
                    condition.wait()
                found = counted.find(k)
                if found is not None:
                    return found[0]
                pending[k] = None  # no call: no interrupt comes before it is known whose it is
                mine = True
            value = func(*args, **kwargs)
            with lock:
                counted.keep(k, value)
            return value
        finally:
            if mine:
                try:
                    ended(k)
                except BaseException:  # an interrupt: nobody else can tell those who wait
                    ended(k)
                    raise

    return wrapper


def _shared(func: Callable[..., Any], counted: _Counted, key: Callable[..., Any]) -> Callable[..., Any]:
    def keep(k: Any, value: Any, _began: float) -> None:
        counted.keep(k, value)

    flights = Flights(keep)

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        k = key(*args, **kwargs)
        found = counted.find(k)
        if found is not None:
            return found[0]
        return await flights.share(k, functools.partial(func, *args, **kwargs))

    return wrapper
