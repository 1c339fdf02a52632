"""What the kernel gets back of small objects: evicting entry by entry, or segments of one insertion age.

Segcache (Yang et al., NSDI 2021) drops whole segments of entries that came in together, for other
reasons. Here the question is memory: objects made one after another may lie side by side, so that
dropping them together empties pages and arenas which least-recently-used entries, scattered everywhere,
do not. And what that costs: how many of the requests that follow miss. Each case runs in a process of
its own on the same requests (Zipf-like, seeded).

    python -m benchmarks.segments            one minute, 0.5 GiB
"""

from __future__ import annotations

import ctypes
import json
import random
import subprocess
import sys
import time
from collections import OrderedDict
from typing import Any

KINDS: dict[str, Any] = {
    "dict of 8": lambda n: {f"field{i}": n * i for i in range(8)},
    "2 KB of bytes": lambda n: n.to_bytes(8, "big") * 250,
    "16 KB of bytes": lambda n: n.to_bytes(8, "big") * 2_000,
}
ENTRIES = {"dict of 8": 150_000, "2 KB of bytes": 80_000, "16 KB of bytes": 12_000}
SEGMENTS = 256


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def case(kind: str, how: str, share: float) -> dict[str, float]:
    """Fill a cache, use it, drop `share` of it in the way of `how`, and go on using it."""
    make, room = KINDS[kind], ENTRIES[kind]
    chance = random.Random(1)
    empty = resident()
    cache: OrderedDict[int, tuple[int, Any]] = OrderedDict()  # least recent first; (insert's number, value)
    used: dict[int, int] = {}  # key -> hits, for the density of segments
    inserted = 0

    def request() -> bool:
        nonlocal inserted
        key = int(4 * room * chance.random() ** 3)
        if key in cache:
            cache.move_to_end(key)
            used[key] += 1
            return True
        inserted += 1
        cache[key] = (inserted, make(key))
        used[key] = 1
        if len(cache) > room:
            used.pop(cache.popitem(last=False)[0])
        return False

    for _ in range(6 * room):
        request()
    full = resident()
    drop = int(share * len(cache))
    if how == "entries":
        victims = list(cache)[:drop]
    else:
        ages = sorted(cache, key=lambda key: cache[key][0])
        size = -(-len(ages) // SEGMENTS)
        parts = [ages[at : at + size] for at in range(0, len(ages), size)]
        parts.sort(key=lambda part: sum(used[key] for key in part) / len(part))
        victims = [key for part in parts for key in part][:drop]
    for key in victims:
        del cache[key], used[key]
    del victims
    dropped = resident()
    began = time.perf_counter()
    ctypes.CDLL(None).malloc_trim(0)
    took = time.perf_counter() - began
    trimmed = resident()
    hits = sum(request() for _ in range(room // 2))
    held = (full - empty) * share
    return {
        "at once": (full - dropped) / held,
        "trimmed": (full - trimmed) / held,
        "misses after": 1 - hits / (room // 2),
        "trim seconds": took,
    }


def main() -> None:
    if len(sys.argv) == 4:
        print(json.dumps(case(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
        return
    print("| values | dropped | by | back at once | after malloc_trim | misses after |")
    print("|---|---|---|---|---|---|")
    for kind in KINDS:
        for share in (0.25, 0.5, 0.9):
            for how in ("entries", "segments"):
                command = [sys.executable, "-m", "benchmarks.segments", kind, how, str(share)]
                found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
                print(
                    f"| {kind} | {share:.0%} | {how} | {found['at once']:.0%} | {found['trimmed']:.0%} "
                    f"| {found['misses after']:.1%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
