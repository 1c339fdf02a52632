"""What it costs to drop a quarter of a cache at once, as a burst of somebody else's memory demands.

A DensityCache with nothing to limit it is shrunk by 25 % whenever it is full: in one call, which draws a
waterline, or by as many calls as victims, which sample for each. That the two miss the same means that the
waterline chooses as well. The third is kept full by single victims: what the empty quarter itself costs.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.section import Results, Verdict
from benchmarks.traces.contenders import Room, ours, size_is_value
from benchmarks.traces.loading import load
from benchmarks.traces.replay import SIZES, Pair, replay
from ebbcache.caches import DensityCache

DROP = 4
"""One part in so many goes at once."""
MOST = 1.04
"""What dropping at once may miss, beside one victim at a time."""


def measure(name: str, folder: Path | None, requests: int | None = None) -> dict[str, Any]:
    """Replay a trace at three sizes with a cache that drops a quarter at a time."""
    trace = load(name, folder)
    if requests is not None:
        trace = trace.head(requests)
    answer: dict[str, Any] = {}
    for size, share in SIZES.items():
        nbytes = int(trace.working_set * share)
        if nbytes < 32 * max(1, sum(trace.sizes) // len(trace.sizes)):
            continue  # a quarter of this is but a few objects
        answer[size] = {
            "at once": replay(trace, partial(_sawtooth, nbytes, True)).as_dict(),
            "one by one": replay(trace, partial(_sawtooth, nbytes, False)).as_dict(),
            "kept full": replay(trace, partial(ours, DensityCache, Room(nbytes, 0))).as_dict(),
        }
    return answer


def _sawtooth(nbytes: int, at_once: bool) -> Pair:
    cache: DensityCache[int, int] = DensityCache(sizeof=size_is_value, register=False)
    place, shrink = cache.set, cache.shrink

    def put(key: int, size: int, cost: float) -> None:
        if size > nbytes:
            return
        place(key, size, None, cost)
        if cache.nbytes > nbytes:
            excess = cache.nbytes - (nbytes - nbytes // DROP)
            if at_once:
                shrink(excess)
            else:
                while excess > 0:
                    excess -= shrink(1)

    return Pair(cache.get, put)


def verdicts(name: str, answer: dict[str, Any]) -> list[Verdict]:
    """Return how much more dropping at once missed."""
    return [
        Verdict(
            f"{name}, {size}: a quarter dropped at once",
            missed["at once"]["cost"],
            "target",
            missed["one by one"]["cost"] * MOST,
            "of cost",
        )
        for size, missed in answer.items()
    ]


def report(results: Results) -> list[str]:
    """Return the table's lines."""
    found = {
        part.removesuffix(" bursts"): each for part, each in results.items() if part.endswith(" bursts")
    }
    lines = [
        "### Bursts",
        "",
        "Cost missed by a DensityCache that drops a quarter whenever it is full: in one call, by a"
        " waterline; or one victim at a time. Kept full: one victim at a time, as room is needed.",
        "",
        "| trace | size | at once | one by one | ratio | kept full |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, answer in found.items():
        for size, missed in (answer or {}).items():
            once, single, full = (missed[way]["cost"] for way in ("at once", "one by one", "kept full"))
            lines.append(
                f"| {name} | {size} | {once:.3f} | {single:.3f} | {once / single:.3f} | {full:.3f} |"
            )
    return [*lines, ""]
