"""`cachedmethod`: remember what methods answered, for each instance while it lives.

One cache serves all instances of a method: one budget and one registration, however many instances there
are. Entries are told apart by the identity of their instance (`owners`) and go when it dies.

Bound: a hit costs one dict look-up more than a function's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, cast, overload

from ebbcache.memoize.options import Options, Policy
from ebbcache.memoize.protocols import CachedMethod
from ebbcache.memoize.wrapping import wrap

P = ParamSpec("P")
R = TypeVar("R")


@overload
def cachedmethod(method: Callable[Concatenate[Any, P], R], /) -> CachedMethod[P, R]: ...
@overload
def cachedmethod(
    method: None = None,
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
) -> Callable[[Callable[Concatenate[Any, P], R]], CachedMethod[P, R]]: ...
def cachedmethod(
    method: Any = None,
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
) -> Any:
    """Remember a method's answers for each instance, as long as the instance lives.

    The options are those of `cached`; ``maxsize`` and ``maxbytes`` are for all instances together. ``key``
    gets the instance first, like the method; what it answers counts within the instance. ``sizeof`` gets
    the key without the instance.

    Instances are told apart by identity: they may be equal, or unhashable. The cache does not keep them
    alive, and when one dies its entries go at once. (An argument or a value that refers to the instance
    does keep it alive, until the entry is evicted; a method that returns ``self`` does not.) A class with
    ``__slots__`` needs ``"__weakref__"`` among them, or else the call raises TypeError. Overridden methods
    and those called through ``super()`` are cached separately.

    The method gets what `cached` gives a function, to be called through the class:
    ``Class.method.cache_info()`` tells about all instances, ``Class.method.cache_clear()`` clears them all
    and ``Class.method.cache_clear(obj)`` one; ``Class.method.cache_invalidate(obj, *args)`` and
    ``Class.method.cache_contains(obj, *args)`` are about one call. Coroutine methods share calls like
    coroutine functions.

    Put it under ``@property`` or ``@classmethod``, next to the function.

    >>> class Circle:
    ...     def __init__(self, radius):
    ...         self.radius = radius
    ...     @cachedmethod
    ...     def area(self, digits=2):
    ...         return round(3.14159 * self.radius**2, digits)
    >>> small, big = Circle(1), Circle(10)
    >>> small.area(), big.area(), big.area(digits=2)
    (3.14, 314.16, 314.16)
    >>> Circle.area.cache_info()
    CacheInfo(hits=1, misses=2, maxsize=None, currsize=2)
    >>> del big
    >>> Circle.area.cache_info().currsize
    1
    """
    options = Options(
        who="cachedmethod",
        maxsize=maxsize,
        maxbytes=maxbytes,
        ttl=ttl,
        policy=policy,
        key=key,
        typed=typed,
        name=name,
        sizeof=sizeof,
    )

    def decorate(method: Callable[Concatenate[Any, P], R]) -> CachedMethod[P, R]:
        return cast("CachedMethod[P, R]", wrap(method, options, method=True))

    return decorate if method is None else decorate(method)
