"""libCacheSim (Yang et al.) as an independent judge: the same policies, written by others.

Our LRU must miss exactly the requests that its LRU misses. Its other policies show what classes we do not
have would reach. It is optional (PyPI: libcachesim). Bound: one call into its C++ a request.
"""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.traces.loading import Trace
from benchmarks.traces.offline import NEVER, next_uses

POLICIES = {
    "LRU": "LRU",
    "LFU": "LFU",
    "SIEVE": "Sieve",
    "S3-FIFO": "S3FIFO",
    "W-TinyLFU": "WTinyLFU",
    "LHD": "LHD",
    "GDSF": "GDSF",
    "Belady, by size": "BeladySize",
}
TABLE = 18
"""Its hash table begins with 2 to this power of places; its own choice of 24 takes seconds to clear."""
LEAST = {"S3-FIFO": 20, "W-TinyLFU": 200, "LHD": 20}
"""Below this room (in mean objects) it gives up: parts of the cache would have none."""


def simulator() -> Any:
    """Return the package, or None where it is not installed."""
    try:
        return importlib.import_module("libcachesim")
    except ImportError:
        return None


def can(trace: Trace, nbytes: int, policy: str) -> bool:
    """Whether a cache of `nbytes` is large enough for its `policy`."""
    return nbytes * len(trace.sizes) >= LEAST.get(policy, 1) * sum(trace.sizes)


def misses(trace: Trace, nbytes: int, policy: str) -> list[int]:
    """Return the numbers of the requests that libCacheSim's `policy` misses with `nbytes` of room.

    ImportError where it is not installed.
    """
    lib = importlib.import_module("libcachesim")
    cache = getattr(lib, POLICIES[policy])(cache_size=nbytes, hashpower=TABLE)
    request = lib.Request()
    after = next_uses(trace.keys) if policy.startswith("Belady") else None
    sizes, get = trace.sizes, cache.get
    missed: list[int] = []
    for at, key in enumerate(trace.keys):
        request.obj_id = key + 1
        request.obj_size = sizes[key]
        request.clock_time = at
        if after is not None:
            request.next_access_vtime = -1 if after[at] == NEVER else after[at] + 1
        # What is larger than the cache it would only complain about.
        if request.obj_size > nbytes or not get(request):
            missed.append(at)
    return missed
