"""How long inserts and hits are held up while memory is freed, and what a look at memory costs.

A cache of 1,000,000 small entries on a make-believe machine (ebbcache.testing; the cache and the
threads are real) is made to give 100 MiB softly, by a thread that looks every few milliseconds, while
another thread inserts or reads without rest. Wall-clock milliseconds on a machine that does other things
hold their waiting as well; the thread's own processor time does not. A look is timed on the real memory of
the process, whatever limits it; how many of them inserts make is counted on a make-believe machine of
256 MiB, with caches at their cap, which is where allowances are smallest. The two together are what looking
costs an insert.

    python -m benchmarks --only pauses           half a minute, 0.6 GiB
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import ebbcache
from benchmarks.section import Options, Part, Results, Verdict
from ebbcache import governor
from ebbcache.testing import machine

TITLE = "Pauses"

MIB = 1 << 20
TARGET = 100 * MIB
LONGEST = 5.0  # ms: of an insert, at the 99.9th percentile, while that much is freed
LOOK = 20.0  # microseconds of a look
BATCH = 64
COLUMNS = ("p50", "p99.9", "longest", "own p99.9", "own longest")


def quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def reclaim(what: str, entries: int) -> dict[str, Any]:
    """Free 100 MiB softly from `entries` entries while a thread does `what`; answer its pauses in ms."""
    # As many bytes an entry as make 100 MiB a part of what there is, whatever the number of entries.
    size = 2 * TARGET // entries
    with machine(8 * TARGET, "20 MiB") as m:
        cache = ebbcache.LRUCache[int, int](sizeof=lambda key, value: size)
        for number in range(entries):
            cache[number] = number
        held = cache.nbytes
        wall: list[float] = []
        own: list[float] = []
        stop = threading.Event()

        def work() -> None:
            clock, cpu, get = time.perf_counter, time.thread_time, cache.get
            number = entries
            while not stop.is_set():
                began, used = clock(), cpu()
                if what == "insert":
                    cache[number] = number
                else:
                    get(number - 1)
                own.append(cpu() - used)
                wall.append(clock() - began)
                number += what == "insert"

        thread = threading.Thread(target=work)
        thread.start()
        began = time.perf_counter()
        while cache.nbytes > held - TARGET and time.perf_counter() - began < 60:
            # Something else always has just so much that headroom stays a little under `low`.
            m.others = m.limit - m.governor.sight.marks.low - cache.nbytes + MIB
            m.time += 0.01
            m.look()
            time.sleep(0.001)
        took = time.perf_counter() - began
        stop.set()
        thread.join()
        freed = held - cache.nbytes
    wall.sort()
    own.sort()
    return {
        "count": len(wall),
        "freed": freed,
        "seconds": took,
        "p50": quantile(wall, 0.5) * 1e3,
        "p99.9": quantile(wall, 0.999) * 1e3,
        "longest": wall[-1] * 1e3,
        "own p99.9": quantile(own, 0.999) * 1e3,
        "own longest": own[-1] * 1e3,
    }


def looks_a_mib(inserts: int) -> float:
    """Count the looks that inserts of 1000 bytes make for each MiB, with the caches at their cap."""
    with machine(256 * MIB, "40 MiB") as m:
        cache = ebbcache.LRUCache[int, bytes]()
        for number in range(2 * inserts):
            if number == inserts:
                assert cache.stats().evictions, "not at the cap yet"
                before = m.governor.looks
            cache[number] = bytes(1000)
        each = cache.nbytes / len(cache)
        return float((m.governor.looks - before) * MIB / (inserts * each))


def look(count: int) -> dict[str, Any]:
    """Time `count` looks at the real memory of this process, in microseconds of processor time."""
    cache = ebbcache.LRUCache[int, bytes]()
    for number in range(1000):
        cache[number] = bytes(1000)
    one = governor.the_watcher.governor
    one.look()
    taken: list[float] = []
    for _ in range(count // BATCH):
        began = time.thread_time()
        for _ in range(BATCH):
            one.look()
        taken.append((time.thread_time() - began) / BATCH * 1e6)
    taken.sort()
    reading = one.sight.reading
    return {
        "median": quantile(taken, 0.5),
        "fastest": taken[0],
        "looks a MiB": looks_a_mib(250_000),
        "source": reading.source if reading is not None else "nothing",
    }


def parts(options: Options) -> dict[str, Part]:
    entries = 100_000 if options.quick else 1_000_000
    count = 1_000 if options.quick else 10_000
    return {
        "inserts, native": Part(lambda: reclaim("insert", entries), store="native"),
        "hits, native": Part(lambda: reclaim("get", entries), store="native"),
        "inserts, pure": Part(lambda: reclaim("insert", entries // 4), store="pure"),
        "look": Part(lambda: look(count)),
    }


def report(results: Results) -> str:
    lines = [
        "While 100 MiB are freed softly from a million small entries (pure: a quarter of a million), ms:",
        "",
        "| | calls | freed in | median | 99.9 % | longest | 99.9 % of own time | longest own time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in results.items():
        if name != "look":
            pauses = [f"{row[key]:.3f}" for key in COLUMNS]
            lines.append(f"| {name} | {row['count']:,} | {row['seconds']:.2f} s | {' | '.join(pauses)} |")
    if "look" in results:
        lines += [
            "",
            told(results["look"]),
        ]
    return "\n".join(lines)


def told(look: dict[str, Any]) -> str:
    """Say what a look costs, and what that comes to for an insert."""
    of_a_mib = look["median"] * look["looks a MiB"]
    return (
        f"A look with its decision takes {look['median']:.0f} microseconds of processor time (median;"
        f" fastest {look['fastest']:.0f}; the ceiling was {look['source']}). At the cap inserts of 1000"
        f" bytes make {look['looks a MiB']:.1f} looks a MiB: {of_a_mib:.0f} microseconds a MiB,"
        f" {of_a_mib / 1048 * 1e3:.0f} nanoseconds an insert."
    )


def plots(results: Results, folder: Path) -> None:
    """Draw nothing: four numbers are read faster."""


def verdicts(results: Results) -> list[Verdict]:
    found: list[Verdict] = []
    for name, row in results.items():
        if name.startswith("inserts"):
            pure = name.endswith("pure")
            found.append(Verdict(f"{name}: 99.9 %", row["p99.9"], "target", LONGEST, "ms", pure=pure))
    if "look" in results:
        found.append(Verdict("a look", results["look"]["median"], "target", LOOK, "microseconds"))
    return found
