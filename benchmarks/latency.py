"""What one operation costs: hits, misses, inserts, decorated calls, beside dict, functools and peers.

    python -m benchmarks --only latency            as a section of the suite, both stores
    python -m benchmarks.latency                   just the figures, of the store that is in use
    python -m benchmarks.latency "equal keys"      rows whose title has this in it
    python -m benchmarks.latency --of LRUCache,dict,cachebox --rounds 50 "get, miss, 1,000 "
    perf record -g python -m benchmarks.latency --spin 5 --of LRUCache "get, miss, 1,000 "

Figures are medians of ratios, with the quartiles in brackets and the median nanoseconds; see `rounds.py`
for how they come about. EBBCACHE_NATIVE=1 or EBBCACHE_PURE=1 in the environment chooses the store.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from time import monotonic
from typing import Any

from benchmarks.latency_report import TITLE, plots, report, verdicts
from benchmarks.latency_rows import (
    Scope,
    calls,
    insert_rows,
    mapping_rows,
    misses,
    thread_rows,
    ttl_rows,
)
from benchmarks.rounds import Ratio, Row
from benchmarks.section import Options, Part
from ebbcache.store import IMPLEMENTATION

__all__ = ["TITLE", "parts", "plots", "report", "verdicts"]

MILLION = 1_000_000

GROUPS: dict[str, tuple[Callable[[Scope], Iterator[Row]], int]] = {
    "calls": (calls, 40),
    "misses": (misses, 40),
    "1,000 entries": (partial(mapping_rows, size=1000), 40),
    "1,000,000 entries": (partial(mapping_rows, size=MILLION), 9),
    "inserts": (insert_rows, 25),
    "ttl": (ttl_rows, 40),
    "threads, 1,000 entries": (partial(thread_rows, size=1000), 15),
    "threads, 1,000,000 entries": (partial(thread_rows, size=MILLION), 9),
}
"""What is set up together, and the rounds that it gets."""


def measured(rows: Iterator[Row], rounds: int) -> dict[str, Any]:
    return {row.title: {"base": row.base, "times": row.measure(rounds)} for row in rows}


def parts(options: Options) -> dict[str, Part]:
    found = {}
    for store in ("native", "pure"):
        for name, (rows, rounds) in GROUPS.items():
            large = rows in (GROUPS[key][0] for key in GROUPS if "1,000,000" in key)
            if large and (options.quick or store == "pure"):
                continue
            if options.quick and store == "pure" and name not in ("calls", "1,000 entries"):
                continue
            scope = Scope(
                many=6_000 if options.quick else 50_000 if large else 10_000, pure=store == "pure"
            )
            found[f"{name} ({store})"] = Part(
                partial(run_part, rows, scope, 9 if options.quick else rounds, store),
                store=store,
                timeout=1800.0,
            )
    return found


def run_part(rows: Callable[[Scope], Iterator[Row]], scope: Scope, rounds: int, store: str) -> Any:
    if store != IMPLEMENTATION:
        raise RuntimeError(f"the {store} store was asked for and cannot be had")
    return measured(rows(scope), rounds)


def show(row: Row, times: dict[str, list[float]]) -> str:
    cells = []
    for name in times:
        ratio = Ratio.of(times, name, row.base)
        nanoseconds = statistics.median(times[name])
        cells.append(f"{name} {ratio.middle:.2f} [{ratio.low:.2f} {ratio.high:.2f}] {nanoseconds:.0f}")
    return f"{row.title:42} " + "   ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("title", nargs="?", default="", help="measure only rows whose title has this in it")
    parser.add_argument("--of", default="", help="contenders, separated by commas; all of them otherwise")
    parser.add_argument("--rounds", type=int, help="rounds for each row (otherwise 9 to 40)")
    parser.add_argument("--spin", type=float, help="only repeat it for so many seconds, for a profiler")
    parser.add_argument("--million", action="store_true", help="rows with 1,000,000 entries, too")
    arguments = parser.parse_args()
    names = set(arguments.of.split(",")) - {""}
    print(f"Python {sys.version.split()[0]}, {IMPLEMENTATION} store", flush=True)
    for group, (rows, rounds) in GROUPS.items():
        large = "1,000,000" in group
        if large and not (arguments.million or "1,000,000" in arguments.title):
            continue
        if (
            (" entries" in arguments.title)
            and "entries" in group
            and group.split(", ", 1)[-1] not in (arguments.title)
        ):
            continue
        scope = Scope(50_000 if large else 10_000, False, lambda name: not names or name in names)
        for row in rows(scope):
            if arguments.title not in row.title:
                continue
            if arguments.spin:
                until = monotonic() + arguments.spin
                runs = [run for name, run in row.runs.items() if not names or name in names]
                drawn = row.draw()
                while monotonic() < until:
                    drawn = row.draw() if row.consumed else drawn
                    for run in runs:
                        run(drawn)
            else:
                print(show(row, row.measure(arguments.rounds or rounds)), flush=True)


if __name__ == "__main__":
    main()
