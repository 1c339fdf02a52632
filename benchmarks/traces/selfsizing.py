"""A day of changing load: one cache that sizes itself, beside caches of fixed sizes.

A machine that `ebbcache.testing` plays, with the real governor, engine and cache: others take between a
fifth and four fifths of its memory, twice up and down a day, with a burst each hour. A self-sizing cache
takes what is left. A cache of a fixed size is what it is; where either and others come to more than the
machine has, the program is killed and starts again, with nothing cached. Requests are the project's own
trace, spread evenly over the day; its values count `SCALE` times their size, so that some are always
missed. What counts is the cost that was saved. The governor looks as often as it wants to.
Bound: some 100,000 looks.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.section import Options, Part, Results, Verdict
from benchmarks.traces.contenders import size_is_value
from benchmarks.traces.loading import OWN, Trace, load
from benchmarks.traces.replay import injected_clock
from ebbcache.caches import DensityCache
from ebbcache.testing import machine
from ebbcache.units import parse_bytes

TITLE = "A day of changing load"
LIMIT = parse_bytes("16 GiB", "limit")
"""What the machine has."""
SCALE = 1000
"""What the sizes of the trace, 154 MB in all, are multiplied with."""
FIXED = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8)
"""The fixed sizes, as shares of the machine."""
DAY = 86_400.0
STEP = 300.0
"""Seconds between two changes of the load."""
SPEED = 256 << 20
"""Bytes a second that others come and go by."""
TIMEOUT = 3600.0
"""Seconds for a part, which takes one minute on a quiet machine."""
MOMENT = 0.02
"""Seconds between two steps of such a change."""
QUICK = 60_000, 7200.0
"""Requests with `--quick`, and the seconds that they are spread over."""


def others(second: float) -> int:
    """Return the bytes that everything else takes at this time of the day."""
    wave = 0.5 - 0.3 * math.cos(4 * math.pi * second / DAY)
    burst = 0.1 if second % 3600 >= 3300 else 0.0  # the last five minutes of each hour
    return int(LIMIT * min(0.85, wave + burst))


def fixed(trace: Trace, share: float, day: float = DAY) -> dict[str, Any]:
    """Return the share of cost that a cache of a fixed size saves, and how often its program is killed."""
    assert trace.costs is not None
    saved = total = 0
    kills = 0
    with injected_clock() as time:
        cache: DensityCache[int, int] = DensityCache(
            maxbytes=int(LIMIT * share), sizeof=size_is_value, register=False
        )
        each = day / len(trace.keys)
        for number, key in enumerate(trace.keys):
            second = number * each
            cost = trace.costs[key]
            total += cost
            if cache.get(key) is not None:
                saved += cost
            else:
                time.request = int(second * 1000)
                cache.set(key, trace.sizes[key] * SCALE, None, cost * 1e-6)
            if cache.nbytes + others(second // STEP * STEP) > LIMIT:
                kills += 1
                cache.clear()
    return {"saved": saved / max(1, total), "killed": kills}


def itself(trace: Trace, day: float = DAY) -> dict[str, Any]:
    """Return the same of a cache that sizes itself, with the least and the largest size that it had."""
    assert trace.costs is not None
    saved = total = 0
    kills = 0
    sizes: list[int] = []
    with machine(LIMIT, others(0.0)) as played:
        cache: DensityCache[int, int] = DensityCache(sizeof=size_is_value)
        each = day / len(trace.keys)
        start = played.time
        for number, key in enumerate(trace.keys):
            while (second := played.time - start) < number * each:
                missing = others(second // STEP * STEP) - played.others
                most = int(SPEED * MOMENT)
                played.others += max(-most, min(most, missing))
                if played.headroom < 0:
                    kills += 1
                    cache.clear()
                played.advance(MOMENT if missing else max(MOMENT, number * each - second))
                if second >= len(sizes) * STEP:
                    sizes.append(cache.nbytes)
            cost = trace.costs[key]
            total += cost
            if cache.get(key) is not None:
                saved += cost
            else:
                cache.set(key, trace.sizes[key] * SCALE, None, cost * 1e-6)
        cache.clear()
    tenth = len(sizes) // 10  # until it has filled once, its size says nothing
    return {
        "saved": saved / max(1, total),
        "killed": kills,
        "least": min(sizes[tenth:]),
        "mean": sum(sizes) / len(sizes),
        "most": max(sizes),
    }


def measure(what: str, quick: bool) -> dict[str, Any]:
    """Play the day, or its beginning, for one cache: "itself", or a share of the machine."""
    trace, day = load(OWN), DAY
    if quick:
        requests, day = QUICK
        trace = trace.head(requests)
    return itself(trace, day) if what == "itself" else fixed(trace, float(what), day)


def parts(options: Options) -> dict[str, Part]:
    """Return a part for each cache."""
    sizes = FIXED[::4] if options.quick else FIXED
    whats = ("itself", *map(str, sizes))
    return {what: Part(partial(measure, what, options.quick), timeout=TIMEOUT) for what in whats}


def verdicts(results: Results) -> list[Verdict]:
    """Return the self-sizing cache beside each fixed size."""
    mine = results.get("itself")
    if not mine:
        return []
    return [
        Verdict("a day: cost saved", mine["saved"], f"{float(what):.0%} fixed", each["saved"], "", "higher")
        for what, each in results.items()
        if what != "itself" and each
    ]


def report(results: Results) -> str:
    """Return the table."""
    lines = [
        f"A machine of {LIMIT >> 30} GiB for a day; others take between a fifth and four fifths of it,"
        " with a burst each hour. The played kernel gets back at once what is freed. Where a fixed cache"
        " does not fit beside them, its program is killed. The"
        f" requests are the project's own trace, each value {SCALE:,} times as large.",
        "",
        "| size of the cache | cost saved | killed |",
        "| --- | ---: | ---: |",
    ]
    for what, each in results.items():
        name = (
            f"{float(what):.0%} of the machine"
            if what != "itself"
            else f"sizes itself ({each['least'] / LIMIT:.0%} to {each['most'] / LIMIT:.0%},"
            f" {each['mean'] / LIMIT:.0%} on average)"
        )
        lines.append(f"| {name} | {each['saved']:.1%} | {each['killed']} |")
    return "\n".join([*lines, ""])


def plots(results: Results, folder: Path) -> None:
    """Nothing to draw: the table is small."""
