"""How far a cache's value densities can be trusted: what they promised, beside what came.

A density says that an entry which had `hits` and idles for `age` is used again at a rate of about
``hits / age``. Within a cache only the order counts; among caches that share a target the promise itself
does, and there are caches that never keep it: each key is asked for twice, soon, and never again. So each
tally picks some of the coldest entries, and the next one looks which were used meanwhile. The hits found,
over those that were promised (the integral of that rate, as in an estimate of a hazard with censoring:
Cox and Oakes, Analysis of Survival Data, 1984), scale the densities of the whole cache. Mostly a 16th is
found, since what is cold is mostly never used again; that is what counts as 1. Bounds: 64 entries a tally,
1.5 KiB a cache that took part in one; hits pay nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ebbcache.store.density import SATURATION, YOUNGEST
from ebbcache.store.entry import Entry

WATCHED = 64
"""Entries that are looked at again, at the most."""
COLDEST = 4
"""They are of the coldest one in so many."""
TYPICAL = 1 / 16
"""Hits found for each promised that count as trustworthy."""
DOUBT = 5.0
"""Promised hits without which nothing is learnt: as many more count as kept."""
MEMORY = 1000.0
"""Hits promised and found that are remembered; of more, in proportion."""
MOST = 2.0
"""What a density is scaled by at the most; at the least, that is about `DOUBT / MEMORY`."""


class Trust:
    """What one cache's coldest entries promised and what was found."""

    __slots__ = ("found", "looked", "promised", "watched")

    def __init__(self) -> None:
        self.found = 0.0
        self.promised = 0.0
        self.looked = 0.0
        """When the last tally was, on the shared clock."""
        self.watched: list[tuple[int, float, float]] = []
        """Serial, hits and stamp of entries at that time, by serial."""

    def factor(self, living: Callable[[int], Entry[Any, Any] | None], now: float) -> float:
        """Look at what is watched, and return what densities are to be multiplied with."""
        found, promised, looked = self.found, self.promised, self.looked
        for serial, hits, stamp in self.watched:
            entry = living(serial)
            if entry is None:
                continue
            until = now
            if (uses := entry.hits - hits) > 0.0:
                found += 1.0
                until = looked + (entry.stamp - looked) / uses  # the first of several, about
            before = max(looked - stamp, YOUNGEST)
            if until - stamp > before:
                promised += min(hits, SATURATION) * math.log((until - stamp) / before)
        if (total := found + promised) > MEMORY:
            found *= MEMORY / total
            promised *= MEMORY / total
        self.found, self.promised, self.watched = found, promised, []
        return min(MOST, (found / TYPICAL + DOUBT) / (promised + DOUBT))

    def watch(self, entries: Sequence[Entry[Any, Any]], levels: Sequence[int], now: float) -> None:
        """Watch some of the coldest of `entries`, of which these are the classes of density."""
        coldest = sorted(levels)[: max(1, len(levels) // COLDEST)]
        cold = [
            (entry.serial, entry.hits, entry.stamp)
            for entry, level in zip(entries, levels, strict=True)
            if coldest and level <= coldest[-1]
        ]
        self.watched = sorted(cold[:: -(-len(cold) // WATCHED) or 1])
        self.looked = now
