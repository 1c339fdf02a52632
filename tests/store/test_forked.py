"""After a fork, what came in since goes first: inherited entries lie in pages of other processes, too."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from ebbcache import store

pytestmark = pytest.mark.skipif(
    store.IMPLEMENTATION != "native", reason="the pure store keeps to the order of use after a fork as well"
)


@pytest.fixture(autouse=True)
def together_again() -> Iterator[None]:
    yield
    store.apart(False)


def filled(count: int) -> store.LRUStore[int, int]:
    made: store.LRUStore[int, int] = store.LRUStore()
    for n in range(count):
        put(made, n)
    return made


def put(into: store.LRUStore[int, int], n: int) -> None:
    into._put(n, hash(n), n, 10)


def order(of: store.LRUStore[int, int]) -> list[int]:
    of._check()
    return [entry.key for entry in of._ranked(1000, False)]


def test_what_came_in_since_goes_first_and_the_inherited_last() -> None:
    cache = filled(6)
    store.apart(True)
    for n in (10, 11, 12):
        put(cache, n)
    assert order(cache) == [10, 11, 12, 0, 1, 2, 3, 4, 5]
    assert [entry.key for entry in cache._evict(40)] == [10, 11, 12, 0]
    put(cache, 13)
    assert order(cache) == [13, 1, 2, 3, 4, 5]


def test_an_inherited_entry_that_is_used_is_the_last_of_the_inherited() -> None:
    cache = filled(4)
    store.apart(True)
    put(cache, 10)
    for n in (3, 1, 10):
        assert cache[n] == n
    assert order(cache) == [10, 0, 2, 3, 1]


def test_an_inherited_entry_with_a_new_value_is_the_childs_own() -> None:
    cache = filled(4)
    store.apart(True)
    put(cache, 10)
    put(cache, 2)
    assert order(cache) == [10, 2, 0, 1, 3]


def dense(count: int) -> store.DensityStore[int, int]:
    made: store.DensityStore[int, int] = store.DensityStore()
    for n in range(count):
        made._put(n, hash(n), n, 10, cost=1.0)
    return made


def test_a_density_store_gives_up_its_own_entries_first_however_dense_they_are() -> None:
    cache = dense(1000)
    store.apart(True)
    for n in range(1000, 1500):
        cache._put(n, hash(n), n, 10, cost=1000.0)
        assert cache[n] == n
    for few in (20, 10, 20):  # one by one
        assert all(entry.key >= 1000 for entry in cache._evict(few))
    assert all(entry.key >= 1000 for entry in cache._evict(3_000))  # by a waterline
    cache._check()
    left = sum(entry.key >= 1000 for entry in cache._snapshot())
    gone = cache._evict(2_950)  # more than there is of them: the rest is inherited
    cache._check()
    assert sum(entry.key >= 1000 for entry in gone) == left == 195
    assert len(gone) == 295


def test_a_density_store_that_is_alone_again_gives_up_the_least_dense_of_all() -> None:
    cache = dense(100)
    store.apart(True)
    for n in range(100, 200):
        cache._put(n, hash(n), n, 10, cost=1000.0)
    store.apart(False)
    assert {entry.key for entry in cache._evict(500)} < set(range(100))
    cache._check()


def test_a_density_store_keeps_a_new_entry_where_all_others_are_inherited() -> None:
    cache = dense(100)
    store.apart(True)
    entry, _ = cache._put(100, hash(100), 100, 10, cost=1.0)
    gone = cache._evict_one(entry)
    assert gone is not None
    assert gone.key < 100


def test_where_nothing_is_shared_any_more_the_order_is_that_of_use_again() -> None:
    cache = filled(3)
    store.apart(True)
    put(cache, 10)
    store.apart(False)
    put(cache, 11)
    assert order(cache) == [10, 0, 1, 2, 11]
    assert cache[0] == 0
    assert order(cache) == [10, 1, 2, 11, 0]


@pytest.mark.parametrize("kind", [store.LRUStore, store.DensityStore, store.LFUStore])
def test_whatever_happens_everything_is_in_order(kind: type[store.LRUStore[int, int]]) -> None:
    chance = random.Random(7)
    cache = kind()
    for _ in range(8_000):
        n = chance.randrange(400)
        match chance.randrange(14):
            case 0:
                store.apart(chance.random() < 0.5)
            case 1:
                cache._evict(chance.randrange(3_000))
            case 2 | 3:
                cache.pop(n, None)
            case 4 | 5 | 6:
                cache.get(n)
            case 7:
                cache._evict_one()
            case _:
                cache._put(n, hash(n), n, chance.randrange(20))
        cache._check()
