"""Play memory pressure in tests: hours of it in milliseconds, on an injected clock, with no memory used.

`pressure` is the short way: one squeeze while a block runs. `machine` is the long one: a make-believe
machine whose other memory use and time move only when told to. Both stand in for the process's real memory,
so caches, shrinkers and decorators are the real ones; leaving the block brings the real governor back.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from ebbcache import engine, governor
from ebbcache.clock import clock
from ebbcache.governor.account import Marks
from ebbcache.governor.deciding import Governor
from ebbcache.memory import Reading
from ebbcache.store import Allowance
from ebbcache.units import parse_bytes

__all__ = ["Machine", "machine", "pressure"]


class NoMalloc:
    """The allocator of a make-believe machine: what it retains is the machine's to play."""

    def free_bytes(self) -> int:
        """Return 0: nothing could be trimmed."""
        return 0

    def trim(self, at_once: bool = False) -> None:
        """Do nothing: the test program's real heap is none of a played machine's business."""

    def map_from(self, size: int) -> bool:
        """Return False: nor is how it serves large blocks."""
        return False


class Machine:
    """A make-believe machine. Set `limit` and `others` (bytes) at will; then `advance` or `look`.

    `returns` is the share of the bytes freed by caches that the kernel gets back (1.0: all); the rest is
    retained by the allocator and reused by later inserts, as small objects are in reality.
    """

    def __init__(self, limit: int, others: int = 0, *, returns: float = 1.0, soft: bool = False) -> None:
        self.limit = limit
        self.others = others
        self.returns = returns
        self.soft = soft
        self.time = clock.timer()  # entries made before the block keep their age
        self.governor = Governor(
            self, timer=lambda: self.time, allowance=governor.allowance, malloc=NoMalloc()
        )
        self._cached = engine.sizes()
        self._kept = 0.0

    def read(self) -> Reading:
        """Return what a real machine's memory would say now."""
        cached = engine.sizes()
        moved = cached - self._cached
        self._cached = cached
        self._kept = max(0.0, self._kept - moved if moved > 0 else self._kept - moved * (1 - self.returns))
        usage = self.others + cached + int(self._kept)
        return Reading(self.limit, usage, self.limit - usage, "make-believe machine", self.soft)

    @property
    def headroom(self) -> int:
        """The bytes left under the limit; below 0 a real program would have been killed."""
        return self.read().headroom

    def look(self) -> None:
        """Let the governor read and act once."""
        self.governor.look()

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, with the governor looking as often as it wants to."""
        end = self.time + seconds
        while self.time < end:
            self.time = min(end, self.time + self.governor.interval())
            self.governor.look()


@contextmanager
def machine(
    limit: int | str, others: int | str = 0, *, returns: float = 1.0
) -> Generator[Machine, None, None]:
    """Stand a make-believe machine of `limit` bytes in for the real one while the block runs.

    >>> import ebbcache
    >>> with machine("64 MiB") as m:
    ...     cache = ebbcache.LRUCache()
    ...     for n in range(100):
    ...         cache[n] = bytes(1 << 20)
    ...     full = len(cache)
    ...     m.others = 40 << 20
    ...     m.advance(1.0)
    ...     squeezed = len(cache)
    >>> 32 < full < 64, squeezed < 24
    (True, True)
    """
    played = Machine(parse_bytes(limit, "limit"), parse_bytes(others, "others"), returns=returns)
    with _stand_in(played):
        played.look()
        yield played


@contextmanager
def pressure(headroom: int | str, *, hard: bool = False) -> Generator[Machine, None, None]:
    """Squeeze this process's caches and shrinkers as if only `headroom` bytes of memory were left.

    On entry they are asked, softly or `hard`, for as much again as `headroom` (at the least a sixteenth of
    what they hold), and while the block runs they cannot grow into more. Gives the `Machine`.
    """
    left = parse_bytes(headroom, "headroom")
    held = engine.sizes()
    played = Machine(held + left)
    wanted = left + max(left, held // 16, 1)
    played.governor.sight.marks_override = Marks(left + 1 if hard else 0, left + 1, wanted)
    with _stand_in(played):
        played.look()
        yield played


@contextmanager
def _stand_in(played: Machine) -> Generator[None, None, None]:
    watcher = governor.the_watcher
    stood, timer, was_played = watcher.governor, clock.timer, watcher.played
    watcher.played = True  # first of all, and taken back last: the thread never looks at what is played
    watcher.governor = played.governor
    # A look that another thread is in the middle of may end later: what it grants is nobody's then.
    stood.allowance = Allowance()
    clock.timer = lambda: played.time
    governor.allowance.left = 0
    clock.tick()
    try:
        yield
    finally:
        watcher.governor, clock.timer = stood, timer
        played.governor.allowance, stood.allowance = Allowance(), governor.allowance
        governor.allowance.left = 0
        clock.tick()
        watcher.played = was_played
