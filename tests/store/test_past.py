"""What was used and given up is known again, and loops do not wash a store out; on both implementations."""

from __future__ import annotations

from typing import Any

import pytest

from ebbcache.store.past import HALVING, LEAST, Past, wanted


@pytest.fixture(params=["pure", "native"])
def store(request: pytest.FixtureRequest) -> Any:
    if request.param == "pure":
        from ebbcache.store.policies import DensityStore

        return DensityStore()
    pytest.importorskip("ebbcache.store._store", reason="the native store was not built")
    from ebbcache.store.twin import DensityStore as Native

    return Native()


def fetch(store: Any, key: int, room: int) -> bool:
    """Look `key` up, or put it into a store of `room` entries; return whether it was there."""
    if store.get(key) is not None:
        return True
    store._put(key, hash(key), key + 1, 1)
    while store.nbytes > room:
        store._evict_one(store._seek(key, hash(key)))
    return False


def test_hits_come_back_to_a_power_of_two() -> None:
    past = Past()
    for hits, again in ((1.0, 0), (2.0, 2), (3.0, 2), (9.0, 8), (1000.0, 128)):
        past.add(7, hits, 10)
        if hits >= 2:
            assert past.hits(7) == again
    assert Past().hits(7) == 0


def test_strangers_are_mostly_strangers() -> None:
    past = Past()
    for h in range(1000):
        past.add(h, 2.0, 1000)
    taken = sum(past.hits(h) > 0 for h in range(1000, 11_000))
    assert taken < 10_000 // 16


def test_what_is_remembered_fades() -> None:
    past = Past()
    past.add(-5, 9.0, 0)
    seen = []
    for n in range(5 * LEAST):
        past.add(n, 1.0, 0)
        seen.append(past.hits(-5))
    assert seen == sorted(seen, reverse=True)
    assert {8, 4, 2, 0} == set(seen)


def test_the_table_follows_the_store() -> None:
    past = Past()
    for n in range(2000):
        past.add(n, 5.0, 2000)
    assert len(past.cells) == wanted(2000)
    past.tighten(10)
    assert len(past.cells) == LEAST
    past.left = 0
    past.add(1, 2.0, 300)
    assert len(past.cells) == wanted(300)
    assert past.left == HALVING * 300 - 1


def test_what_was_used_outlives_what_was_not(store: Any) -> None:
    for key in range(64):
        fetch(store, key, 64)
    for _ in range(6):
        assert fetch(store, 7, 64)
    while store._evict_one().key != 7:
        pass
    fetch(store, 7, 64)
    fetch(store, 1000, 64)
    assert store._seek(7, hash(7)).hits == 5.0  # 1, and what is left of 7
    assert store._seek(1000, hash(1000)).hits == 1.0


def test_a_loop_longer_than_the_store_is_not_all_missed(store: Any) -> None:
    found = sum(fetch(store, key % 300, 60) for key in range(60_000))
    assert found > 60_000 * 0.05


def test_a_store_that_was_cleared_remembers_nothing(store: Any) -> None:
    for key in range(500):
        fetch(store, key, 10)
        fetch(store, key, 10)
    store._drain()
    for key in range(500):
        fetch(store, key, 1000)
    assert {store._seek(key, hash(key)).hits for key in range(500)} == {1.0}
