"""Whose turn it is: one thread at a time does something, and nobody waits long for another's turn.

A turn is a token, not a lock around data: nobody waits for it longer than told, so user callbacks that run
during a turn hold nobody up. It is taken and given up in straight-line code, and the `finally` is entered
before it is taken: no exception of a signal handler leaves it taken. Bound: O(1), and the wait asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from ebbcache.gil import taking

T = TypeVar("T")


class _Turn:
    """Somebody's turn: whose, and a lock that is free when it is over."""

    __slots__ = ("over", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.over = threading.Lock()
        self.over.acquire()


class Turns:
    """Gives turns. After a fork the child needs new ones: the thread whose turn it was is not there."""

    def __init__(self) -> None:
        # Re-entrant: a garbage collection on the way out of it may run a finaliser that wants a turn.
        self._gate = threading.RLock()
        self._running: _Turn | None = None

    def within(self, seconds: float, work: Callable[[], T]) -> T | None:
        """Return what `work()` does; None, undone, if another thread's turn lasts longer than `seconds`.

        Also None, at once, in the middle of a turn of this very thread.
        """
        turn = _Turn()
        try:
            return work() if self._take(turn, seconds) else None
        finally:
            if self._running is turn:  # nobody else changes it as long as it is; no call for an interrupt
                self._running = None
            turn.over.release()

    def _take(self, turn: _Turn, seconds: float) -> bool:
        """Make `turn` the one that runs, if need be after another thread's, within `seconds`."""
        running = self._start(turn)
        if running is not None and running.thread != turn.thread and running.over.acquire(timeout=seconds):
            running.over.release()
            self._start(turn)
        return self._running is turn

    def _start(self, turn: _Turn) -> _Turn | None:
        """Make `turn` the one that runs if none does, else return that one."""
        gate = self._gate
        for _ in taking(gate):
            try:
                running = self._running
                if running is None:
                    self._running = turn
            finally:
                gate.release()
            return running
        raise AssertionError("a lock is taken in the end")

    def mine(self) -> bool:
        """Return whether this thread is in the middle of a turn."""
        running = self._running
        return running is not None and running.thread == threading.get_ident()
