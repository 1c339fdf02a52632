"""What a run of the demo comes to, as lines for people and as one JSON object for machines.

Bound: everything in it was counted or read during the run; nothing is extrapolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ebbcache.demo.live import percent
from ebbcache.demo.load import Service
from ebbcache.demo.record import Sample
from ebbcache.units import format_bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one cache did with the requests; `saved_seconds` is the work that its hits spared."""

    hits: int
    hit_ratio: float
    saved_seconds: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a run; amounts are bytes. `fixed_*` were shadows of `fixed_bytes`, see `demo.load`.

    `greedy_excess` is by how much a cache fixed at `cached_max` would have passed the limit; below 0, not.
    """

    requests: int
    limit: int
    peak_usage: int
    passed_limit: bool
    neighbour_peak: int
    cached_max: int
    cached_min_after_max: int
    greedy_excess: int
    soft_reclaims: int
    hard_reclaims: int
    fixed_bytes: int
    ebbcache: Outcome
    fixed_lru: Outcome
    fixed_same_policy: Outcome

    @classmethod
    def of(
        cls,
        samples: Sequence[Sample],
        service: Service,
        *,
        fixed_bytes: int,
        limit: int,
        base: int,
        peak: int,
    ) -> Summary:
        """Sum up `samples` (at least one) and what `service` counted.

        `base` is the usage before the run, `peak` the highest of it.
        """
        counts, last = service.counts, samples[-1].standing
        cached = [sample.standing.cached for sample in samples]
        neighbour_peak = max(sample.standing.neighbour for sample in samples)
        top = cached.index(max(cached))
        outcomes = [
            Outcome(hits, round(hits / max(1, counts.requests), 4), round(saved, 3))
            for hits, saved in zip(
                (counts.hits, counts.lru_hits, counts.same_hits), service.saved, strict=True
            )
        ]
        return cls(
            requests=counts.requests,
            limit=limit,
            peak_usage=peak,
            passed_limit=peak > limit,
            neighbour_peak=neighbour_peak,
            cached_max=cached[top],
            cached_min_after_max=min(cached[top:]),
            greedy_excess=base + neighbour_peak + cached[top] - limit,
            soft_reclaims=last.soft,
            hard_reclaims=last.hard,
            fixed_bytes=fixed_bytes,
            ebbcache=outcomes[0],
            fixed_lru=outcomes[1],
            fixed_same_policy=outcomes[2],
        )

    def as_dict(self) -> dict[str, Any]:
        """This summary as plain data for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """This summary as people read it."""
        fixed = f"fixed at {format_bytes(self.fixed_bytes)}"
        rows = (
            ("ebbcache, no size set", self.ebbcache),
            (f"same policy, {fixed}", self.fixed_same_policy),
            (f"LRU, {fixed}", self.fixed_lru),
        )
        width = max(len(name) for name, _ in rows)
        held = "passed it" if self.passed_limit else "never passed it"
        return [
            f"{self.requests:,} requests under a limit of {format_bytes(self.limit)}; usage {held}, "
            f"its highest was {format_bytes(self.peak_usage)}.",
            f"The neighbour took up to {format_bytes(self.neighbour_peak)}. Cached: at most "
            f"{format_bytes(self.cached_max)}, then down to {format_bytes(self.cached_min_after_max)}; "
            f"{self.soft_reclaims} soft and {self.hard_reclaims} hard reclaims.",
            *(
                [
                    f"A cache fixed at those {format_bytes(self.cached_max)} would have passed the limit "
                    f"by {format_bytes(self.greedy_excess)}."
                ]
                if self.greedy_excess > 0
                else []
            ),
            "",
            *(
                f"  {name:<{width}}  {percent(outcome.hit_ratio):>6} hits, "
                f"{outcome.saved_seconds:7.1f} s of work saved"
                for name, outcome in rows
            ),
            "",
            "The fixed size is what the limit leaves when the neighbour takes most, less a tenth of it.",
            "The fixed caches are shadows: given the same requests, sizes and costs, they hit and miss as",
            "full ones would, but hold no documents, so as not to take memory from the one on show.",
        ]
