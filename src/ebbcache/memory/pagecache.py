"""How much of a group's usage is page cache that the kernel can drop, asked no more often than it matters.

memory.stat takes longer to read than all else together: 10 microseconds, more on v2 and with many
processors. While headroom is not short and usage stands still, as it does with caches at their cap, what it
said a moment ago is taken. Bound: what may be wrong is what became undroppable meanwhile (dirty, or mapped
and used again) without usage changing, which is what happens in `FRESH` seconds, and only while more than a
sixteenth of the limit is left.
"""

from __future__ import annotations

from collections.abc import Callable

from ebbcache.memory.files import Kept

FRESH = 0.01  # s


class PageCache:
    """What can be dropped of one group's usage; `droppable` reads that out of memory.stat."""

    __slots__ = ("_at", "_bytes", "_droppable", "_stat", "_usage")

    def __init__(self, stat: Kept, droppable: Callable[[bytes], int]) -> None:
        self._stat = stat
        self._droppable = droppable
        self._at = float("-inf")
        self._usage = self._bytes = 0

    def less(self, usage: int, limit: int, now: float | None) -> int:
        """Return the group's `usage` less what can be dropped; without `now` (seconds), of this moment."""
        left = usage - self._bytes
        if (
            now is None
            or not 0.0 <= now - self._at < FRESH
            or abs(usage - self._usage) > limit >> 8
            or limit - left < limit >> 4
        ):
            self._bytes = self._droppable(self._stat.read())
            self._at = float("-inf") if now is None else now
            self._usage, left = usage, usage - self._bytes
        return left if left > 0 else 0
