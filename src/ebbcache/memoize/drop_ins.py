"""`lru_cache` and `cache`: what functools has, on a cache that memory pressure can shrink.

Every rule of functools is kept: what is a hit (keywords and positions differ), who is evicted, what is
counted, that a key is hashed once a call, that concurrent misses of one key all compute. What is added is
that the entries are known to ebbcache by their bytes and go when memory runs short.

Bound: a hit is one look-up, half of functools' where the native store was built; O(1) for a miss and its
eviction.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from time import perf_counter
from types import BuiltinFunctionType
from typing import Any, Final, ParamSpec, TypeVar, overload

from ebbcache.caches import LRUCache
from ebbcache.memoize.callkeys import as_functools
from ebbcache.memoize.native import as_written
from ebbcache.memoize.options import full_name
from ebbcache.memoize.protocols import CachedFunction
from ebbcache.memoize.wrapping import MISSING, administer, readable

P = ParamSpec("P")
R = TypeVar("R")

# Storing calls functions of these modules; somebody may put a cached one in the place of the original.
_CALLED: Final = frozenset({"builtins", "sys", "time"})


class _HashedOnce(LRUCache[Any, Any]):
    """An LRU cache for callers that have asked a key for its hash already, and must not ask again."""

    def look(self, key: object, h: int) -> Any:
        """Answer the value for *key*, whose hash is *h*, or MISSING; counts as `get` does."""
        entry = self._seek(key, h)
        if entry is None:
            self.misses += 1
            return MISSING
        return self._hit(entry)

    def keep(self, key: object, h: int, value: object, began: float) -> None:
        """Store what a miss computed that began then; where there is a limit, the first answer stays."""
        if self.maxsize is None or self._seek(key, h) is None:
            self._insert(key, h, value, None, perf_counter() - began)


@overload
def lru_cache(maxsize: Callable[P, R], typed: bool = False) -> CachedFunction[P, R]: ...
@overload
def lru_cache(
    maxsize: int | None = 128, typed: bool = False
) -> Callable[[Callable[P, R]], CachedFunction[P, R]]: ...
def lru_cache(maxsize: Any = 128, typed: bool = False) -> Any:
    """Remember a function's last `maxsize` answers: `functools.lru_cache` whose memory can be had back.

    A drop-in for `functools.lru_cache` that passes CPython's own tests for it. Under memory pressure the
    least recently used entries are given up even before there are `maxsize` of them; with ``maxsize=None``
    only memory limits the cache. The function also gets ``cache_invalidate``, ``cache_contains`` and
    ``cache``, as from `cached`. Keywords and positions make different calls here, as they do in functools;
    `cached` knows better, and knows how to remember coroutine functions, too. Raises TypeError if `maxsize`
    is neither an int, None, nor a function.

    >>> @lru_cache(maxsize=2)
    ... def double(n):
    ...     return 2 * n
    >>> [double(n) for n in (1, 2, 1, 3, 2)]
    [2, 4, 2, 6, 4]
    >>> double.cache_info()
    CacheInfo(hits=1, misses=4, maxsize=2, currsize=2)
    """
    if callable(maxsize):
        return _remember(maxsize, 128, typed)
    if maxsize is not None and not isinstance(maxsize, int):
        raise TypeError(f"lru_cache: maxsize must be an int, None or the function itself, not {maxsize!r}")
    limit = None if maxsize is None else max(0, int(maxsize))

    def decorate(func: Callable[..., Any]) -> Any:
        return _remember(func, limit, typed)

    return decorate


def cache(user_function: Callable[P, R], /) -> CachedFunction[P, R]:
    """Remember all of a function's answers while there is memory: `functools.cache` that gives memory back.

    The same as ``lru_cache(maxsize=None)``, as in functools.

    >>> @cache
    ... def factorial(n):
    ...     return n * factorial(n - 1) if n else 1
    >>> factorial(10)
    3628800
    """
    remembering: CachedFunction[P, R] = _remember(user_function, None, False)
    return remembering


def _remember(func: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    if not callable(func):
        raise TypeError(f"lru_cache and cache decorate a function, not {func!r}")
    memory = _HashedOnce(maxsize, name=full_name(func))
    busy: set[int] = set()

    call = as_functools(typed=typed)
    key_of = call.key_of()
    wrapper = call.wrapper(
        readable(memory),
        func=func,
        cache=memory,
        look=memory.look,
        keep=memory.keep,
        clock=perf_counter,
        MISSING=MISSING,
    )

    def uncached(*args: Any, **kwargs: Any) -> Any:
        memory.misses += 1
        return func(*args, **kwargs)

    def of_builtin(*args: Any, **kwargs: Any) -> Any:
        me = get_ident()
        if me in busy:
            return func(*args, **kwargs)
        busy.add(me)
        try:
            return wrapper(*args, **kwargs)
        finally:
            busy.discard(me)

    def cache_invalidate(*args: Any, **kwargs: Any) -> bool:
        """Drop the entry of one call; say whether there was one."""
        return memory.pop(key_of(*args, **kwargs), MISSING) is not MISSING

    def cache_contains(*args: Any, **kwargs: Any) -> bool:
        """Say whether a call would be answered from the cache."""
        return key_of(*args, **kwargs) in memory

    chosen: Callable[..., Any]
    if maxsize == 0:
        chosen = uncached
    elif isinstance(func, BuiltinFunctionType) and func.__module__ in _CALLED:
        chosen = of_builtin
    else:
        chosen = as_written(wrapper, func, memory, memory.keep, perf_counter, typed=typed)
    made = administer(chosen, func, memory, maxsize, {"maxsize": maxsize, "typed": typed})
    made.cache_invalidate = cache_invalidate
    made.cache_contains = cache_contains
    return made
