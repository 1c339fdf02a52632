"""malloc gives back what it holds free before anything is evicted for it, played with a heap."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from playing import LIMIT, MIB, entry_bytes, fill

import ebbcache
from ebbcache import testing
from ebbcache.governor import allocator
from ebbcache.governor.trimming import MAPPINGS, Heap
from ebbcache.testing import Machine


class PlayedHeap:
    """A malloc that keeps what caches free until it is told to return it."""

    def __init__(self, played: Machine) -> None:
        self.played = played
        self.trims = 0
        self.mapped_from = 0

    def free_bytes(self) -> int:
        return int(self.played._kept)

    def trim(self, at_once: bool = False) -> None:
        self.trims += 1
        self.played._kept = 0.0

    def map_from(self, size: int) -> bool:
        self.mapped_from = size
        return True


def test_a_trim_that_brings_nothing_does_not_take_the_place_of_eviction() -> None:
    with testing.machine(LIMIT, 40 * MIB, returns=0.0) as played:
        cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
        fill(cache, 10_000)
        ebbcache.reclaim(cache.nbytes // 2)
        heap = PlayedHeap(played)
        heap.trim = lambda at_once: None  # type: ignore[method-assign]
        played.governor.sight.heap = Heap(heap, lambda: played.time)
        before = cache.nbytes
        played.others += played.headroom - 4 * MIB
        played.look()
        assert cache.nbytes < before


def test_what_malloc_holds_is_returned_before_anything_more_is_evicted() -> None:
    with testing.machine(LIMIT, 40 * MIB, returns=0.0) as played:
        heap = PlayedHeap(played)
        played.governor.sight.heap = Heap(heap, lambda: played.time)
        cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
        fill(cache, 10_000)
        full = cache.nbytes
        for step in range(120):  # others take 120 MiB, in a ramp, and the service goes on
            played.others += MIB
            played.advance(0.02)
            fill(cache, 2, start=20_000 + 2 * step)
            assert played.headroom > 0
        assert heap.trims > 0
        assert played.governor.sight.cap * 0.7 < cache.nbytes < full


def test_what_malloc_keeps_of_a_burst_is_returned_when_caches_want_it() -> None:
    with testing.machine(LIMIT, 40 * MIB) as played:
        heap = PlayedHeap(played)
        played.governor.sight.heap = Heap(heap, lambda: played.time)
        cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
        played._kept = 60 * MIB  # the program freed as much, and malloc did not return it
        played.advance(1.0)
        assert heap.trims == 0  # nobody wants it
        fill(cache, 10_000)
        crowded = cache.nbytes
        played.advance(1.0)
        assert heap.trims > 0
        played.advance(60.0)  # the peak of others is forgotten
        fill(cache, 10_000)
        assert cache.nbytes > crowded + 30 * MIB


def test_where_most_cached_bytes_are_in_large_values_malloc_is_to_map_those_once() -> None:
    with testing.machine(LIMIT, 40 * MIB) as played:
        heap = PlayedHeap(played)
        played.governor.sight.heap = Heap(heap, lambda: played.time)
        cache = ebbcache.LRUCache[int, None](sizeof=lambda key, value: 3 * MIB)
        fill(cache, 10)
        assert heap.mapped_from == 0  # far from the cap, nothing is evicted yet
        fill(cache, 100)
        assert heap.mapped_from == MIB
        heap.mapped_from = 0
        fill(cache, 100, start=200)
        assert heap.mapped_from == 0


def test_small_values_do_not_change_how_malloc_serves_blocks() -> None:
    with testing.machine(LIMIT, 40 * MIB) as played:
        heap = PlayedHeap(played)
        played.governor.sight.heap = Heap(heap, lambda: played.time)
        cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
        fill(cache, 10_000)
        assert heap.mapped_from == 0
        assert played.governor.sight.heap.mapped_from is None


def test_there_are_never_more_mappings_than_a_process_may_have() -> None:
    with testing.machine(LIMIT, 40 * MIB) as played:
        heap = Heap(PlayedHeap(played), lambda: played.time)
        for _ in range(10):
            heap.came_in(500 * MIB)
        assert heap.map_large(1 << 40) == (1 << 40) // MAPPINGS
        assert heap.map_large(1 << 40) == 0  # once


@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_MMAP_THRESHOLD_", "65536"), ("GLIBC_TUNABLES", "a.b=1:glibc.malloc.top_pad=65536")],
)
def test_what_the_user_told_malloc_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert not allocator.map_from(MIB)


def test_malloc_takes_being_told_or_is_not_the_one_we_know() -> None:
    code = "from ebbcache.governor import allocator; raise SystemExit(2 + allocator.map_from(1 << 20))"
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    told = subprocess.run([sys.executable, "-c", code], env=clean, check=False).returncode
    assert told == 2 + (allocator._LIBC is not None)
