"""`cached`: remember what a function answered, in a cache that knows its bytes and gives them back.

One decorator, two uses: with a cache that it makes (`wrapping`), for plain and coroutine functions, or over
a mapping of the caller's, the way of cachetools (`mapped`). Here is only what a user writes.

Bound: deciding which, once for each decorated function.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, MutableSequence
from contextlib import AbstractContextManager
from typing import Any, Literal, ParamSpec, TypeVar, cast, overload

from ebbcache.memoize.callkeys import hashkey
from ebbcache.memoize.mapped import Condition, cached_in
from ebbcache.memoize.options import Options, Policy
from ebbcache.memoize.protocols import CachedFunction, CountedFunction, MappedFunction
from ebbcache.memoize.wrapping import wrap

P = ParamSpec("P")
R = TypeVar("R")


@overload
def cached(cache: Callable[P, R], /) -> CachedFunction[P, R]: ...
@overload
def cached(
    cache: None = None,
    /,
    *,
    maxsize: int | None = None,
    maxbytes: int | str | None = None,
    ttl: float | None = None,
    policy: Policy = "density",
    key: Callable[..., Any] | None = None,
    typed: bool = False,
    name: str | None = None,
    sizeof: Callable[[Any, Any], int] | None = None,
) -> Callable[[Callable[P, R]], CachedFunction[P, R]]: ...
@overload
def cached(
    cache: MutableMapping[Any, Any],
    key: Callable[..., Any] | None = None,
    lock: AbstractContextManager[Any] | None = None,
    condition: Condition | None = None,
    info: Literal[False] = False,
) -> Callable[[Callable[P, R]], MappedFunction[P, R]]: ...
@overload
def cached(
    cache: MutableMapping[Any, Any],
    key: Callable[..., Any] | None = None,
    lock: AbstractContextManager[Any] | None = None,
    condition: Condition | None = None,
    *,
    info: Literal[True],
) -> Callable[[Callable[P, R]], CountedFunction[P, R]]: ...
@overload
def cached(
    cache: MutableMapping[Any, Any],
    key: Callable[..., Any] | None,
    lock: AbstractContextManager[Any] | None,
    condition: Condition | None,
    info: Literal[True],
) -> Callable[[Callable[P, R]], CountedFunction[P, R]]: ...
def cached(
    cache: Any = None,
    key: Callable[..., Any] | None = None,
    lock: AbstractContextManager[Any] | None = None,
    condition: Condition | None = None,
    info: bool = False,
    *,
    maxsize: int | None = None,
    maxbytes: int | str | None = None,
    ttl: float | None = None,
    policy: Policy = "density",
    typed: bool = False,
    name: str | None = None,
    sizeof: Callable[[Any, Any], int] | None = None,
) -> Any:
    """Remember a function's answers, as many as memory has room for.

    Use it bare (``@cached``) or with options:

    - ``maxsize``: entries, at most; ``maxbytes``: bytes, at most (an int or ``"64 MiB"``). Neither is
      needed: the cache grows into free memory and gives it back under pressure.
    - ``ttl``: seconds that an answer is good for.
    - ``policy``: who goes first. ``"density"`` weighs the seconds that an answer took to make, its bytes,
      its use and its idleness; ``"lru"`` and ``"lfu"`` go by last use and by (aging) frequency.
    - ``key``: called with the call's arguments as they are written, answers its key. Without it, calls that
      mean the same share an entry, be arguments given by position, by keyword or by default; of what is no
      function written in Python (a built-in, a class, a partial, a bound method) calls as they are written.
      Defaults are those that the function has when it is decorated.
    - ``typed``: tell arguments apart that are equal but of different types (3 and 3.0).
    - ``name``: what the cache is called in `ebbcache.status`; by default ``module.qualname`` of the
      function.
    - ``sizeof``: ``(key, value) -> bytes``, in place of measuring. The key is the argument itself for a
      function of one parameter, otherwise the tuple of all arguments in the order of the parameters.

    The function gets ``cache_info()``, ``cache_clear()`` (which also starts the statistics anew),
    ``cache_parameters()`` and ``__wrapped__`` as from `functools.lru_cache`; ``cache_invalidate(*args,
    **kwargs)`` drops the entry of one call and ``cache_contains(*args, **kwargs)`` says whether there is
    one; ``cache`` is the cache itself.

    Arguments must be hashable, or the call raises TypeError. Exceptions are passed on and not cached. Two
    threads that miss the same key at once both compute it, as with functools. An answer that was on its way
    while its entry was invalidated (or all were cleared) is returned, but not kept.

    ``async def`` functions: concurrent calls with one key share one call (within one asyncio event loop),
    which runs as a task of its own in a copy of the first caller's context. If one caller is cancelled the
    others still get their answer; if all are, the call is cancelled too. Nobody joins a call whose entry
    was invalidated meanwhile.

    Given a mapping first, ``cached(mapping, key=, lock=, condition=, info=)`` does what cachetools'
    `cached` does.

    Raises TypeError or ValueError for wrong options, and for generator functions, whose iterators can be
    used only once.

    >>> @cached
    ... def cube(x, *, scale=1):
    ...     return scale * x**3
    >>> cube(2), cube(x=2), cube(2, scale=1)
    (8, 8, 8)
    >>> cube.cache_info()
    CacheInfo(hits=2, misses=1, maxsize=None, currsize=1)
    >>> cube.cache_contains(2), cube.cache_invalidate(2), cube.cache_contains(2)
    (True, True, False)
    """
    if _is_mapping(cache):
        ours = {"maxsize": maxsize, "maxbytes": maxbytes, "ttl": ttl, "name": name, "sizeof": sizeof}
        given = [option for option, value in ours.items() if value is not None]
        given += ["policy"] * (policy != "density") + ["typed"] * bool(typed)
        if given:
            raise TypeError(
                f"cached: {given[0]} is for the cache it makes itself, but it was given {type(cache)!r}"
            )
        if key is not None and not callable(key):
            raise TypeError(f"cached: key must be callable, not {key!r}")
        return cached_in(cache, hashkey if key is None else key, lock, condition, bool(info))

    for option, value in (("lock", lock), ("condition", condition), ("info", info or None)):
        if value is not None:
            raise TypeError(
                f"cached: {option}={value!r} goes with a mapping of yours as the first argument"
            )
    options = Options(
        who="cached",
        maxsize=maxsize,
        maxbytes=maxbytes,
        ttl=ttl,
        policy=policy,
        key=key,
        typed=typed,
        name=name,
        sizeof=sizeof,
    )

    def decorate(func: Callable[P, R]) -> CachedFunction[P, R]:
        return cast("CachedFunction[P, R]", wrap(func, options))

    return decorate if cache is None else decorate(cache)


def _is_mapping(cache: object) -> bool:
    # Asked of the type, as subscripting does: a class is a function here, though dict[int] is possible.
    kind = type(cache)
    return (
        hasattr(kind, "__getitem__")
        and hasattr(kind, "__setitem__")
        and not isinstance(cache, MutableSequence)
    )
