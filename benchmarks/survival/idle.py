"""Scenario 9: a host with plenty of memory: what watching costs, and whether others get what they want.

    python -m benchmarks.survival.idle [--seconds 60] [--out FILE]

Idle: a process holds a filled cache and does nothing; its CPU time over a minute is what the governor's
thread took, whatever else the machine does. Polite: two processes under one parent limit, neither with one
of its own; the first fills the room with cached values and goes on inserting, then the second takes half
of it, a neighbour that knows nothing of caches. It must get it, and nobody may be killed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.survival import MIB, place

ROOT = Path(__file__).parents[2]

IDLER = """
import sys, time, ebbcache
cache = ebbcache.LRUCache()
for n in range(10_000):
    cache[n] = b"x" * (2000 + n % 7)
time.sleep(2)
used, began = time.process_time(), time.monotonic()
time.sleep(float(sys.argv[1]))
from ebbcache import governor
one = governor.the_watcher.governor
reading = one.sight.reading
print(time.process_time() - used, time.monotonic() - began, reading.limit if reading else 0)
"""

FILLER = """
import sys, time, ebbcache
cache, n, until = ebbcache.LRUCache(), 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < until:
    cache[n] = b"x" * (500_000 + n % 7)
    n += 1
    if n == 1000:
        print("full", cache.nbytes, flush=True)
    time.sleep(0.001)
print("end", cache.nbytes, flush=True)
"""

NEIGHBOUR = """
import sys, time
held = []
for _ in range(int(sys.argv[1]) >> 20):
    held.append(b"x" * ((1 << 20) - 64 - len(held) % 7))
    time.sleep(0.005)
time.sleep(1)
print("got", len(held) << 20)
"""


def idle(seconds: float) -> dict[str, float]:
    """Return the share of one core that a process with an idle cache uses."""
    done = subprocess.run(
        [sys.executable, "-c", IDLER, str(seconds)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    used, elapsed, limit = (float(word) for word in done.stdout.split())
    return {"cpu": used, "seconds": elapsed, "share": used / elapsed, "limit": limit}


def polite(seconds: float = 12.0, limit: int = 256 * MIB) -> dict[str, Any]:
    """Return what a neighbour got that wanted half of a memory full of cached values, and who died."""
    with place.group(limit) as above, place.group(None, above) as ours, place.group(None, above) as theirs:

        def start(group: place.Group, code: str, *arguments: str) -> subprocess.Popen[str]:
            shell = ["/bin/sh", "-c", f'echo $$ > {group.path}/cgroup.procs && exec "$@"', "sh"]
            command = [*shell, sys.executable, "-c", code, *arguments]
            return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)

        with start(ours, FILLER, str(seconds)) as filler:
            assert filler.stdout is not None
            full = int(filler.stdout.readline().split()[1])
            with start(theirs, NEIGHBOUR, str(limit // 2)) as neighbour:
                began = time.monotonic()
                got, _ = neighbour.communicate()
                took = time.monotonic() - began
            left, _ = filler.communicate()
        kills = above.kills() + ours.kills() + theirs.kills()
        return {
            "wanted": limit // 2,
            "got": int(got.split()[1]) if got else 0,
            "took": round(took, 2),
            "cached_before": full,
            "cached_at_end": int(left.split()[1]) if left else 0,
            "kills": kills,
            "codes": [filler.returncode, neighbour.returncode],
        }


def main() -> int:
    """Measure both and print them as JSON."""
    parser = argparse.ArgumentParser("python -m benchmarks.survival.idle")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {"idle": idle(options.seconds)}
    if place.version():
        found["polite"] = polite()
    text = json.dumps(found, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
