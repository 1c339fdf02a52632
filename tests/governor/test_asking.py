"""Users' shrinkers: when they are asked, and what it costs that they hang, lie, or count too much."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playing import LIMIT, MIB, entry_bytes, fill

import ebbcache
from ebbcache.testing import Machine


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
        played.others += played.headroom - played.governor.sight.marks.low + MIB
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


@contextmanager
def hung(reclaim: Callable[[], object]) -> Iterator[threading.Thread]:
    """Have a shrinker hang, asked by `reclaim` in a thread that is given, until the block ends."""
    entered, release = threading.Event(), threading.Event()

    def hang(target: int, hard: bool) -> int:
        entered.set()
        release.wait(60)
        return 0

    with ebbcache.register_shrinker("hangs", hang, size=lambda: MIB):
        stuck = threading.Thread(target=reclaim)
        stuck.start()
        try:
            assert entered.wait(30)
            yield stuck
        finally:
            release.set()
            stuck.join()


def test_an_insert_does_not_wait_for_a_shrinker_that_hangs(
    played: Machine, cache: ebbcache.LRUCache
) -> None:
    with hung(lambda: ebbcache.reclaim(None)) as stuck:
        fill(cache, 100)
        assert len(cache) == 100
        assert stuck.is_alive()


def test_inserts_while_a_shrinker_hangs_are_kept_within_bounds(played: Machine) -> None:
    cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes)
    with hung(lambda: played.governor.reclaim(None, False)):
        fill(cache, 1_500)
        refused = cache.stats().refused
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
        played.governor.sight.memory.read = without_it  # type: ignore[method-assign, assignment]
        fill(cache, 1_000)
        played.advance(5.0)
        assert len(cache) == 1_000


def test_soft_pressure_leaves_floors_alone_and_hard_does_not(played: Machine) -> None:
    cache = ebbcache.LRUCache[int, None](sizeof=entry_bytes, min_bytes="16 MiB")
    fill(cache, 10_000)
    ebbcache.reclaim(None)
    assert 16 * MIB <= cache.nbytes < 17 * MIB
    played.others = LIMIT - 1 * MIB
    played.advance(5)
    assert cache.nbytes == 0
