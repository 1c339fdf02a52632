"""Replay a trace through one cache and count what it missed, in objects, bytes and cost.

A contender is two functions: `get(key)`, None for a miss, and `put(key, size, cost)` after a miss. Time is
the number of the request, told by an injected clock: a cache reads it when it inserts, as in a real
program, and hits in between are stamped with the last reading, as in a real program too. So a replay takes
the same decisions on any machine. Bound: one pass; the cost of a contender is its own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from benchmarks.traces.loading import Trace
from ebbcache.clock import clock

REQUEST = 1e-3
"""Seconds from one request to the next, as the injected clock tells them. Only ratios of ages matter."""
SIZES = {"0.1 %": 0.001, "1 %": 0.01, "10 %": 0.1}
"""The sizes of caches, as shares of the bytes of the working set."""


@dataclass(frozen=True)
class Missed:
    """The shares of requests, of their bytes and of their cost that a cache could not answer."""

    objects: float
    bytes: float
    cost: float

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 6) for name, value in asdict(self).items()}


class Pair(NamedTuple):
    """A contender: its two functions."""

    get: Callable[[int], Any]
    put: Callable[[int, int, float], Any]


class Time:
    """The number of the present request, as seconds."""

    __slots__ = ("request",)

    def __init__(self) -> None:
        self.request = 0

    def __call__(self) -> float:
        return self.request * REQUEST


@contextmanager
def injected_clock() -> Generator[Time]:
    """Let ebbcache's clock tell the number of the request while the block runs."""
    before, time = clock.timer, Time()
    clock.timer = time
    clock.tick()
    try:
        yield time
    finally:
        clock.timer = before
        clock.tick()


def costs_of(trace: Trace, weigh: str = "own") -> Sequence[float]:
    """Return seconds by object: the trace's `own` (1 where it tells none), or `bytes`: in proportion."""
    if weigh == "bytes":
        return [size * 1e-6 for size in trace.sizes]
    if trace.costs is None:
        return [1.0] * len(trace.sizes)
    return [cost * 1e-6 for cost in trace.costs]


def replay(trace: Trace, make: Callable[[], Pair], costs: Sequence[float] | None = None) -> Missed:
    """Send all requests of `trace` through what `make` answers and return what was missed."""
    keys, sizes = trace.keys, trace.sizes
    if costs is None:
        costs = costs_of(trace)
    misses: dict[int, int] = {}
    count = misses.get
    with injected_clock() as time:
        get, put = make()
        for request, key in enumerate(keys):
            if get(key) is None:
                time.request = request
                put(key, sizes[key], costs[key])
                misses[key] = count(key, 0) + 1
    return tally(trace, misses, costs)


def tally(trace: Trace, misses: dict[int, int], costs: Sequence[float]) -> Missed:
    """Return what so many misses by object come to, as shares of all requests."""
    sizes = trace.sizes
    all_bytes = all_cost = 0.0
    for key in trace.keys:
        all_bytes += sizes[key]
        all_cost += costs[key]
    return Missed(
        sum(misses.values()) / max(1, len(trace.keys)),
        sum(sizes[key] * n for key, n in misses.items()) / max(1.0, all_bytes),
        sum(costs[key] * n for key, n in misses.items()) / max(1e-12, all_cost),
    )
