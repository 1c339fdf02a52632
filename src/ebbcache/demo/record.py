"""The demo's time line: what memory and the hit ratios were, a few times a second.

Counts are kept as running totals, and a ratio is the difference between two samples, so that no request
is lost between them. Bound: a hit ratio shown for a moment is that of the last `WINDOW` seconds.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

WINDOW = 2.0
"""Seconds over which a hit ratio is taken; less is noise, more hides what the neighbour does."""


class Counts(NamedTuple):
    """Running totals of the service: requests, and how many of them each cache answered."""

    requests: int = 0
    hits: int = 0
    lru_hits: int = 0
    same_hits: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the process stands, in bytes, and how many reclaims there have been.

    `fixed` is what the LRU cache of fixed size would hold, were it no shadow (see load.py).
    """

    limit: int
    usage: int
    cached: int
    neighbour: int
    fixed: int = 0
    soft: int = 0
    hard: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment, `t` seconds after the start; the three ratios are None where nothing was requested."""

    t: float
    standing: Standing
    counts: Counts
    ratio: float | None
    lru_ratio: float | None
    same_ratio: float | None

    @property
    def others(self) -> int:
        """Bytes of the process that are neither cached nor the neighbour's."""
        return max(0, self.standing.usage - self.standing.cached - self.standing.neighbour)

    def as_dict(self) -> dict[str, float | int | None]:
        """This sample for a JSON time line; `others` includes the neighbour, as the governor sees it."""
        standing = self.standing
        return {
            "t": round(self.t, 3),
            "limit": standing.limit,
            "usage": standing.usage,
            "cached": standing.cached,
            "others": max(0, standing.usage - standing.cached),
            "neighbour": standing.neighbour,
            "fixed_lru_cached": standing.fixed,
            "requests": self.counts.requests,
            "hit_ratio": _rounded(self.ratio),
            "fixed_lru_hit_ratio": _rounded(self.lru_ratio),
            "fixed_same_policy_hit_ratio": _rounded(self.same_ratio),
            "soft_reclaims": standing.soft,
            "hard_reclaims": standing.hard,
        }


class Recorder:
    """Collects samples in order of time."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def add(self, t: float, standing: Standing, counts: Counts) -> Sample:
        """Append and return the sample for `t` seconds after the start. O(log samples)."""
        at = bisect_left(self.samples, t - WINDOW, key=lambda sample: sample.t)
        before = self.samples[at].counts if at < len(self.samples) else Counts()
        asked = counts.requests - before.requests
        sample = Sample(
            t,
            standing,
            counts,
            _ratio(counts.hits - before.hits, asked),
            _ratio(counts.lru_hits - before.lru_hits, asked),
            _ratio(counts.same_hits - before.same_hits, asked),
        )
        self.samples.append(sample)
        return sample


def _ratio(hits: int, asked: int) -> float | None:
    return hits / asked if asked else None


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 4)
