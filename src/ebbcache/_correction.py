"""What a cache's believed sizes are worth: victims are measured again as they go, and an average kept.

An entry is weighed once, when it comes. What it shared then may be its own when it goes, what was its own
may be shared by then, and it may have been changed. One victim in `EVERY` is measured once more, after it
was unlinked and those before it were dropped, with no variable of a caller left to allow for; the sums of
freed and believed bytes forget with a half-life of 89 samples: what a shared part takes goes with the last
entry that has it, so single samples lie far apart. Their ratio is a factor on top of the cache's account;
no entry's size is rewritten. Bound: `SECONDS` of measuring in one shrink, nothing on other paths.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, Final

from ebbcache.store import Entry

EVERY: Final = 4
"""One victim in as many is measured again: where values share parts samples lie far apart, and with one in
16 what was freed in a run was off by more than a tenth four times in eighteen."""

SECONDS: Final = 0.002
"""How long measuring may take in one shrink, before the last measurement."""

_FORGET: Final = 1 - 1 / 128
_PRIOR: Final = 4  # samples that the belief at the start is worth
_LEAST: Final = 1 / 16


class Correction:
    """The factor between what a cache believes it frees and what it does free."""

    __slots__ = ("_believed", "_count", "_freed", "factor")

    def __init__(self) -> None:
        self.factor = 1.0
        """Freed bytes for each believed one: 1.0 until there is reason to think otherwise."""
        self._believed = 0.0
        self._freed = 0.0
        self._count = 0

    def drop(self, victims: list[Entry[Any, Any]], weigh: Callable[[Entry[Any, Any]], int]) -> None:
        """Let go of `victims`, which is empty then, one after the other, and learn from some of them.

        `weigh` measures an entry as it is now. Each goes before the next is looked at, so that the last one
        to refer to a part is charged with it.
        """
        victims.reverse()
        limit = None
        while victims:
            entry = victims.pop()
            self._count += 1
            if self._count % EVERY != 1 or entry.size <= 0:
                continue
            now = perf_counter()
            if limit is None:
                limit = now + SECONDS
            if now < limit:
                self._learn(entry.size, weigh(entry))

    def _learn(self, believed: int, freed: int) -> None:
        if not self._believed:
            self._believed = self._freed = float(_PRIOR * believed)
        self._believed = self._believed * _FORGET + believed
        self._freed = self._freed * _FORGET + freed
        self.factor = max(_LEAST, self._freed / self._believed)
