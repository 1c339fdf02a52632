"""The governor's decisions, played on a make-believe machine with real caches."""

from __future__ import annotations

import logging
import threading

import pytest
from playing import LIMIT, MIB, PAGE, entry_bytes, fill

import ebbcache
from ebbcache import engine, governor, testing
from ebbcache.testing import Machine


def test_a_cache_fills_what_is_free_and_stops_at_the_cap(played: Machine, cache: ebbcache.LRUCache) -> None:
    fill(cache, 10_000)
    assert cache.nbytes <= played.governor.sight.cap + PAGE
    assert cache.nbytes >= 0.9 * played.governor.sight.cap
    assert played.headroom >= played.governor.sight.marks.low
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
    fill(cache, 10_000)
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
    assert played.headroom >= played.governor.sight.marks.min
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


def test_a_value_that_could_never_fit_is_not_taken_in(played: Machine) -> None:
    cache = ebbcache.LRUCache[str, bytes](sizeof=lambda key, value: len(value) * MIB)
    cache["small"] = bytes(10)
    played.others += 300 * MIB  # the value exists already when it is inserted
    played.limit = LIMIT + 300 * MIB
    played.governor.look()
    cache["huge"] = bytes(2000)
    assert "huge" not in cache


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


def test_where_the_watcher_comes_late_more_is_left_free_for_a_while(played: Machine) -> None:
    played.look()
    governor = played.governor
    usual = governor.sight.account.reaction
    governor.sight.came_late(0.005)  # beside a busy thread
    played.look()
    assert governor.sight.account.reaction == usual
    governor.sight.came_late(0.05)  # once
    played.look()
    assert governor.sight.account.reaction == usual
    for _ in range(20):
        governor.sight.came_late(10.0)
    governor.sight.came_late(0.0)
    played.look()
    late = governor.sight.account.reaction
    assert usual < late < 4 * usual
    played.time += 1_000.0
    played.look()
    assert governor.sight.account.reaction == usual
