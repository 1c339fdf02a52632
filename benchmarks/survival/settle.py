"""Scenario 8: two hours of a day's load on a played clock: sizes settle, come back, and do not swing.

    python -m benchmarks.survival.settle [--out FILE]

A make-believe machine (ebbcache.testing) of 1 GiB on which other use follows a day's curve: flat nights, a
morning's rise, a plateau, batch jobs that come and go. The caches are real, the values pretend their size,
so two hours take seconds. Judged: in every stretch of constant conditions the size stays within 5 % of its
mean, after each pressure 90 % of the size that fits comes back within `BACK` seconds, and a disturbance
turns the direction of the cached bytes round no more than once.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ebbcache
from benchmarks.survival import MIB
from ebbcache.testing import machine

LIMIT = 1024 * MIB
ENTRY = MIB // 4  # bytes that an entry pretends to hold
STEP = 0.25  # s between two bursts of inserts
BACK = 600.0  # s after the end of a pressure until 90 % of the former size is back
SETTLING = 600.0  # s after a change that conditions are left to settle
NOISE = 0.05  # of the mean: swings smaller than this are no reversal

# (minutes, MiB of others at the end, how it gets there): two hours of a small day.
DAY = (
    (20, 150, "flat"),
    (15, 450, "rise"),
    (25, 450, "flat"),
    (0.05, 650, "rise"),  # a batch job: 200 MiB in three seconds
    (2, 650, "flat"),
    (0, 450, "flat"),
    (25, 450, "flat"),
    (10, 150, "rise"),
    (23, 150, "flat"),
)


@dataclass(frozen=True)
class Stretch:
    """What the caches did while one part of the day lasted: seconds and bytes."""

    began: float
    ended: float
    others: int
    kind: str
    points: tuple[tuple[float, int], ...]


def day(insert: Callable[[], object], nbytes: Callable[[], int], m: Any) -> list[Stretch]:
    """Play the day: `insert` is called as a busy program would, `nbytes` tells what is held."""
    stretches: list[Stretch] = []
    start, level = m.time, 150
    for minutes, target, kind in DAY:
        began, seconds = m.time, minutes * 60
        points: list[tuple[float, int]] = []
        if not seconds:
            level = target
            m.others = level * MIB
            continue
        while m.time < began + seconds:
            part = 1.0 if kind == "flat" else min(1.0, (m.time - began + STEP) / seconds)
            m.others = int((level + (target - level) * part) * MIB)
            m.advance(STEP)
            for _ in range(20):
                insert()
            points.append((m.time - start, nbytes()))
        level = target
        stretches.append(Stretch(began - start, m.time - start, level * MIB, kind, tuple(points)))
    return stretches


def reversals(sizes: Sequence[int], noise: float) -> int:
    """Return how often the direction of `sizes` turned, where swings of up to `noise` bytes do not count.

    >>> reversals([0, 10, 20, 10, 0, 10, 20], 5)
    2
    >>> reversals([0, 10, 8, 20], 5)
    0
    """
    turns, direction, extreme = 0, 0, sizes[0]
    for size in sizes:
        if direction == 0:
            if abs(size - extreme) > noise:
                direction, extreme = (1 if size > extreme else -1), size
        elif (size - extreme) * direction >= 0:
            extreme = size
        elif abs(size - extreme) > noise:
            turns, direction, extreme = turns + 1, -direction, size
    return turns


def play(seed: int = 1) -> dict[str, Any]:
    """Play two hours and return what they came to."""
    chance = random.Random(seed)
    with machine(LIMIT, "150 MiB") as m:
        cache: Any = ebbcache.LRUCache(sizeof=lambda key, value: ENTRY)

        def insert() -> None:
            key = int(12_000 * chance.random() ** 3)
            if cache.get(key) is None:
                cache[key] = key

        stretches = day(insert, lambda: cache.nbytes, m)
        cache.clear()
    constant = []
    for stretch in stretches:
        settled = [size for t, size in stretch.points if t >= stretch.began + SETTLING]
        if stretch.kind == "flat" and len(settled) > 100:
            mean = sum(settled) / len(settled)
            worst = max(abs(size - mean) for size in settled) / mean
            constant.append({"others": stretch.others, "mean": int(mean), "worst": round(worst, 4)})
    before = stretches[2].points[-1][1]  # at the end of the plateau, before the batch job
    after = stretches[5]
    back = next((t - after.began for t, size in after.points if size >= 0.9 * before), None)
    # The batch job comes, which is one disturbance, and goes, which is another.
    turned = [
        reversals([size for part in parts for _, size in part.points], NOISE * before)
        for parts in (stretches[3:5], stretches[5:6])
    ]
    first = stretches[0].points[-1][1]
    evening = stretches[7]
    evening_back = next((t - evening.began for t, size in evening.points if size >= 0.9 * first), None)
    return {
        "seconds": stretches[-1].ended,
        "constant": constant,
        "back": back,
        "evening_back": evening_back,
        "reversals": max(turned),
        "line": [
            [round(t), size // MIB, part.others // MIB]
            for part in stretches
            for t, size in part.points[:: max(1, len(part.points) // 30)]
        ],
    }


def wrong(found: dict[str, Any]) -> list[str]:
    """Return what of the promise does not hold of what `play` found."""
    told = [
        f"with others at {each['others'] // MIB} MiB sizes are up to {each['worst']:.1%} off their mean"
        for each in found["constant"]
        if each["worst"] > 0.05
    ]
    told += [
        f"{name}: 90 % of the former size after {found[name]} s, not {BACK}"
        for name in ("back", "evening_back")
        if found[name] is None or found[name] > BACK
    ]
    if found["reversals"] > 1:
        told.append(f"{found['reversals']} reversals after one disturbance")
    return told


def main() -> int:
    """Play, print, and end with 1 if something does not hold."""
    parser = argparse.ArgumentParser("python -m benchmarks.survival.settle")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = play()
    told = wrong(found)
    text = json.dumps({name: found[name] for name in found if name != "line"}, indent=1)
    print(text, *told, sep="\n")
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
