"""Answers that were on their way when their entry was invalidated: too old to be kept.

A call that reads the old state of the world and stores its answer after somebody else has changed the world
and invalidated the entry would make the old answer stay, perhaps for good. So each invalidation leaves its
time under the key's hash, and a call that began before that time does not store what it found. Hashes, not
keys: nothing is kept alive, nothing compared; two keys with one hash cost a store that would have been
fine.

Bound: O(1) for each invalidation and each miss; at most `MOST` marks, beyond which the calls under way at
that time are not stored, whatever their keys.
"""

from __future__ import annotations

import math
from time import perf_counter
from typing import Final

MOST: Final = 256
"""Marks kept one by one."""


class Invalidated:
    """When a function's entries were last invalidated, in the seconds of `time.perf_counter`."""

    __slots__ = ("_all", "_marks", "last")

    def __init__(self) -> None:
        self._all = -math.inf
        self._marks: dict[int, float] = {}
        self.last = -math.inf
        """The time of the last invalidation: who began later need not ask further."""

    def mark(self, thing: object) -> None:
        """Note that *thing*, a key or an owner of keys, is invalid from now on."""
        h = hash(thing)
        marks = self._marks
        marks[h] = self.last = perf_counter()
        if len(marks) > MOST:
            self.mark_all()
            before = self._all
            for h, when in list(marks.items()):
                # No thread can come in between the test and the deletion: there is no call.
                if when <= before and h in marks and marks[h] == when:
                    del marks[h]

    def mark_all(self) -> None:
        """Note that everything is invalid from now on."""
        self._all = self.last = perf_counter()

    def since(self, began: float, *things: object) -> bool:
        """Say whether one of *things* was invalidated at or after the time *began*."""
        return self._all >= began or any(
            self._marks.get(hash(thing), -math.inf) >= began for thing in things
        )
