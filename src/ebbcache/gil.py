"""Whether threads take turns, and locks that no interrupt leaves taken.

Free-threaded CPython (PEP 703) runs threads side by side. The native store says that it can do without a
GIL and does the work there, too; the pure one brings locks along, of which it has no need elsewhere.
A signal's handler runs after a call (Python/bytecodes.c: _CHECK_PERIODIC). Since CPython 3.14 the
`__enter__` of a with statement is such a call, and the block's exit is not yet arranged for: a handler that
raises just then leaves the lock taken. Bound: O(1).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, TypeVar

T = TypeVar("T")


class Lock(Protocol):
    """What `threading.Lock` and `RLock` have in common."""

    def acquire(self, blocking: bool = ..., timeout: float = ..., /) -> bool:
        """Take the lock, waiting for it at most `timeout` seconds."""
        ...

    def release(self) -> None:
        """Give it back."""
        ...


def is_free_threaded() -> bool:
    """Return whether there is no GIL at this moment."""
    asked = getattr(sys, "_is_gil_enabled", None)
    return asked is not None and not asked()


def taking(lock: Lock) -> Iterator[object]:
    """Return what takes `lock` as a for statement's next step, which is no call: nothing comes in between.

    A ``try`` follows at once, which releases it; the loop ends with a ``break``.
    """
    return iter(lock.acquire, None)


def trying(lock: Lock, blocking: bool = False, timeout: float = -1) -> Iterator[bool]:
    """Return what says as a for statement's next step whether it could take `lock`, as `taking` takes it.

    Of the ``try`` that follows at once the end is to release it if it was taken.
    """
    return iter(partial(lock.acquire, blocking, timeout), None)


def holding(lock: Lock, work: Callable[[], T]) -> T:
    """Return what `work()` does while `lock` is held."""
    for _ in taking(lock):
        try:
            return work()
        finally:
            lock.release()
    raise AssertionError("a lock is taken in the end")
