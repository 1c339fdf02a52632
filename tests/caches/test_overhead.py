"""The bytes that a cache says it spends on an entry, against what the allocators hand out for it."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from ebbcache.sizing import sizeof


def _block(size: int) -> int:
    """Return the bytes that an allocation takes: pymalloc's classes of 16, malloc's header above 512."""
    return (size + 15) & -16 if size <= 512 else (size + 8 + 15) & -16


def _allocated(make: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        kept = make()
        gc.collect()
        return sum(_block(trace.size) for trace in tracemalloc.take_snapshot().traces)
    finally:
        tracemalloc.stop()
        del kept


@pytest.mark.parametrize("ttl", [None, 3600.0])
def test_the_overhead_is_what_entries_take(kind: Any, ttl: float | None) -> None:
    per_entry = []
    stated = 0.0
    for population in (2000, 2400, 2850, 3400):  # tables grow by doubling: look over a whole round
        keys = [f"key {n}" for n in range(population)]
        sizes = itertools.count(1000)  # every size an int of its own, as measured ones are

        def make(keys: list[str] = keys, sizes: Any = sizes) -> object:
            cache = kind(sizeof=lambda key, value: next(sizes))
            for key in keys:
                cache.set(key, None, ttl=ttl)
            return cache

        # The lesser of two: other threads allocate, too.
        per_entry.append(min(_allocated(make), _allocated(make)) / population)
        cache = kind()
        cache.set("k", None, ttl=ttl)
        stated = cache.nbytes - sizeof("k") - sizeof(None)
    mean = sum(per_entry) / len(per_entry)
    assert mean == pytest.approx(stated, rel=0.05)
    assert per_entry == pytest.approx([stated] * len(per_entry), rel=0.15)


def test_an_empty_cache_weighs_what_it_takes(kind: Any) -> None:
    for register in (True, False):
        # The least of some tries: now and then the registry of all caches grows, or a thread allocates.
        tries = [
            _allocated(lambda register=register: [kind(register=register) for _ in range(200)])
            for _ in range(3)
        ]
        taken = min(tries) / 200
        assert taken == pytest.approx(sizeof(kind(register=register)), rel=0.15)
