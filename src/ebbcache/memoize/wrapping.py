"""A function, its options and its cache put together: what callers get instead of the function.

The wrapper is compiled for the function's signature with the cache's own look-up inside (`callkeys`), or
is a native callable that does the same (`native`). A miss runs the function, measures it, and stores the
answer with the seconds it took. Everything else hangs on the wrapper as attributes, as with
`functools.lru_cache`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from inspect import iscoroutinefunction
from time import perf_counter
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final

from ebbcache.caches import Cache
from ebbcache.memoize import front
from ebbcache.memoize.invalidated import Invalidated
from ebbcache.memoize.native import as_native
from ebbcache.memoize.options import Options, full_name
from ebbcache.memoize.owners import ITSELF, Owners, refusing
from ebbcache.memoize.protocols import CacheInfo
from ebbcache.memoize.singleflight import Flights
from ebbcache.sizing import sizeof as measured
from ebbcache.store.table import Table

MISSING: Final = object()
"""What a look-up answers that found nothing."""

_ONE_SHOT: Final = frozenset({GeneratorType, AsyncGeneratorType, CoroutineType})


def wrap(func: Callable[..., Any], options: Options, *, method: bool = False) -> Any:
    """Answer what stands for a decorated function; a *method*'s entries belong to its instances."""
    options.check(func, method=method)
    call = options.call(func, method=method)
    owners = Owners(full_name(func)) if method else None
    store: Callable[..., None]
    if owners is not None:
        cache = options.cache(func, refusing(options.kind), _owned_size(options, owners), owners.left)
        store = owners.storing(cache)
        values: dict[str, Any] = {"find": owners.find, "enter": owners.enter, "ITSELF": ITSELF}
    else:
        cache = options.cache(func, options.kind, options.sizeof, None)
        store = cache.set
        values = {}
    key_of = call.key_of(**values)
    key_of.__qualname__ = getattr(func, "__qualname__", key_of.__qualname__)  # it refuses wrong calls, too
    ttl = options.ttl
    invalidated = Invalidated()

    def outdated(key: Any, began: float) -> bool:
        if invalidated.last < began:
            return False
        return invalidated.since(began, key, key[0]) if method else invalidated.since(began, key)

    def keep(key: Any, value: Any, began: float, *owner: Any) -> None:
        if type(value) in _ONE_SHOT:
            _refuse(func, value)
        if options.maxsize == 0 or outdated(key, began):
            return
        store(key, value, ttl, perf_counter() - began, *owner)
        # Invalidated between the look and the store? Whoever did it found nothing to remove.
        if outdated(key, began):
            cache.pop(key, None)

    def keep_hashed(key: Any, _hash: int, value: Any, began: float) -> None:
        keep(key, value, began)

    flights = Flights(keep)
    values |= {"func": func, "cache": cache, "get": cache.get, "MISSING": MISSING}
    # With a ttl, whether an entry lives is the cache's business.
    policy = None if ttl is not None else readable(cache)
    if isinstance(cache, front.DensityCache) and policy is not None:
        policy = "front"
        values["front"] = cache.front
    wrapper: Callable[..., Any]
    if _is_async(func):
        wrapper = call.async_wrapper(policy, share=flights.share, **values)
    else:
        wrapper = call.wrapper(policy, keep=keep, clock=perf_counter, **values)
        wrapper = as_native(
            wrapper,
            func,
            cache,
            keep_hashed,
            perf_counter,
            ttl=ttl,
            key=options.key,
            typed=options.typed,
            method=method,
            invalidated=invalidated,
        )

    def cache_clear() -> None:
        """Drop every entry and start counting anew."""
        invalidated.mark_all()
        flights.forget_all()
        clear(cache)

    def cache_clear_of(instance: Any = None, /) -> None:
        """Drop the entries of one instance; without one, of all of them, and start counting anew."""
        if instance is None or owners is None:
            cache_clear()
            return
        owner = owners.enter(instance)
        invalidated.mark(owner.serial)
        flights.forget_all(lambda key: key[0] == owner.serial)
        for key in list(owner.keys.values()):
            cache.pop(key, None)

    def cache_invalidate(*args: Any, **kwargs: Any) -> bool:
        """Drop the entry of one call; say whether there was one."""
        key = key_of(*args, **kwargs)
        invalidated.mark(key)
        flights.forget(key)
        return cache.pop(key, MISSING) is not MISSING

    def cache_contains(*args: Any, **kwargs: Any) -> bool:
        """Say whether a call would be answered from the cache."""
        return key_of(*args, **kwargs) in cache

    made = administer(wrapper, func, cache, options.maxsize, options.parameters())
    made.cache_clear = cache_clear_of if method else cache_clear
    made.cache_invalidate = cache_invalidate
    made.cache_contains = cache_contains
    return made


def readable(cache: Cache[Any, Any]) -> str | None:
    """Answer a pure store's policy, whose look-up a wrapper may have inside; None for a native one."""
    return cache.policy if isinstance(cache, Table) else None


def administer(
    wrapper: Callable[..., Any],
    func: Callable[..., Any],
    cache: Cache[Any, Any],
    maxsize: int | None,
    parameters: dict[str, Any],
) -> Any:
    """Make *wrapper* look like *func*, and attach what functools' wrappers have."""

    def cache_info() -> CacheInfo:
        """Answer hits, misses, maxsize and entries."""
        return CacheInfo(cache.hits, cache.misses, maxsize, len(cache))

    def cache_clear() -> None:
        """Drop every entry and start counting anew."""
        clear(cache)

    def cache_parameters() -> dict[str, Any]:
        """Answer the options that the function was decorated with."""
        return dict(parameters)

    # functools' show plain signatures, without annotations, and its tests look at them.
    for function in (cache_info, cache_clear, cache_parameters):
        function.__annotations__.clear()
    made = looking_like(wrapper, func)
    made.cache = cache
    made.cache_info = cache_info
    made.cache_clear = cache_clear
    made.cache_parameters = cache_parameters
    return made


def looking_like(wrapper: Callable[..., Any], func: Callable[..., Any]) -> Any:
    """Do what `functools.update_wrapper` does, but for what a function will not have for an attribute.

    From CPython 3.12 on it refuses the type parameters of `type` itself, which are no tuple.
    """
    for name in functools.WRAPPER_ASSIGNMENTS:
        try:
            functools.update_wrapper(wrapper, func, (name,), ())
        except TypeError:
            pass
    return functools.update_wrapper(wrapper, func, ())


def clear(cache: Cache[Any, Any]) -> None:
    """Empty a cache and count its hits and misses from 0 again."""
    cache.clear()
    cache.hits = cache.misses = 0


def _is_async(func: Callable[..., Any]) -> bool:
    # Partials of coroutine functions count as such; so do objects whose __call__ is one.
    return iscoroutinefunction(func) or iscoroutinefunction(type(func).__call__)


def _owned_size(options: Options, owners: Owners) -> Callable[[Any, Any], int]:
    """Answer how a method's entries are sized: with what their owner costs, or as the user says."""
    sizeof, made, overhead = options.sizeof, options.key is not None, options.kind.overhead

    def measure(key: Any, value: Any) -> int:
        return measured(key) + measured(value) + overhead + owners.cost(key)

    def ask(key: Any, value: Any) -> int:
        if value is ITSELF:  # the instance is not the cache's
            return measured(key) + overhead
        said: int = sizeof(key[1] if made else key[1:], value)
        return said

    return measure if sizeof is None else ask


def _refuse(func: Callable[..., Any], value: Any) -> None:
    kind = type(value).__name__
    if kind == "coroutine":
        value.close()  # nobody is going to await it
    raise TypeError(
        f"{full_name(func)} returned a {kind}, which can be used only once and so not be cached; is there "
        "a decorator between the cache and a generator function or coroutine function?"
    )
