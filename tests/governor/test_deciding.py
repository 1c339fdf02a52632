"""The governor's decisions, played on a make-believe machine with real caches."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterator

import pytest

import ebbcache
from ebbcache import engine, governor, testing
from ebbcache.governor.trimming import Heap
from ebbcache.testing import Machine

MIB = 1 << 20
LIMIT = 256 * MIB
PAGE = 64 << 10


def entry_bytes(key: object, value: object) -> int:
    return PAGE


@pytest.fixture
def played() -> Iterator[Machine]:
    with testing.machine(LIMIT, 40 * MIB) as machine:
        yield machine


@pytest.fixture
def cache(played: Machine) -> ebbcache.LRUCache[int, None]:
    return ebbcache.LRUCache(sizeof=entry_bytes)


def fill(cache: ebbcache.LRUCache[int, None], pages: int, *, start: int = 0) -> None:
    for number in range(start, start + pages):
        cache[number] = None


def test_a_cache_fills_what_is_free_and_stops_at_the_cap(played: Machine, cache: ebbcache.LRUCache) -> None:
    fill(cache, 10_000)
    assert cache.nbytes <= played.governor.cap + PAGE
    assert cache.nbytes >= 0.9 * played.governor.cap
    assert played.headroom >= played.governor.marks.low
    assert played.governor.state == "calm"
    assert 9_999 in cache


def test_caches_make_way_for_others_and_come_back(played: Machine, cache: ebbcache.LRUCache) -> None:
    fill(cache, 10_000)
    full = cache.nbytes
    for _ in range(3):
        for _ in range(10):  # 100 MiB more in a second
            played.others += 10 * MIB
            played.advance(0.1)
            assert played.headroom > 0
        squeezed = cache.nbytes
        assert squeezed < full - 40 * MIB
        played.others -= 100 * MIB
        for second in range(300):  # the burst is kept in mind for minutes
            played.advance(1.0)
            fill(cache, 100, start=second * 100)
        assert cache.nbytes > 0.9 * full


def test_sizes_settle_under_constant_pressure(played: Machine, cache: ebbcache.LRUCache) -> None:
    for _ in range(80):  # slowly: a burst would be kept in mind for minutes
        played.others += MIB
        played.advance(0.1)
    fill(cache, 10_000)
    played.advance(60)
    sizes = []
    for second in range(100):
        fill(cache, 50, start=second * 50)
        played.advance(1.0)
        sizes.append(cache.nbytes)
    mean = sum(sizes) / len(sizes)
    assert max(abs(size - mean) for size in sizes) < 0.05 * mean


def test_nothing_is_freed_because_a_reading_does_not_move() -> None:
    with testing.machine(LIMIT, 40 * MIB, returns=0.0) as played:  # freed memory never goes back
        cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
        fill(cache, 10_000)
        full = cache.nbytes
        played.others += 30 * MIB
        played.advance(30.0)
        assert cache.nbytes > full - 90 * MIB
        settled = cache.nbytes
        played.advance(10.0)
        assert cache.nbytes > settled - 8 * MIB


def test_retained_memory_is_filled_again() -> None:
    with testing.machine(LIMIT, 40 * MIB, returns=0.0) as played:
        cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
        fill(cache, 10_000)
        full = cache.nbytes
        ebbcache.reclaim("60 MiB")
        assert cache.nbytes < full - 50 * MIB
        fill(cache, 10_000)
        assert cache.nbytes > 0.9 * full
        assert played.headroom > 0


def test_a_ceiling_that_falls_is_obeyed_and_one_that_rises_used(
    played: Machine, cache: ebbcache.LRUCache
) -> None:
    fill(cache, 10_000)
    played.limit = 128 * MIB
    played.advance(0.1)
    assert played.headroom > 0
    fill(cache, 1_000)
    played.advance(1.0)
    assert played.headroom >= played.governor.marks.min
    played.limit = 512 * MIB
    played.advance(200)
    fill(cache, 10_000)
    assert cache.nbytes > 300 * MIB


def test_exhausted_says_so_once_stops_keeping_and_recovers(
    played: Machine, cache: ebbcache.LRUCache, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="ebbcache")
    fill(cache, 100)
    played.others = LIMIT - 2 * MIB
    for _ in range(200):
        played.advance(0.1)
    assert len(cache) == 0
    fill(cache, 50)
    assert len(cache) == 0
    assert cache.stats().refused == 50
    said = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 1
    assert "not kept" in said[0].getMessage()
    played.others = 40 * MIB
    played.advance(60)
    fill(cache, 50)
    assert len(cache) == 50


def test_one_line_a_change_of_state(
    played: Machine, cache: ebbcache.LRUCache, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="ebbcache.governor")
    fill(cache, 10_000)
    played.advance(30)
    assert caplog.records == []
    played.others += 90 * MIB
    played.advance(30)
    states = [record.getMessage().split()[2] for record in caplog.records]
    assert states == ["hard", "calm"]


def test_soft_pressure_leaves_floors_alone_and_hard_does_not(played: Machine) -> None:
    cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes, min_bytes="16 MiB")
    fill(cache, 10_000)
    ebbcache.reclaim(None)
    assert 16 * MIB <= cache.nbytes < 17 * MIB
    played.others = LIMIT - 1 * MIB
    played.advance(5)
    assert cache.nbytes == 0


def test_a_value_that_could_never_fit_is_not_taken_in(played: Machine) -> None:
    cache = ebbcache.LRUCache[str, bytes](sizeof=lambda key, value: len(value) * MIB)
    cache["small"] = bytes(10)
    played.others += 300 * MIB  # the value exists already when it is inserted
    played.limit = LIMIT + 300 * MIB
    played.governor.look()
    cache["huge"] = bytes(2000)
    assert "huge" not in cache


def test_user_shrinkers_are_asked_under_pressure_but_not_for_growth(played: Machine) -> None:
    asked: list[tuple[int, bool]] = []

    def shrink(target: int, hard: bool) -> int:
        asked.append((target, hard))
        return 0

    cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
    with ebbcache.register_shrinker("mine", shrink, size=lambda: 8 * MIB):
        fill(cache, 10_000)
        assert asked == []
        for _ in range(80):
            played.others += MIB
            played.advance(0.1)
    assert asked
    assert not any(hard for _, hard in asked)


def test_an_insert_under_soft_pressure_leaves_users_shrinkers_to_the_watcher(
    played: Machine, cache: ebbcache.LRUCache[int, None]
) -> None:
    asked: list[bool] = []

    def ours(target: int, hard: bool) -> int:
        asked.append(hard)
        return 0

    fill(cache, 1_000)
    with ebbcache.register_shrinker("ours", ours):
        played.others += played.headroom - played.governor.marks.low + MIB
        ebbcache.governor.allowance.left = 0
        cache[-1] = None
        assert played.governor.state == "soft"
        assert asked == []
        played.others += MIB
        played.look()
        assert asked == [False]


def test_a_lying_shrinker_does_not_keep_caches_from_giving(played: Machine) -> None:
    cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
    fill(cache, 10_000)
    with ebbcache.register_shrinker("liar", lambda target, hard: 1 << 40):
        for _ in range(30):
            played.others += 5 * MIB
            played.advance(0.05)
            assert played.headroom > 0


def test_make_room_frees_ahead_and_keeps_caches_out(played: Machine, cache: ebbcache.LRUCache) -> None:
    fill(cache, 10_000)
    full = cache.nbytes
    with ebbcache.make_room("100 MiB") as freed:
        assert freed.freed > 0
        assert played.headroom >= 100 * MIB
        fill(cache, 1_000, start=20_000)
        assert played.headroom >= 100 * MIB
        played.others += 100 * MIB
        fill(cache, 1_000, start=30_000)
        assert played.headroom > played.governor.marks.min
        before = cache.nbytes
        played.advance(1.0)
        assert cache.nbytes >= before - MIB  # what the block took is its room, not another burst on top
        played.others -= 100 * MIB
    played.advance(120)
    fill(cache, 10_000)
    assert cache.nbytes > 0.9 * full


@pytest.mark.parametrize("wrong", [-1, "much", "5 parsecs"])
def test_make_room_and_reclaim_name_what_they_were_given(wrong: object) -> None:
    with pytest.raises(ValueError, match="amount"):
        ebbcache.make_room(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="target"):
        ebbcache.reclaim(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="amount"):
        ebbcache.make_room(1.5)  # type: ignore[arg-type]


def test_an_insert_from_inside_a_look_is_no_second_look(played: Machine, cache: ebbcache.LRUCache) -> None:
    other = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
    looks: list[int] = []

    def listener(key: int, value: None, cause: object) -> None:
        looks.append(played.governor.looks)
        other[key] = None

    noisy = ebbcache.LRUCache[int, None](sizeof=entry_bytes, listener=listener)
    fill(noisy, 6_000)
    assert looks
    assert len(other) > 0
    assert played.headroom > 0


def test_an_insert_does_not_wait_for_a_shrinker_that_hangs(
    played: Machine, cache: ebbcache.LRUCache
) -> None:
    entered, release = threading.Event(), threading.Event()

    def hang(target: int, hard: bool) -> int:
        entered.set()
        release.wait(60)
        return 0

    with ebbcache.register_shrinker("hangs", hang, size=lambda: MIB):
        stuck = threading.Thread(target=ebbcache.reclaim, args=(None,))
        stuck.start()
        try:
            assert entered.wait(30)
            fill(cache, 100)
            assert len(cache) == 100
            assert stuck.is_alive()
        finally:
            release.set()
            stuck.join()


def test_a_source_that_fails_is_never_read_as_plenty(
    played: Machine, cache: ebbcache.LRUCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cache, 100)
    monkeypatch.setattr(played, "read", lambda: None)
    governor.allowance.left = 0
    fill(cache, 50, start=1000)
    assert len(cache) == 100


def test_without_any_ceiling_caches_just_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "read", lambda self: None)
    with testing.machine(LIMIT):
        cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
        fill(cache, 10_000)
        assert len(cache) == 10_000


def test_memory_high_is_a_soft_ceiling(cache: ebbcache.LRUCache, played: Machine) -> None:
    played.soft = True
    fill(cache, 10_000)
    played.others += played.headroom - MIB
    played.look()
    assert played.governor.passes["hard"] == 0
    assert played.governor.passes["soft"] >= 1


def test_pressure_asks_at_once_and_lets_go(cache: ebbcache.LRUCache) -> None:
    fill(cache, 1_000)
    before = cache.nbytes
    asked: list[bool] = []

    def shrink(target: int, hard: bool) -> int:
        asked.append(hard)
        return 0

    seen = ebbcache.register_shrinker("seen", shrink, size=lambda: 8 * MIB)
    with seen, testing.pressure("10 MiB", hard=True) as squeeze:
        assert before - 12 * MIB < cache.nbytes <= before - 8 * MIB
        assert squeeze.headroom >= 18 * MIB
    assert True in asked
    fill(cache, 1_000)
    assert cache.nbytes == before


def test_the_watcher_starts_with_a_cache_and_there_is_one(
    played: Machine, cache: ebbcache.LRUCache
) -> None:
    more = [ebbcache.LRUCache[int, None]() for _ in range(20)]
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("ebbcache-governor") == 1
    assert len(more) == 20


def test_sizes_are_what_registered_caches_hold(cache: ebbcache.LRUCache) -> None:
    before = engine.sizes()
    fill(cache, 10)
    assert engine.sizes() == before + 10 * PAGE


def test_two_rooms_are_two_rooms(played: Machine, cache: ebbcache.LRUCache) -> None:
    with ebbcache.make_room("50 MiB"), ebbcache.make_room("50 MiB"):
        played.others += 50 * MIB
        played.look()
        assert played.governor.rooms == 50 * MIB
    assert played.governor.rooms == 0


def test_a_trim_that_brings_nothing_does_not_take_the_place_of_eviction() -> None:
    with testing.machine(LIMIT, 40 * MIB, returns=0.0) as played:
        cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
        fill(cache, 10_000)
        ebbcache.reclaim(cache.nbytes // 2)
        heap = PlayedHeap(played)
        heap.trim = lambda at_once: None  # type: ignore[method-assign]
        played.governor.heap = Heap(heap, lambda: played.time)
        before = cache.nbytes
        played.others += played.headroom - 4 * MIB
        played.look()
        assert cache.nbytes < before


def test_an_insert_survives_a_governor_that_fails(
    played: Machine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)

    def out_of_stack() -> None:
        raise RecursionError

    monkeypatch.setattr(played, "read", out_of_stack)
    governor.the_watcher._failures.clear()
    governor.allowance.left = 0
    fill(cache, 3)
    assert len(cache) == 0
    assert cache.stats().refused == 3
    assert [record.levelname for record in caplog.records] == ["ERROR"]


class PlayedHeap:
    """A malloc that keeps what caches free until it is told to return it."""

    def __init__(self, played: Machine) -> None:
        self.played = played
        self.trims = 0

    def free_bytes(self) -> int:
        return int(self.played._kept)

    def trim(self, at_once: bool = False) -> None:
        self.trims += 1
        self.played._kept = 0.0


def test_what_malloc_holds_is_returned_before_anything_more_is_evicted() -> None:
    with testing.machine(LIMIT, 40 * MIB, returns=0.0) as played:
        heap = PlayedHeap(played)
        played.governor.heap = Heap(heap, lambda: played.time)
        cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
        fill(cache, 10_000)
        full = cache.nbytes
        for step in range(120):  # others take 120 MiB, in a ramp, and the service goes on
            played.others += MIB
            played.advance(0.02)
            fill(cache, 2, start=20_000 + 2 * step)
            assert played.headroom > 0
        assert heap.trims > 0
        assert played.governor.cap * 0.7 < cache.nbytes < full


def test_what_malloc_keeps_of_a_burst_is_returned_when_caches_want_it() -> None:
    with testing.machine(LIMIT, 40 * MIB) as played:
        heap = PlayedHeap(played)
        played.governor.heap = Heap(heap, lambda: played.time)
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


def test_inserts_while_a_shrinker_hangs_are_kept_within_bounds(played: Machine) -> None:
    entered, release = threading.Event(), threading.Event()

    def hang(target: int, hard: bool) -> int:
        entered.set()
        release.wait(60)
        return 0

    with ebbcache.register_shrinker("hangs", hang, size=lambda: MIB):
        cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
        stuck = threading.Thread(target=played.governor.reclaim, args=(None, False))
        stuck.start()
        try:
            assert entered.wait(30)
            fill(cache, 1_500)
            refused = cache.stats().refused
        finally:
            release.set()
            stuck.join()
    assert 0 < refused < 1_500
    assert played.headroom > 0


def test_a_size_that_is_not_in_our_usage_costs_no_cache_its_entries(played: Machine) -> None:
    cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
    usage = played.read

    def without_it() -> object:
        reading = usage()
        return dataclasses.replace(
            reading, usage=reading.usage - 400 * MIB, headroom=reading.headroom + 400 * MIB
        )

    with ebbcache.register_shrinker("elsewhere", lambda target, hard: 0, size=lambda: 400 * MIB):
        played.governor.memory.read = without_it  # type: ignore[method-assign, assignment]
        fill(cache, 1_000)
        played.advance(5.0)
        assert len(cache) == 1_000


def test_make_room_says_all_that_was_freed(played: Machine, cache: ebbcache.LRUCache) -> None:
    fill(cache, 10_000)
    full = cache.nbytes
    with ebbcache.make_room("10 GiB") as freed:
        assert freed.freed == full
        assert freed.hard
    assert freed.target is not None
    assert freed.target > freed.freed


def test_growth_that_goes_on_is_expected_to_go_on_where_evicting_helps() -> None:
    with testing.machine(LIMIT, 40 * MIB) as played:
        cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
        for second in range(20):  # what comes back is learnt
            fill(cache, 1_000, start=1_000 * second)
            played.advance(1.5)
        for _ in range(4):
            played.others += 20 * MIB
            played.advance(0.02)
            assert played.headroom > 20 * MIB
            played.advance(0.5)
