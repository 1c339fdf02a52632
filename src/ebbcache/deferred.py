"""Deferred shrinkers: soft requests become a debt that the program pays from its own loop.

The pattern that OSv recommends to shrinkers that cannot free in the thread that asks, with the deferred
count of Linux's mm/shrinker: what could not be done now is remembered, up to what is held. Bounds: a soft
request costs one addition; a debt is paid at most once, whoever pays.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

from ebbcache.forking import in_child
from ebbcache.gil import taking
from ebbcache.shrinkers import ShrinkFunction, SizeFunction, hold, registered, whole
from ebbcache.units import format_bytes, parse_bytes

__all__ = ["Deferred", "deferred"]

# One for all debts: it is held over straight-line code only, which nothing can interrupt or re-enter.
_lock = threading.RLock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


in_child(_renew_lock)


def _no_size() -> None:
    return None


class Deferred:
    """A shrinker function that runs soft requests when the program says so; made by `deferred`."""

    __slots__ = ("__weakref__", "_debt", "_func", "_size")

    def __init__(self, func: ShrinkFunction, size: SizeFunction | None) -> None:
        me = weakref.ref(self)

        def gone(_: object) -> None:
            # We are no bound method, so the registry holds us: it must learn of the owner's death from us.
            for shrinker in registered():
                if shrinker.calls_for(me()):
                    shrinker.unregister()

        self._func = hold(func, gone)
        self._size: Callable[[], SizeFunction | None] = _no_size if size is None else hold(size, gone)
        self._debt = 0

    @property
    def pending(self) -> int:
        """Bytes that soft requests asked for and nobody freed yet."""
        return self._debt

    def __call__(self, target: int, hard: bool) -> int:
        """Free `target` bytes at once if `hard`; else note the debt and answer 0."""
        func = self._func()
        if func is None:
            return 0
        if hard:
            freed = whole(func(target, True))
            for _ in taking(_lock):
                try:
                    self._debt = self._debt - freed if self._debt > freed else 0
                finally:
                    _lock.release()
                break
            return freed
        size = self._size()
        held = None if size is None else size()
        most = None if held is None else whole(held)
        for _ in taking(_lock):
            try:
                debt = self._debt + target
                self._debt = debt if most is None or debt < most else most
            finally:
                _lock.release()
            break
        return 0

    def pay(self, limit: int | str | None = None) -> int:
        """Free what is pending, at most `limit` bytes of it, in this thread; return the bytes freed.

        Of what was asked for, the part that was not freed is forgiven (there was no more to free); what
        lies above `limit` stays pending. An exception of the function comes out, and the debt stays.

        Raises TypeError or ValueError for a limit or an answer that is no number of bytes.
        """
        if limit is not None:
            limit = parse_bytes(limit, "limit")
        func = self._func()
        if func is None:
            return 0
        due = 0
        paid = False
        try:
            for _ in taking(_lock):
                try:
                    # Taken off before the call, so that two threads never pay the same debt.
                    due = self._debt if limit is None or self._debt < limit else limit
                    self._debt -= due
                finally:
                    _lock.release()
                break
            freed = whole(func(due, False)) if due else 0
            paid = True
        finally:
            if not paid:
                for _ in taking(_lock):
                    try:
                        self._debt += due
                    finally:
                        _lock.release()
                    break
        return freed

    def __repr__(self) -> str:
        return f"<Deferred {self._func()!r}: {format_bytes(self._debt)} pending>"


def deferred(func: ShrinkFunction, *, size: SizeFunction | None = None) -> Deferred:
    """Make a shrinker function whose soft requests wait until the program calls `pay()`.

    For programs that can free memory safely only at certain points of their own loop. Soft requests add
    up in `pending` (bytes) and answer 0; with `size`, a callable that tells the bytes held, the debt never
    grows beyond that. Hard requests run at once, in the thread that reclaims. Bound methods are held
    weakly, as `register_shrinker` holds them.

    >>> from ebbcache.shrinkers import register_shrinker
    >>> pages = ["page"] * 100
    >>> @deferred
    ... def drop_pages(target, hard):
    ...     dropped = min(len(pages), -(-target // 4096))
    ...     del pages[:dropped]
    ...     return dropped * 4096
    >>> with register_shrinker("pages", drop_pages):
    ...     _ = drop_pages(10_000, False)  # what the engine does under soft pressure
    ...     drop_pages.pending, len(pages)
    (10000, 100)
    >>> drop_pages.pay(), drop_pages.pending, len(pages)
    (12288, 0, 97)
    """
    if not callable(func):
        raise TypeError(f"func must be callable, not {func!r}")
    if size is not None and not callable(size):
        raise TypeError(f"size must be callable or None, not {size!r}")
    return Deferred(func, size)
