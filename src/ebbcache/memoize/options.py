"""What a decorator was told: checked once, then turned into a cache and into keys.

Wrong options are refused when the function is decorated, not when it is called, and by their names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from inspect import isasyncgenfunction, isgeneratorfunction
from types import FunctionType
from typing import Any, Final, Literal

from ebbcache.caches import Cache, Cause, LFUCache, LRUCache
from ebbcache.memoize import front
from ebbcache.memoize.callkeys import Call, as_called, mirrored, plain_key, typed_key

Policy = Literal["density", "lru", "lfu"]

_POLICIES: Final[dict[str, type[Cache[Any, Any]]]] = {
    "density": front.KIND,
    "lru": LRUCache,
    "lfu": LFUCache,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options that `cached` and `cachedmethod` have in common; ``who`` is the decorator's name."""

    who: str
    # Whatever the user gave, until `__post_init__` has looked at it.
    maxsize: Any
    maxbytes: Any
    ttl: Any
    policy: Any
    key: Any
    typed: Any
    name: Any
    sizeof: Any

    def __post_init__(self) -> None:
        who = self.who
        if self.maxsize is not None and (
            not isinstance(self.maxsize, int) or isinstance(self.maxsize, bool)
        ):
            raise TypeError(f"{who}: maxsize must be a number of entries or None, not {self.maxsize!r}")
        if self.maxsize is not None and self.maxsize < 0:
            raise ValueError(f"{who}: maxsize must not be negative, but is {self.maxsize!r}")
        if self.ttl is not None:
            if not isinstance(self.ttl, int | float) or isinstance(self.ttl, bool):
                raise TypeError(f"{who}: ttl must be a number of seconds or None, not {self.ttl!r}")
            if not 0 < self.ttl < math.inf:  # a NaN is not
                raise ValueError(f"{who}: ttl must be finite and more than 0 seconds, but is {self.ttl!r}")
        if not isinstance(self.policy, str):
            raise TypeError(f"{who}: policy must be a string, not {self.policy!r}")
        if self.policy not in _POLICIES:
            raise ValueError(f"{who}: policy must be one of {', '.join(_POLICIES)}, not {self.policy!r}")
        for option, value in (("key", self.key), ("sizeof", self.sizeof)):
            if value is not None and not callable(value):
                raise TypeError(f"{who}: {option} must be callable or None, not {value!r}")
        if not isinstance(self.typed, bool):
            raise TypeError(f"{who}: typed must be True or False, not {self.typed!r}")
        if self.typed and self.key is not None:
            raise TypeError(f"{who}: typed=True has no say where key={self.key!r} makes the keys")
        if self.name is not None and not isinstance(self.name, str):
            raise TypeError(f"{who}: name must be a string or None, not {self.name!r}")

    def parameters(self) -> dict[str, Any]:
        """Answer what `cache_parameters` tells."""
        return {
            "maxsize": self.maxsize,
            "maxbytes": self.maxbytes,
            "ttl": self.ttl,
            "policy": self.policy,
            "typed": self.typed,
        }

    @property
    def kind(self) -> type[Cache[Any, Any]]:
        """The class that the policy names."""
        return _POLICIES[self.policy]

    def cache(
        self,
        func: Callable[..., Any],
        kind: type[Cache[Any, Any]],
        sizeof: Callable[[Any, Any], int] | None,
        listener: Callable[[Any, Any, Cause], object] | None,
    ) -> Cache[Any, Any]:
        """Make the cache for a function, named after it unless a name was given."""
        name = self.name if self.name is not None else full_name(func)
        return kind(self.maxsize, maxbytes=self.maxbytes, name=name, sizeof=sizeof, listener=listener)

    def call(self, func: Callable[..., Any], *, method: bool) -> Call:
        """Find out how this function's calls become keys."""
        if self.key is not None:
            return as_called(self.key, func.__code__.co_varnames[0] if method else None)
        if isinstance(func, FunctionType):
            return mirrored(func, typed=self.typed, method=method)
        # What is not written in Python may treat a default written out and one left out differently.
        return as_called(typed_key if self.typed else plain_key)

    def check(self, func: Callable[..., Any], *, method: bool) -> None:
        """Refuse what cannot be cached: what is no function, and functions that make iterators."""
        kind = type(func).__name__
        if kind in ("classmethod", "staticmethod", "property"):
            raise TypeError(f"{self.who} goes under @{kind}, next to the function; here it was put over it")
        if not callable(func) or (method and not isinstance(func, FunctionType)):
            raise TypeError(f"{self.who} decorates functions, not {func!r}")
        if method and not func.__code__.co_argcount:
            raise TypeError(f"{self.who}: {full_name(func)} has no parameter for the instance")
        if isgeneratorfunction(func) or isasyncgenfunction(func):
            raise TypeError(
                f"{self.who}: {full_name(func)} is a generator function; what it returns can be used only "
                "once and so not be cached. Return a list or a tuple instead."
            )


def full_name(func: Callable[..., Any]) -> str:
    """Answer ``module.qualname``, as far as the object has them.

    >>> full_name(full_name)
    'ebbcache.memoize.options.full_name'
    """
    module = getattr(func, "__module__", None)
    name = getattr(func, "__qualname__", None) or type(func).__qualname__
    return f"{module}.{name}" if module else str(name)
