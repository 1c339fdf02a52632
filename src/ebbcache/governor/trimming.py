"""When to have malloc hand back what it holds free: only where it can pay, and for a share of the time.

Freed small blocks stay with malloc until somebody calls malloc_trim, which walks the whole heap (30 to
140 ms for half a GiB) while other threads that allocate may wait. So it is asked first how much there is to
return, and trims keep to `SHARE` of the time, more of it the shorter memory is. Where most of what comes in
is large, malloc is told once to map large blocks one by one, so that they go back when freed. Bound: that
share, and one question to malloc in `ASK_EVERY` seconds or a hundredth of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

Level = Literal["calm", "soft", "hard"]

ASK_EVERY = 0.25  # s: between two questions what malloc holds free
SHARE: dict[Level, float] = {"calm": 1 / 50, "soft": 1 / 5, "hard": 1.0}  # of the time may go into trims

# Bytes: the size from which blocks are to be mapped. Each new one then pays for the faults of its pages,
# which a reused one does not; that would weigh even more with smaller ones, of which programs have more.
LARGE = 1 << 20
MAPPINGS = 1 << 14  # there may be of those: Linux grants a process 65530 (vm.max_map_count)
ENOUGH = 3  # large values must have come in lately,
FADE = 0.98  # and as many inserts count, on average, as 1 / (1 - FADE)


class Malloc(Protocol):
    """What is needed of `ebbcache.governor.allocator`, or of a stand-in for tests."""

    def free_bytes(self) -> int:
        """Return the bytes that malloc holds free."""
        ...

    def trim(self, at_once: bool = False) -> None:
        """Have malloc return what it can; with `at_once` nothing else runs meanwhile."""
        ...

    def map_from(self, size: int) -> bool:
        """Have malloc map blocks of `size` bytes or more by themselves; False where that is not to be."""
        ...


class Heap:
    """malloc's free memory, of which a trim would return a part. Amounts are bytes, times seconds."""

    def __init__(self, malloc: Malloc, timer: Callable[[], float]) -> None:
        self._malloc = malloc
        self._timer = timer
        self._ask_at = self._trimmed_until = float("-inf")
        self.took = 0.0  # by the last trim
        self._idle = self._hollow = 0
        self._bytes = self._large = self._count = 0.0  # that came in lately; in large values; of these
        self.mapped_from: int | None = None  # bytes; 0: that is not ours to say

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

    def came_in(self, size: int) -> None:
        """Take note of a value of `size` bytes that an insert brought when it had to look.

        Which it has to the likelier, the larger the value: the sums are those of bytes, not of values.
        """
        large = size >= LARGE
        self._bytes = self._bytes * FADE + size
        self._large = self._large * FADE + size * large
        self._count = self._count * FADE + large

    def map_large(self, limit: int) -> int:
        """Have large blocks mapped by themselves, if most that comes in is such; return from what size on.

        Done once; 0 if it is not to be. All that may be in memory, `limit`, takes few enough mappings.
        """
        if self.mapped_from is not None or self._count < ENOUGH or 2 * self._large < self._bytes:
            return 0
        size = max(LARGE, limit // MAPPINGS)
        self.mapped_from = size if self._malloc.map_from(size) else 0
        return self.mapped_from
