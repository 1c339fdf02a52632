"""The native callable in place of a Python wrapper, where the native store was built.

It answers a hit without a frame, a tuple or a key (`store/native/memo.c` tells how), and has the same keys,
counts and misses as the wrapper, which stays behind it for what is rare. Bound: a hit costs half of one of
`functools.lru_cache`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

from ebbcache.caches import Cache
from ebbcache.memoize.callkeys import Keywords
from ebbcache.memoize.invalidated import Invalidated
from ebbcache.memoize.owners import ITSELF
from ebbcache.store import Memo

_MOST_PARAMETERS = 16

Keep = Callable[[Any, int, Any, float], object]
"""Called with key, the key's hash, value and when the call began, after a miss that is not plain."""


def as_native(
    wrapper: Callable[..., Any],
    func: Callable[..., Any],
    cache: Cache[Any, Any],
    keep: Keep,
    clock: Callable[[], float],
    *,
    ttl: float | None,
    key: Callable[..., Any] | None,
    typed: bool,
    method: bool,
    invalidated: Invalidated,
) -> Callable[..., Any]:
    """Answer what stands for `wrapper`, whose keys are those of `callkeys` for such a function."""
    shape: dict[str, Any]
    if key is not None:
        shape = {"make": key}
    elif isinstance(func, FunctionType):
        code = func.__code__
        count = code.co_argcount + code.co_kwonlyargcount
        collects = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
        if collects == inspect.CO_VARARGS and not (count or typed):
            shape = {"mark": Keywords, "parameters": ()}
        elif collects or count > _MOST_PARAMETERS:
            return wrapper
        else:
            shape = {
                "parameters": code.co_varnames[:count],
                "positional": code.co_argcount,
                "named_from": code.co_posonlyargcount,
                "defaults": func.__defaults__ or (),
                "named_defaults": func.__kwdefaults__,
                "typed": typed,
            }
    else:
        shape = {"mark": Keywords, "typed": typed}
    if Memo is None:
        return wrapper
    wrapper.__qualname__ = getattr(func, "__qualname__", wrapper.__qualname__)  # it refuses wrong calls
    shape |= {"itself": ITSELF} if method else {"ttl": ttl, "invalidated": invalidated}
    made: Callable[..., Any] = Memo(func, cache, None if method else keep, clock, wrapper, **shape)
    return made


def as_written(
    wrapper: Callable[..., Any],
    func: Callable[..., Any],
    cache: Cache[Any, Any],
    keep: Keep,
    clock: Callable[[], float],
    *,
    typed: bool,
) -> Callable[..., Any]:
    """Answer what stands for `wrapper`, whose keys are those of functools."""
    if Memo is None:
        return wrapper
    made: Callable[..., Any] = Memo(
        func, cache, keep, clock, wrapper, mark=Keywords, alone=True, typed=typed
    )
    return made
