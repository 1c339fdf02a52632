"""When to have malloc hand back what it holds free: only where it can pay, and for a share of the time.

Freed small blocks stay with malloc until somebody calls malloc_trim, which walks the whole heap (30 to
140 ms for half a GiB) while other threads that allocate may wait. So it is asked first how much there is to
return, and trims keep to `SHARE` of the time, more of it the shorter memory is. Bound: that share, and one
question to malloc in `ASK_EVERY` seconds or a hundredth of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

Level = Literal["calm", "soft", "hard"]

ASK_EVERY = 0.25  # s: between two questions what malloc holds free
SHARE: dict[Level, float] = {"calm": 1 / 50, "soft": 1 / 5, "hard": 1.0}  # of the time may go into trims


class Malloc(Protocol):
    """What is needed of `ebbcache.governor.allocator`, or of a stand-in for tests."""

    def free_bytes(self) -> int:
        """Return the bytes that malloc holds free."""
        ...

    def trim(self, at_once: bool = False) -> None:
        """Have malloc return what it can; with `at_once` nothing else runs meanwhile."""
        ...


class Heap:
    """malloc's free memory, of which a trim would return a part. Amounts are bytes, times seconds."""

    def __init__(self, malloc: Malloc, timer: Callable[[], float]) -> None:
        self._malloc = malloc
        self._timer = timer
        self._ask_at = self._trimmed_until = float("-inf")
        self.took = 0.0  # by the last trim
        self._idle = self._hollow = 0

    def free(self) -> int:
        """Return the bytes that malloc holds free at this moment."""
        return self._malloc.free_bytes()

    def idle(self, *, now: bool = False) -> int:
        """Return what malloc holds free and the kernel has not got back; as of a moment ago, unless `now`.

        Pages that a trim returned out of the middle of the heap still are free blocks to malloc, until they
        are used again.
        """
        began = self._timer()
        if now or began >= self._ask_at:
            free = self.free()
            self._hollow = min(self._hollow, free)
            self._idle = free - self._hollow
            self._ask_at = began + max(ASK_EVERY, 100 * (self._timer() - began))
        return self._idle

    def may_trim(self, level: Level) -> bool:
        """Whether the last trim is so long past that another may take as much time under `level`."""
        return (self._timer() - self._trimmed_until) * SHARE[level] >= self.took

    def trim(self, *, at_once: bool) -> None:
        """Have malloc return what it can, and remember what that took.

        With `at_once` no other thread runs meanwhile: where the memory would be gone before it is back.
        """
        began = self._timer()
        self._malloc.trim(at_once)
        self._trimmed_until = self._timer()
        self.took = self._trimmed_until - began
        self._idle, self._hollow = 0, self.free()
