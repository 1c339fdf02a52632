"""One coarse clock for the whole process, so that a cache hit need not read one of its own.

A hit stamps its entry with `clock.now`, an attribute load. The value is refreshed by whatever is slow
enough to afford it: every insert and every look of the governor. Between two of those nothing can be
evicted, so a finer clock could not change a decision. Bound: a stamp is at most one insert or one look
(a second at the longest) old.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """`now` is the time in seconds at the last `tick()`; `timer` is the true clock behind it."""

    __slots__ = ("now", "timer")

    def __init__(self, timer: Callable[[], float] = time.monotonic) -> None:
        self.timer = timer
        self.now = timer()

    def tick(self) -> float:
        """Read the true clock, remember what it says as `now`, and return it."""
        now = self.now = self.timer()
        return now


clock = Clock()
