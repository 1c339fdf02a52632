"""What a decorated function offers, in types: its own call, bound or not, and the cache behind it.

At run time a decorated function is a plain function (so it binds, pickles and copies like one) with these
attributes; the protocols exist for type checkers and for annotations. A `ParamSpec` carries the signature.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar, overload

from ebbcache.caches import Cache

P = ParamSpec("P")
Q = ParamSpec("Q")
R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")


class CacheInfo(NamedTuple):
    """What `cache_info()` answers; equal in shape to what `functools.lru_cache` answers."""

    hits: int
    """Calls answered from the cache."""
    misses: int
    """Calls that were carried out."""
    maxsize: int | None
    """The most entries it may hold; None: as many as memory allows."""
    currsize: int
    """The entries it holds."""


# mypy tries variance through the overloads of __get__, whose self types it erases.
class CachedFunction(Protocol[P, R_co]):  # type: ignore[misc]
    """A function decorated by `cached`, `lru_cache` or `cache`."""

    __name__: str
    __qualname__: str
    __doc__: str | None

    @property
    def __wrapped__(self) -> Callable[P, R_co]:
        """The function itself: calling it goes past the cache."""
        ...

    @property
    def cache(self) -> Cache[Any, Any]:
        """The cache behind the function, under the keys that calls become."""
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Answer from the cache, or call and remember."""
        ...

    def cache_info(self) -> CacheInfo:
        """Count of hits, misses and entries since the start or the last `cache_clear`."""
        ...

    def cache_clear(self) -> None:
        """Drop every entry and start counting anew."""
        ...

    def cache_parameters(self) -> dict[str, Any]:
        """Answer the options that the function was decorated with."""
        ...

    def cache_invalidate(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Drop the entry of one call; say whether there was one."""
        ...

    def cache_contains(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Say whether a call would be answered from the cache; counts neither hit nor miss."""
        ...

    # Seen through the class: any parameters, for under @classmethod the first one is bound by then.
    @overload
    def __get__(self, instance: None, owner: type, /) -> CachedFunction[..., R_co]: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[S, Q], R_co], instance: S, owner: type | None = None, /
    ) -> BoundCached[Q, R_co]: ...
    @overload  # under @classmethod
    def __get__(
        self: CachedFunction[Concatenate[type[S], Q], R_co], instance: S, owner: type | None = None, /
    ) -> BoundCached[Q, R_co]: ...
    @overload  # under @staticmethod
    def __get__(self, instance: object, owner: type | None = None, /) -> CachedFunction[P, R_co]: ...


class BoundCached(Protocol[P, R_co]):
    """A decorated function bound to an instance: a bound method, through which the cache can be seen.

    What is asked through it concerns the function, not the one instance, as with `functools.lru_cache`.
    """

    __name__: str
    __qualname__: str
    __doc__: str | None

    @property
    def __self__(self) -> Any: ...

    @property
    def cache(self) -> Cache[Any, Any]:
        """The cache behind the function."""
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Answer from the cache, or call and remember."""
        ...

    def cache_info(self) -> CacheInfo:
        """Count of hits, misses and entries of all instances."""
        ...

    def cache_clear(self) -> None:
        """Drop the entries of all instances and start counting anew."""
        ...

    def cache_parameters(self) -> dict[str, Any]:
        """Answer the options that the function was decorated with."""
        ...


class CachedMethod(Protocol[P, R_co]):
    """A method decorated by `cachedmethod`, as its class has it; `P` are the parameters after the instance.

    The instance is of any type, so that a subclass may override the method.
    """

    __name__: str
    __qualname__: str
    __doc__: str | None

    @property
    def __wrapped__(self) -> Callable[Concatenate[Any, P], R_co]:
        """The method itself: calling it goes past the cache."""
        ...

    @property
    def cache(self) -> Cache[Any, Any]:
        """The cache that all instances share."""
        ...

    def __call__(self, instance: Any, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Answer from the cache, or call and remember."""
        ...

    def cache_info(self) -> CacheInfo:
        """Count of hits, misses and entries of all instances."""
        ...

    def cache_clear(self, instance: Any = None, /) -> None:
        """Drop the entries of one instance; without one, of all of them, and start counting anew."""
        ...

    def cache_parameters(self) -> dict[str, Any]:
        """Answer the options that the method was decorated with."""
        ...

    def cache_invalidate(self, instance: Any, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Drop the entry of one call on an instance; say whether there was one."""
        ...

    def cache_contains(self, instance: Any, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Say whether a call on an instance would be answered from the cache."""
        ...

    @overload
    def __get__(self, instance: None, owner: type, /) -> CachedMethod[P, R_co]: ...
    @overload
    def __get__(self, instance: Any, owner: type | None = None, /) -> BoundCached[P, R_co]: ...


class MappedFunction(Protocol[P, R_co]):
    """A function decorated by `cached(mapping, ...)`."""

    __name__: str
    __qualname__: str
    __doc__: str | None
    cache: MutableMapping[Any, Any]
    cache_key: Callable[..., Any]
    cache_lock: AbstractContextManager[Any] | None
    cache_condition: Any

    @property
    def __wrapped__(self) -> Callable[P, R_co]:
        """The function itself: calling it goes past the cache."""
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Answer from the cache, or call and remember."""
        ...

    def cache_clear(self) -> None:
        """Clear the mapping, under the lock if there is one."""
        ...

    @overload
    def __get__(self, instance: None, owner: type, /) -> MappedFunction[P, R_co]: ...
    @overload
    def __get__(
        self: MappedFunction[Concatenate[S, Q], R_co], instance: S, owner: type | None = None, /
    ) -> Callable[Q, R_co]: ...


class CountedFunction(MappedFunction[P, R_co], Protocol[P, R_co]):
    """A function decorated by `cached(mapping, ..., info=True)`."""

    def cache_info(self) -> CacheInfo:
        """Count of hits, misses and what the mapping holds."""
        ...
