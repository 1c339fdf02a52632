"""Many caches under one budget: who should give when memory is short?

Real caches, and ebbcache's real engine, which draws one waterline through all of them by value density.
Beside it: *static*, each has an equal part for itself; *proportional*, all give in proportion to what they
hold; *global LRU*, whoever has the oldest tail gives (CacheLib's tail age), which is one LRU over all keys;
*oracle*, each has the part that turned out best in hindsight. All but global LRU choose among their own
entries by density, so that only the division is compared. The budget is the same throughout, or changes in
five steps. Bound: the engine is asked for a 64th of the budget at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.section import Options, Part, Results, Verdict
from benchmarks.traces.contenders import size_is_value
from benchmarks.traces.loading import OWN, Trace, load, names
from benchmarks.traces.replay import SIZES, injected_clock
from ebbcache import engine
from ebbcache.caches import DensityCache, LRUCache
from ebbcache.shrinkers import register_shrinker

TITLE = "Many caches, one budget"
STEPS = (1.0, 0.5, 1.5, 0.75, 1.25)
"""What becomes of a changing budget, in parts of the run of equal length."""
QUICK = 100_000
FEW = 8
"""Up to so many caches, an oracle weighs every division in sixteenths."""
TIMEOUT = 7200.0
"""Seconds for a part. It takes minutes on a quiet machine; what it answers is the same on any."""
GRAIN = 64
"""The engine is asked for one such part of the budget at a time."""
MOST = {"0.1 %": 0.446, "1 %": 0.347, "10 %": 0.323}
"""The cost that the functions of memo-sympy were to miss at the most, under a budget that stays."""
MIX = {
    # trace: (bytes of an object and seconds of a miss, where the trace tells none; requests)
    "tw52": (0, 0.001, 400_000),
    "bu98-web": (0, 0.1, 66_987),
    "scarab-recs": (2_000, 0.005, 400_000),
    "corda": (500, 0.02, 135_702),
    OWN: (0, 0.0, 400_000),
}
"""Five traces with sizes and costs of different orders of magnitude, spread over the same time."""


class Load(NamedTuple):
    """Requests to several caches: of each the cache and the object; of each object bytes and seconds."""

    requests: Sequence[tuple[int, int]]
    sizes: Sequence[Sequence[int]]
    costs: Sequence[Sequence[float]]

    @property
    def working_set(self) -> int:
        return sum(self.sizes[cache][key] for cache, key in set(self.requests))

    @property
    def cost(self) -> float:
        return sum(self.costs[cache][key] for cache, key in self.requests)


def functions(trace: Trace) -> Load:
    """Return a trace whose objects belong to several caches as a load on these."""
    if trace.caches is None or trace.costs is None:
        raise ValueError(f"trace {trace.name!r} tells no caches and costs")
    of = {name: at for at, name in enumerate(sorted(set(trace.caches)))}
    costs = [cost * 1e-6 for cost in trace.costs]
    requests = [(of[trace.caches[key]], key) for key in trace.keys]
    return Load(requests, [trace.sizes] * len(of), [costs] * len(of))


def mix(folder: Path) -> Load:
    """Return five traces as a load on five caches, each spread evenly over the run."""
    arrivals: list[tuple[float, int, int]] = []
    sizes: list[Sequence[int]] = []
    costs: list[Sequence[float]] = []
    for at, (name, (nbytes, seconds, requests)) in enumerate(MIX.items()):
        trace = load(name, folder).head(requests)
        sizes.append([nbytes] * len(trace.sizes) if nbytes else trace.sizes)
        costs.append(
            [seconds] * len(trace.sizes) if trace.costs is None else [cost * 1e-6 for cost in trace.costs]
        )
        arrivals += [(n / len(trace.keys), at, key) for n, key in enumerate(trace.keys)]
    arrivals.sort()
    return Load([(at, key) for _, at, key in arrivals], sizes, costs)


# ------------------------------------------------------------------------------------------------ divisions

Lookup = Callable[[int, int], Any]
Insert = Callable[[int, int, int, float], Any]
Resize = Callable[[int], Any]


class Division(NamedTuple):
    """Caches under a budget: how to look up, to insert, and to be told another budget."""

    get: Lookup
    put: Insert
    resize: Resize
    close: Callable[[], Any] = lambda: None


def _caches(count: int) -> list[DensityCache[int, int]]:
    return [DensityCache(sizeof=size_is_value, register=False, name=f"cache-{n}") for n in range(count)]


def by_engine(count: int, *, tallied: bool) -> Division:
    """Return caches that the engine shrinks: by the waterline, or without tallies in proportion to size."""
    caches = _caches(count)
    budget = total = 0
    handles = [
        register_shrinker(cache.name, cache.shrink, size=partial(_held, cache), tally=cache.tally)
        if tallied
        else register_shrinker(cache.name, cache.shrink, size=partial(_held, cache))
        for cache in caches
    ]

    def fit() -> None:
        nonlocal total
        total = sum([cache.nbytes for cache in caches])
        while total > budget:
            # Hard: in soft passes whoever was slow rests, and a busy machine would change what is decided.
            if not engine.reclaim(max(total - budget, budget // GRAIN), hard=True).freed:
                break
            total = sum([cache.nbytes for cache in caches])

    def put(at: int, key: int, size: int, cost: float) -> None:
        nonlocal total
        if size > budget:
            return
        caches[at].set(key, size, None, cost)
        total += size
        if total > budget:
            fit()

    def resize(nbytes: int) -> None:
        nonlocal budget
        budget = nbytes
        fit()

    def close() -> None:
        for handle in handles:
            handle.unregister()

    return Division(lambda at, key: caches[at].get(key), put, resize, close)


def _held(cache: DensityCache[int, int]) -> int:
    return cache.nbytes


def by_parts(parts: Sequence[float]) -> Division:
    """Return caches of which each has a fixed part of the budget for itself."""
    caches = _caches(len(parts))
    limits = [0] * len(parts)

    def put(at: int, key: int, size: int, cost: float) -> None:
        cache = caches[at]
        if size > limits[at]:
            return
        cache.set(key, size, None, cost)
        if cache.nbytes > limits[at]:
            cache.shrink(cache.nbytes - limits[at])

    def resize(nbytes: int) -> None:
        for at, part in enumerate(parts):
            limits[at] = int(nbytes * part)
            if caches[at].nbytes > limits[at]:
                caches[at].shrink(caches[at].nbytes - limits[at])

    return Division(lambda at, key: caches[at].get(key), put, resize)


def by_tail_age() -> Division:
    """Return one LRU over the keys of all: who has the oldest tail gives."""
    cache: LRUCache[tuple[int, int], int] = LRUCache(sizeof=lambda key, value: value, register=False)
    budget = 0

    def put(at: int, key: int, size: int, cost: float) -> None:
        if size <= budget:
            cache[at, key] = size
            if cache.nbytes > budget:
                cache.shrink(cache.nbytes - budget)

    def resize(nbytes: int) -> None:
        nonlocal budget
        budget = nbytes
        if cache.nbytes > budget:
            cache.shrink(cache.nbytes - budget)

    return Division(lambda at, key: cache.get((at, key)), put, resize)


def oracle(work: Load, budget: int) -> list[float]:
    """Return the part of the budget for each cache that saves most: of sixteenths where caches are few.

    Many are offered a 256th, twice that, and so on up to all. Every cache is replayed alone with each of
    its parts; the best sum of savings is found exactly.
    """
    count = len(work.sizes)
    steps = 16 if count <= FEW else 256
    offered = range(steps + 1) if count <= FEW else [0, *(1 << n for n in range(9))]
    alone: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for at, key in work.requests:
        alone[at].append((0, key))
    best: list[tuple[float, list[int]]] = [(0.0, [])] * (steps + 1)
    for requests, sizes, costs in zip(alone, work.sizes, work.costs, strict=True):
        load = Load(requests, [sizes], [costs])
        saved = {0: 0.0}
        for parts in offered[1:]:
            share = missed(load, partial(by_parts, [parts / steps]), budget, (1.0,))
            saved[parts] = load.cost * (1.0 - share)
        best = [
            max(
                (best[total - own][0] + gain, [*best[total - own][1], own])
                for own, gain in saved.items()
                if own <= total
            )
            for total in range(steps + 1)
        ]
    return [own / steps for own in best[steps][1]]


# -------------------------------------------------------------------------------------------------- running


def missed(work: Load, divide: Callable[[], Division], budget: int, steps: Sequence[float]) -> float:
    """Return the share of the cost that caches under a budget miss, which changes in `steps`."""
    costs, sizes = work.costs, work.sizes
    length = max(1, math.ceil(len(work.requests) / len(steps)))
    lost = 0.0
    with injected_clock() as time:
        division = divide()
        get, put = division.get, division.put
        try:
            for number, (at, key) in enumerate(work.requests):
                if number % length == 0:
                    time.request = number
                    division.resize(max(1, int(budget * steps[number // length])))
                if get(at, key) is None:
                    time.request = number
                    lost += costs[at][key]
                    put(at, key, sizes[at][key], costs[at][key])
        finally:
            division.close()
    return lost / max(work.cost, 1e-12)


def measure(what: str, size: str, folder: Path | None, requests: int | None = None) -> dict[str, Any]:
    """Divide one budget in every way; `what` is the own trace's functions, or the mix of five traces."""
    if what == OWN:
        trace = load(OWN)
        work = functions(trace if requests is None else trace.head(requests))
    elif folder is None:
        raise ValueError("the mix of traces needs a folder of traces")
    else:
        work = mix(folder)
    budget = int(work.working_set * SIZES[size])
    count = len(work.sizes)
    ways: dict[str, Callable[[], Division]] = {
        "waterline": partial(by_engine, count, tallied=True),
        "static": partial(by_parts, [1 / count] * count),
        "proportional": partial(by_engine, count, tallied=False),
        "global LRU": by_tail_age,
    }
    if requests is None:
        ways["oracle"] = partial(by_parts, oracle(work, budget))
    return {
        "caches": count,
        "requests": len(work.requests),
        "budget": budget,
        "the same": {way: round(missed(work, divide, budget, (1.0,)), 5) for way, divide in ways.items()},
        "changing": {way: round(missed(work, divide, budget, STEPS), 5) for way, divide in ways.items()},
    }


def parts(options: Options) -> dict[str, Part]:
    """Return a part for each load and size."""
    found: dict[str, Part] = {}
    sizes = ["1 %"] if options.quick else list(SIZES)
    for size in sizes:
        run = partial(measure, OWN, size, None, QUICK if options.quick else None)
        found[f"{OWN} {size}"] = Part(run, timeout=TIMEOUT)
    if not options.quick and options.traces is not None and MIX.keys() <= set(names(options.traces)):
        for size in sizes:
            found[f"mix {size}"] = Part(partial(measure, "mix", size, options.traces), timeout=TIMEOUT)
    return found


def verdicts(results: Results) -> list[Verdict]:
    """Return the waterline beside every other division that could be had, and what was to be reached."""
    found: list[Verdict] = []
    for part, answer in results.items():
        for budget in ("the same", "changing"):
            ours = answer[budget]["waterline"]
            found += [
                Verdict(f"{part}, budget {budget}: cost missed", ours, way, theirs, "of cost")
                for way, theirs in answer[budget].items()
                if way not in ("waterline", "oracle")
            ]
        what, _, size = part.partition(" ")
        if what == OWN and answer["requests"] > QUICK:
            ours = answer["the same"]["waterline"]
            found.append(Verdict(f"{part}: all functions", ours, "target", MOST[size], "of cost"))
    return found


def report(results: Results) -> str:
    """Return the table."""
    lines = [
        "Several caches share one budget, a share of the bytes of all their objects. Shown is the share of"
        " cost missed, weighed by what a miss of each costs. *memo-sympy* are its 55 memoised functions;"
        " *mix* are five traces with values of 0.2 to 2,000 kB and misses of 1 to 100 ms, and microseconds."
        " A changing budget is 100, 50, 150, 75 and 125 % of it, a fifth of the run each.",
        "",
        "| | budget | waterline | static | proportional | global LRU | oracle division |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for part, answer in results.items():
        for budget in ("the same", "changing"):
            cells = [
                f"{answer[budget][way]:.3f}" if way in answer[budget] else ""
                for way in ("waterline", "static", "proportional", "global LRU", "oracle")
            ]
            lines.append(f"| {part} | {budget} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def plots(results: Results, folder: Path) -> None:
    """Nothing to draw: the table is small."""
