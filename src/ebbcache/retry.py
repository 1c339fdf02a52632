"""Once more with less in the caches: what to do about a MemoryError of the program's own.

Under an rlimit, or for an array larger than what is left, the allocator refuses instead of the kernel
killing. Then caches are the one thing that can make way. The failed attempt is left entirely (its frames
hold what it had allocated) before anything is freed and the function is called again. Bound: one more call.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, cast

from ebbcache import governor

P = ParamSpec("P")
R = TypeVar("R")


def retry_on_memory_error(func: Callable[P, R]) -> Callable[P, R]:
    """Decorate `func` so that a MemoryError makes caches give way, hard, and then calls it once more.

    If the error tells how much was wanted (numpy's does: `shape` and `dtype`), caches free that much and a
    sixteenth more, otherwise all they hold, floors included. A second MemoryError passes. `func` runs twice
    then, so it should not do by halves what may not be done twice. Works on coroutine functions as well,
    not on generators, which fail only after they have returned.

    >>> calls = []
    >>> @retry_on_memory_error
    ... def load(n):
    ...     calls.append(n)
    ...     if len(calls) == 1:
    ...         raise MemoryError
    ...     return n
    >>> load(3), calls
    (3, [3, 3])
    """
    if not callable(func):
        raise TypeError(f"func must be callable, not {func!r}")
    if iscoroutinefunction(func):

        @functools.wraps(func)
        async def again_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                return await func(*args, **kwargs)
            except MemoryError as error:
                wanted = _wanted(error)
            governor.reclaim(wanted, hard=True)
            return await func(*args, **kwargs)

        return cast("Callable[P, R]", again_async)

    @functools.wraps(func)
    def again(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return func(*args, **kwargs)
        except MemoryError as error:
            wanted = _wanted(error)
        governor.reclaim(wanted, hard=True)
        return func(*args, **kwargs)

    return again


def _wanted(error: MemoryError) -> int | None:
    """Return the bytes that could not be had, and some more, if `error` tells; else None."""
    try:
        array: Any = error
        size = int(math.prod(array.shape) * array.dtype.itemsize)
        return max(1, size + size // 16)
    except Exception:  # no array's error, or a hostile one: no telling
        return None
