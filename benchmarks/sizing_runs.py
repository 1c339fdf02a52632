"""Whole caches against the allocators: entries that share structure, and a hard call for 100 MiB.

Like `sizing_truth`, to be run in a process that was started with its `ENVIRONMENT`. Bound: what the cache
says it freed stands beside what pymalloc and malloc got back, both summed over the run.
"""

from __future__ import annotations

import array
import gc
import random
import resource
from typing import Any

from benchmarks import sizing_truth as truth

MIB = 1 << 20


def shared_structure(pool: int = 100, renewed: float = 0.0, seed: int = 1) -> dict[str, float]:
    """Fill a cache with 1,000 dicts whose fields come from a pool, shrink it and refill it, 40 times.

    For every dict `renewed` parts of the pool are replaced, and so are held by the entries alone.

    Answers freed bytes for each byte that the cache said it freed, and for each that it had counted.
    """
    import ebbcache

    rng = random.Random(seed)

    def part() -> list[float]:
        return [rng.random() for _ in range(40)]

    parts = [part() for _ in range(pool)]
    cache: Any = ebbcache.LRUCache(register=False)
    made = 0
    said = counted = freed = 0
    for _ in range(40):
        while len(cache) < 1000:
            made += 1
            if rng.random() < renewed:
                parts[rng.randrange(pool)] = part()
            fields = {name: rng.choice(parts) for name in ("owner", "place", "kind")}
            cache[f"key {made}"] = {"id": made, "name": f"name {rng.random()}", **fields}
            del fields
        gc.collect()
        before, had = truth.held(), cache.nbytes
        said += cache.shrink(int(had * cache.stats().correction * 0.07), hard=True)
        counted += had - cache.nbytes
        gc.collect()
        freed += before - truth.held()
    return {"freed / believed": freed / said, "freed / counted": freed / counted}


def hundred_mib(nbytes: int = 100 * MIB) -> dict[str, float]:
    """Fill an LRU cache with mixed values and tell it to free `nbytes` hard; an rlimit keeps it honest."""
    import ebbcache
    from benchmarks.sizing_kinds import STANDARD

    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    rng = random.Random(1)
    names = [
        "JSON document",
        "bytes of 100 kB",
        "dict large",
        "instances in a list",
        "str long",
        "list of floats",
    ]
    names += [
        "namedtuples",
        "dataclass nested",
        "tree with parents",
        "OrderedDict",
        "rows of csv",
        "XML",
        "email",
    ]
    names += [
        "instance",
        "dict small",
        "deque",
        "set",
        "array",
        "bytearray",
        "list of tuples",
        "exception caught",
    ]
    try:
        import numpy as np
    except ImportError:
        makers = [STANDARD[name] for name in names]
    else:
        makers = [*(STANDARD[name] for name in names), lambda i: np.arange(1000.0 + i)]
    makers.append(lambda i: array.array("d", range(i % 5000)))
    cache: Any = ebbcache.LRUCache(register=False)
    n = 0
    while cache.nbytes < 1.6 * nbytes:
        n += 1
        cache[f"key {n}"] = rng.choice(makers)(n)
    gc.collect()
    before = truth.held()
    said = cache.shrink(nbytes, hard=True)
    gc.collect()
    freed = before - truth.held()
    return {"asked": nbytes, "said": said, "freed": freed, "entries": n, "left": len(cache)}
