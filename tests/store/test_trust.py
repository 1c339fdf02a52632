"""What a cache's coldest entries promised and what came of it: traps sink, loops do not; on all stores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from both_stores import IMPLEMENTATIONS

from ebbcache.clock import clock
from ebbcache.store import guarded
from ebbcache.store.density import density_class
from ebbcache.store.trust import DOUBT, MEMORY, MOST, TYPICAL, WATCHED, Trust

STORES: dict[str, Callable[[], Any]] = {
    name: stores.DensityStore for name, stores in IMPLEMENTATIONS.items()
}
STORES["guarded"] = guarded.DensityStore


@pytest.fixture
def hand() -> Iterator[list[float]]:
    """A clock that stands at `hand[0]`."""
    time, before = [1000.0], clock.timer
    clock.timer = lambda: time[0]
    clock.tick()
    yield time
    clock.timer = before
    clock.tick()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, hand: list[float]) -> Any:
    return STORES[request.param]()


def fill(store: Any, count: int, size: int = 100) -> None:
    for n in range(count):
        store._put(n, hash(n), -n, size, cost=1.0)


def wait(hand: list[float], seconds: float) -> float:
    hand[0] += seconds
    return clock.tick()


def level(store: Any, now: float) -> int:
    """The class that the store says its entries have, all of the same density."""
    [(found, nbytes)] = store._tally(now).items()
    assert nbytes == store.nbytes
    return int(found)


def by_itself(age: float, size: int = 100, hits: float = 1.0) -> int:
    return density_class(hits / (size * age))


def test_the_first_tally_takes_densities_at_their_word(store: Any, hand: list[float]) -> None:
    fill(store, 300)
    assert level(store, wait(hand, 10.0)) == by_itself(10.0)


def test_what_is_never_used_again_sinks(store: Any, hand: list[float]) -> None:
    fill(store, 300)
    now = wait(hand, 1.0)
    assert level(store, now) == by_itself(1.0)
    for doubled in range(1, 6):
        now = wait(hand, 2.0 ** (doubled - 1))
        found = level(store, now)
        promised = promises(300, doubled)
        assert found == density_class(DOUBT / (promised + DOUBT) / (100 * 2.0**doubled))
    assert found <= by_itself(2.0**5) - 4


def promises(entries: int, doubled: int) -> float:
    """Hits promised by those that are watched while ages double so many times."""
    cold = entries  # all are of the coldest class
    return len(range(0, cold, -(-cold // WATCHED))) * math.log(2.0) * doubled


def test_what_is_used_again_does_not(store: Any, hand: list[float]) -> None:
    fill(store, 300)
    for _ in range(20):
        now = wait(hand, 10.0)
        found = level(store, now)
        for n in range(300):  # a loop through everything: each is used when it is coldest
            assert store.get(n) == -n
    hits = 20.0
    assert found >= by_itself(10.0, hits=hits)


def test_several_uses_count_as_one_of_their_time(store: Any, hand: list[float]) -> None:
    store._put("key", hash("key"), 1, 100, cost=1.0)
    store._tally(wait(hand, 10.0))
    for _ in range(4):
        wait(hand, 10.0)
        store.get("key")
    # Used 4 times within 40 seconds: the first, about, 10 s after the tally, at twice the age.
    factor = (1 / TYPICAL + DOUBT) / (math.log(2.0) + DOUBT)
    assert factor > MOST
    assert level(store, wait(hand, 10.0)) == density_class(5.0 * MOST / (100 * 10.0))


def test_what_left_promises_nothing_more(store: Any, hand: list[float]) -> None:
    fill(store, 64)
    store._tally(wait(hand, 1.0))
    for n in range(64):
        store._take(n, hash(n))
    fill(store, 64)
    assert level(store, wait(hand, 1e6)) == by_itself(1e6)


def test_what_moved_is_found_again(store: Any, hand: list[float]) -> None:
    fill(store, 2000)
    store._evict(1, 0)
    for n in range(1900, 2000):
        assert store.get(n) == -n
    store._tally(wait(hand, 1.0))
    for n in range(1800):  # the table is made smaller meanwhile
        if n % 20:
            store._take(n, hash(n))
    now = wait(hand, 1e6)
    assert sum(store._tally(now).values()) == store.nbytes
    assert min(store._tally(now)) <= by_itself(1e6) - 2
    store._check()


def test_draining_forgets(store: Any, hand: list[float]) -> None:
    fill(store, 300)
    for _ in range(5):
        store._tally(wait(hand, 100.0))
    store._drain()
    fill(store, 300)
    assert level(store, wait(hand, 10.0)) == by_itself(10.0)
    assert store._tally(0.0)  # an earlier time promises nothing, and harms nothing


def test_a_factor_has_its_bounds() -> None:
    trust = Trust()
    assert trust.factor(lambda serial: None, 1.0) == 1.0
    trust.promised = 1e9
    assert trust.factor(lambda serial: None, 1.0) == DOUBT / (MEMORY + DOUBT)
    assert trust.promised == MEMORY
    trust.found, trust.promised = 900.0, 1.0
    assert trust.factor(lambda serial: None, 1.0) == MOST
    trust.watch([], [], 2.0)
    assert trust.watched == []
