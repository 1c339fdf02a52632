"""What an entry takes beyond its key and value, and what a full collection costs with a million of them.

Bytes: by how much the resident memory of a fresh process grew while 1,000,000 entries went in whose keys
were there before and whose values are None; divided by their number. So what an allocator rounds, what a
table keeps in reserve and what growing it leaves behind all count.

Collections: `gc.collect()` in the same process, in CPU time, the fastest of seven, less what it took before
there were entries. Values of None cost a dict nothing, as it is not tracked while it holds only such; with
a list in each entry everybody's collector has to look at a million lists.
"""

from __future__ import annotations

import functools
import gc
import itertools
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import process_time_ns
from typing import Any

import ebbcache
from benchmarks.memory_report import TITLE, plots, report, verdicts
from benchmarks.peers import POLICIES, UNLIMITED, Contender, builders, mapped, memoised
from benchmarks.section import Options, Part
from ebbcache.store import IMPLEMENTATION

__all__ = ["TITLE", "parts", "plots", "report", "verdicts"]

OURS = ("LRUCache", "LFUCache", "TTLCache", "DensityCache", "cached")
PEERS = ("dict", "functools.cache", "functools", "cachebox", "lru-dict", "cachetools", "moka-py", "theine")

MEMOISED: dict[str, Callable[[Any], Any]] = {
    "functools.cache": functools.cache,
    "functools": functools.lru_cache(maxsize=UNLIMITED),
    "cached": ebbcache.cached,
}


def builder(name: str) -> Callable[[], Contender] | None:
    """Return what makes it, or None where it is not installed."""
    if name == "dict":
        return lambda: mapped({})
    if name in MEMOISED:
        return lambda: memoised(MEMOISED[name])
    return next((found[name] for found in map(builders, POLICIES) if name in found), None)


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def collection() -> float:
    """Return milliseconds of CPU time that a full collection takes."""
    found = []
    for _ in range(7):
        began = process_time_ns()
        gc.collect()
        found.append((process_time_ns() - began) / 1e6)
    return min(found)


def weigh(name: str, size: int, store: str | None) -> dict[str, float] | None:
    """Fill one contender; return the bytes an entry, and milliseconds of a collection with such entries."""
    if store is not None and store != IMPLEMENTATION:
        raise RuntimeError(f"the {store} store was asked for and cannot be had")
    build = builder(name)
    if build is None:
        return None
    build()  # what it loads and starts once is no matter of entries
    keys = list(range(10**6, 10**6 + size))
    empty = collection()
    before = resident()
    each = build()
    each.fill(keys, itertools.repeat(None))
    found = {"bytes": (resident() - before) / size, "gc": collection() - empty}
    if name not in MEMOISED:  # what these hold, they computed
        values: list[Any] = [[key] for key in keys]
        lists = collection()
        each.fill(keys, values)
        found["gc, lists"] = collection() - lists + found["gc"]
    return found


def parts(options: Options) -> dict[str, Part]:
    size = 100_000 if options.quick else 1_000_000
    peers = PEERS[:5] if options.quick else PEERS
    ours = OURS[:1] if options.quick else OURS
    found = {name: Part(partial(weigh, name, size, None)) for name in peers}
    for store in ("native", "pure"):
        for name in ours:
            found[f"{name} ({store})"] = Part(partial(weigh, name, size, store), store=store)
    return found
