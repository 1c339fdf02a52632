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


def test_an_inherited_entry_that_is_used_belongs_to_the_child() -> None:
    cache = filled(4)
    store.apart(True)
    put(cache, 10)
    for n in (3, 1, 10):
        assert cache[n] == n
    assert order(cache) == [3, 1, 10, 0, 2]


def test_where_nothing_is_shared_any_more_the_order_is_that_of_use_again() -> None:
    cache = filled(3)
    store.apart(True)
    put(cache, 10)
    store.apart(False)
    put(cache, 11)
    assert order(cache) == [10, 0, 1, 2, 11]
    assert cache[0] == 0
    assert order(cache) == [10, 1, 2, 11, 0]


def test_whatever_happens_the_order_is_whole() -> None:
    chance = random.Random(7)
    cache = filled(50)
    for _ in range(5_000):
        n = chance.randrange(150)
        match chance.randrange(12):
            case 0:
                store.apart(chance.random() < 0.5)
            case 1:
                cache._evict(chance.randrange(400))
            case 2 | 3:
                cache.pop(n, None)
            case 4 | 5 | 6:
                cache.get(n)
            case _:
                put(cache, n)
        cache._check()
