"""The largest burst that a program full of cached values survives, by how it is taken and how fast.

    python -m benchmarks.survival.bursts [--out FILE] [--tries 3]

For each kind of burst and of cached values the share of the limit is searched on a grid (5 % apart) by
halving: a share counts as survived if all `tries` runs lived. The first burst of a young program with full
caches is taken, the hardest one: nothing was learnt yet. Bound: a search takes log2(14) * tries runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.survival import MIB
from benchmarks.survival.judge import judge
from benchmarks.survival.play import play, read
from benchmarks.survival.scenarios import Variant

SHARES = [share / 100 for share in range(5, 75, 5)]

KINDS: dict[str, dict[str, Any]] = {
    "Python objects, as fast as they are made": {"how": "python", "rate": 1e9},
    "numpy, 250 MB/s": {"how": "numpy", "rate": 250e6},
    "numpy, 1 GB/s": {"how": "numpy", "rate": 1e9},
    "one C call that keeps the GIL 2 s": {"how": "gil", "rate": 1e9, "seconds": 2.0},
    "the same after make_room": {"how": "gil", "rate": 1e9, "seconds": 2.0, "room": True},
}
VALUES = {"halves": 4_000, "bytes": 60_000, "dicts": 160_000}


def largest(survives: Callable[[float], bool], shares: list[float]) -> float:
    """Return the largest of the rising `shares` that is survived, 0.0 if none; O(log n) questions.

    >>> largest(lambda share: share <= 0.3, [0.1, 0.2, 0.3, 0.4])
    0.3
    >>> largest(lambda share: False, [0.1, 0.2])
    0.0
    """
    low, high = 0, len(shares)
    while low < high:
        middle = (low + high) // 2
        if survives(shares[middle]):
            low = middle + 1
        else:
            high = middle
    return shares[low - 1] if low else 0.0


def survives(share: float, load: dict[str, Any], values: str, tries: int, folder: Path) -> bool:
    """Return whether every one of `tries` programs lives through a burst of `share` of its limit."""
    burst = {"kind": "burst", "at": 0.7, "until": 0.98, "share": share, "times": 1} | load
    limit = (96 if values == "dicts" else 192) * MIB
    variant = Variant(2, "burst", values, VALUES[values], 4.0, limit, (burst,))
    for seed in range(tries):
        path = folder / "line.jsonl"
        play(replace(variant).spec("ebbcache", seed), path)
        verdict = judge(read(path))
        if not verdict.survived or verdict.failed:
            return False
    return True


def main() -> int:
    """Search, print as it goes, and write the table as JSON."""
    parser = argparse.ArgumentParser("python -m benchmarks.survival.bursts")
    parser.add_argument("--out", type=Path, default=Path("bursts.json"))
    parser.add_argument("--tries", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, load in KINDS.items():
            for values in VALUES:
                found = largest(lambda s: survives(s, load, values, options.tries, Path(folder)), SHARES)  # noqa: B023
                rows.append({"kind": kind, "values": values, "share": found, "tries": options.tries})
                print(f"{kind}, {values}: {found:.0%} of the limit", flush=True)
                table = {"when": time.strftime("%Y-%m-%d %H:%M", time.gmtime()), "rows": rows}
                options.out.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
