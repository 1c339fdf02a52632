"""The native callable in place of a Python wrapper, where the native store was built.

It answers a hit without a frame, a tuple or a key (`store/native/memo.c` tells how), and has the same keys,
counts and misses as the wrapper, which stays behind it for calls that it does not understand. Bound: a hit
costs half of one of `functools.lru_cache`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

from ebbcache.caches import Cache
from ebbcache.store import Memo

_MOST_PARAMETERS = 16

Keep = Callable[[Any, int, Any, float], object]
"""Called with key, the key's hash, value and when the call began, after a miss."""


def as_bound(
    wrapper: Callable[..., Any],
    func: Callable[..., Any],
    cache: Cache[Any, Any],
    keep: Keep,
    clock: Callable[[], float],
) -> Callable[..., Any]:
    """Answer what stands for `wrapper`, whose keys are all parameters in order, defaults filled in."""
    if Memo is None or not isinstance(func, FunctionType):
        return wrapper
    code = func.__code__
    count = code.co_argcount + code.co_kwonlyargcount
    if code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS) or count > _MOST_PARAMETERS:
        return wrapper
    names = code.co_varnames[:count]
    wrapper.__qualname__ = func.__qualname__  # it refuses wrong calls
    made: Callable[..., Any] = Memo(
        func,
        cache,
        keep,
        clock,
        wrapper,
        parameters=names,
        positional=code.co_argcount,
        named_from=code.co_posonlyargcount,
        defaults=func.__defaults__ or (),
        named_defaults=func.__kwdefaults__,
    )
    return made
