"""A service for a small container: caches without any size set, while other memory use comes and goes.

The main job of ebbcache in one file. A decorated function produces parsed JSON documents (1 KB to 1 MB of
text) for far more distinct documents than the container holds. Every few seconds the program takes 60 MiB
for a batch job, holds them for a while and frees them. Nothing here tells the cache about either.

Run it where memory is limited, say to 256 MiB:

    systemd-run --user --scope -p MemoryMax=256M -p MemorySwapMax=0 python examples/container.py

It prints one JSON object: what was served and how the cache ebbed and regrew. With ``--cache functools`` it
uses functools.cache in place of ebbcache's, and the kernel kills it.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import random
import time
import zlib
from typing import Any

import ebbcache

MIB = 1024 * 1024
DOCUMENTS = 20_000
WORDS = ("amber", "basalt", "cobalt", "dune", "ember", "fjord", "gravel", "harbour", "islet", "juniper")


def fetch(number: int) -> str:
    """Return the JSON text of a document, as a database or another service would."""
    chance = random.Random(number)
    room = min(1_000_000, max(1_000, int(chance.lognormvariate(10.5, 1.3))))
    rows: list[str] = []
    while room > 0:
        word, price = chance.choice(WORDS), chance.random()
        row = f'{{"row": {len(rows)}, "name": "{word} {price:.6f}", "tags": ["{word}", "{room}"]}}'
        rows.append(row)
        room -= len(row) + 2
    return f'{{"number": {number}, "rows": [{", ".join(rows)}]}}'


def document(number: int) -> dict[str, Any]:
    """Return a parsed document; this is what gets cached."""
    parsed: dict[str, Any] = json.loads(fetch(number))
    return parsed


def requests(seed: int) -> itertools.chain[int]:
    """Yield document numbers for ever, the popular ones more often (Zipf)."""
    chance = random.Random(seed)
    weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(DOCUMENTS)))
    batches = (chance.choices(range(DOCUMENTS), cum_weights=weights, k=64) for _ in itertools.count())
    return itertools.chain.from_iterable(batches)


def archive() -> bytes:
    """Return 1 MiB of text, compressed: what the batch job unpacks again and again."""
    chance = random.Random(0)
    return zlib.compress(" ".join(chance.choices(WORDS, k=MIB // 5)).encode()[:MIB])


class Timeline:
    """What the caches held, all the time, and before, during (the least) and after each batch job."""

    def __init__(self) -> None:
        self.points: list[dict[str, float]] = []
        self.bursts: list[dict[str, float]] = []

    def note(self, t: float, cached: int, own: int) -> None:
        """Take in where things stand; a point is kept ten times a second."""
        if not self.points or t - self.points[-1]["t"] >= 0.1:
            self.points.append({"t": round(t, 2), "cached": cached, "own": own})
        if self.bursts:
            burst = self.bursts[-1]
            burst |= {"during": min(cached, burst.get("during", cached))} if own else {"after": cached}


def main() -> None:
    """Serve for a while, then say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to serve (%(default)s)")
    parser.add_argument("--cache", choices=("ebbcache", "functools"), default="ebbcache")
    parser.add_argument("--burst", type=int, default=60, help="MiB that the batch job takes (%(default)s)")
    parser.add_argument("--every", type=float, default=4.0, help="seconds between batch jobs (%(default)s)")
    parser.add_argument("--hold", type=float, default=1.5, help="seconds that one lasts (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    produce = ebbcache.cached(document) if options.cache == "ebbcache" else functools.cache(document)
    timeline = Timeline()
    served = failed = 0
    errors: list[str] = []
    batch: list[bytes] = []
    packed = archive()
    began = time.monotonic()
    due = options.every
    for number in requests(options.seed):
        t = time.monotonic() - began
        cached = produce.cache.nbytes if options.cache == "ebbcache" else 0
        timeline.note(t, cached, len(batch) * MIB)
        if t >= options.seconds:
            break
        if t >= due and not batch:
            timeline.bursts.append({"at": round(t, 2), "before": cached})
            batch = [zlib.decompress(packed, bufsize=MIB) for _ in range(options.burst)]
            timeline.bursts[-1]["took"] = round(time.monotonic() - began - t, 3)
            due = t + options.hold
        elif t >= due:
            timeline.bursts[-1]["until"] = round(t, 2)
            batch = []
            due = timeline.bursts[-1]["at"] + options.every
        try:
            served += 1
            if produce(number)["number"] != number:
                raise LookupError(f"asked for document {number}, got another")
        except Exception as error:
            failed += 1
            errors.append(repr(error))
    low = [point["cached"] for point in timeline.points if not point["own"]]
    info = produce.cache_info()
    print(
        json.dumps(
            {
                "cache": options.cache,
                "seconds": options.seconds,
                "served": served,
                "failed": failed,
                "errors": errors[:10],
                "hits": info.hits,
                "misses": info.misses,
                "cached_min_low": min(low, default=0),
                "cached_max_low": max(low, default=0),
                "bursts": timeline.bursts,
                "timeline": timeline.points,
            }
        )
    )


if __name__ == "__main__":
    main()
