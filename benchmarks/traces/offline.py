"""What could be reached by somebody who knows the future: the ends of the scale.

`belady` is MIN (Belady 1966): on objects of one size nobody misses less. `bound` is PFOO-L (Berger,
Beckmann, Harchol-Balter, SIGMETRICS 2018): each hit needs its object's bytes from one request to the next;
take the hits that are cheapest in bytes x time (for each second of cost) until all the room there ever was
is spent. It ignores when the room is free, so nobody can miss less, and mostly nobody can reach it. `floor`
is what the first request of each object costs. Bounds: O(n log n) for n requests.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from benchmarks.traces.loading import Trace

NEVER = 1 << 62


def next_uses(keys: Sequence[int]) -> list[int]:
    """Return for each request the number of the next one for the same object, or NEVER."""
    after = [NEVER] * len(keys)
    seen: dict[int, int] = {}
    for at in range(len(keys) - 1, -1, -1):
        after[at] = seen.get(keys[at], NEVER)
        seen[keys[at]] = at
    return after


def belady(trace: Trace, entries: int) -> float:
    """Return the least share of requests that a cache of `entries` objects misses.

    A new object that is wanted later than all that are kept is not kept itself.

    >>> belady(Trace("loop", [0, 1, 2, 0, 1, 2], range(6), [1, 1, 1]), 2)  # 0 1 2, then 2 again
    0.6666666666666666
    """
    after = next_uses(trace.keys)
    kept: dict[int, int] = {}
    farthest: list[tuple[int, int]] = []
    missed = 0
    for at, key in enumerate(trace.keys):
        missed += key not in kept
        kept[key] = after[at]
        heapq.heappush(farthest, (-after[at], key))
        while len(kept) > entries:
            use, one = heapq.heappop(farthest)
            if kept.get(one) == -use:
                del kept[one]
    return missed / max(1, len(trace.keys))


def bound(trace: Trace, nbytes: int, costs: Sequence[float] | None = None) -> float:
    """Return a share of cost that every cache of `nbytes` misses at least; without `costs`, of requests.

    >>> bound(Trace("loop", [0, 1, 0, 1], range(4), [1, 1]), 1)
    0.5
    """
    sizes = trace.sizes
    if costs is None:
        costs = [1.0] * len(sizes)
    wanted: list[tuple[float, float, float]] = []
    last: dict[int, int] = {}
    total = 0.0
    for at, key in enumerate(trace.keys):
        cost = costs[key]
        total += cost
        before = last.get(key)
        last[key] = at
        if before is not None and sizes[key] <= nbytes and cost > 0:
            area = float(sizes[key]) * (at - before)
            wanted.append((area / cost, area, cost))
    wanted.sort()
    left = float(nbytes) * len(trace.keys)
    saved = 0.0
    for _, area, cost in wanted:
        if area > left:
            saved += cost * left / area  # a part of it: still a bound
            break
        left -= area
        saved += cost
    return (total - saved) / max(total, 1e-12)


def floor(trace: Trace, costs: Sequence[float] | None = None) -> float:
    """Return the share of cost (without `costs`, of requests) that first requests are.

    >>> floor(Trace("loop", [0, 1, 0, 1], range(4), [1, 1]))
    0.5
    """
    if costs is None:
        costs = [1.0] * len(trace.sizes)
    return sum(costs[key] for key in set(trace.keys)) / max(sum(costs[key] for key in trace.keys), 1e-12)
