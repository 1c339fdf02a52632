"""Inserts of every kind beside a plain model of an LRU cache: what stays, in what order, how many bytes.

Short cuts for replacing a value and for taking a victim's place must not be told from the long way.
"""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

from ebbcache import DensityCache, LFUCache, LRUCache, TTLCache, register_sizer
from ebbcache.caches import Cache
from ebbcache.sizing import sizeof


class Model:
    """The entries that an LRU cache with those limits holds, coldest first."""

    def __init__(self, cache: Cache[Any, Any], spent: int) -> None:
        self.maxsize, self.maxbytes = cache.maxsize, cache.maxbytes
        self.spent = spent
        self.entries: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self.evictions = 0

    @property
    def nbytes(self) -> int:
        return sum(size for _, size in self.entries.values())

    def set(self, key: Any, value: Any) -> None:
        size = sizeof(key) + sizeof(value) + self.spent
        self.entries.pop(key, None)
        if self.maxbytes is not None and size > self.maxbytes:
            return
        self.entries[key] = (value, size)
        while (self.maxsize is not None and len(self.entries) > self.maxsize) or (
            self.maxbytes is not None and self.nbytes > self.maxbytes
        ):
            self.entries.popitem(last=False)
            self.evictions += 1

    def get(self, key: Any) -> Any:
        if key not in self.entries:
            return None
        self.entries.move_to_end(key)
        return self.entries[key][0]


def some_value(draw: random.Random) -> Any:
    return draw.choice(
        [
            7,
            10**6,
            2**40,
            2**70,
            -3.5,
            None,
            True,
            "text" * draw.randrange(9),
            "ü" * 5,
            b"x" * 300,
            (1, "a"),
            [2],
        ]
    )


LIMITS: list[dict[str, Any]] = [
    {"maxsize": 1},
    {"maxsize": 20},
    {"maxbytes": 3000},
    {"maxsize": 20, "maxbytes": 2500},
    {"maxsize": 20.5},
    {},
]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("ttl", [None, 3600.0])
def test_inserts_do_what_a_model_does(limits: dict[str, Any], ttl: float | None) -> None:
    draw = random.Random(repr(limits))
    cache: Cache[Any, Any] = LRUCache(**limits) if ttl is None else TTLCache(ttl=ttl, **limits)
    model = Model(cache, cache.overhead if ttl is None else cache.overhead + cache.dated)
    for turn in range(1500):
        key = draw.choice([draw.randrange(60), 10**7 + draw.randrange(30), f"key {draw.randrange(9)}", 2.5])
        if draw.random() < 0.3:
            assert cache.get(key) == model.get(key)
            continue
        if draw.random() < 0.05:
            assert cache.pop(key, None) == model.entries.pop(key, (None,))[0]
        value = some_value(draw)
        if draw.random() < 0.2:
            cache.set(key, value, cost=0.001)
        else:
            cache[key] = value
        model.set(key, value)
        if turn % 10 == 0:
            cache._check()
            assert list(cache.items()) == [(key, value) for key, (value, _) in model.entries.items()]
        assert cache.nbytes == model.nbytes
    assert cache.stats().evictions == model.evictions


def test_the_expired_make_room_before_the_coldest() -> None:
    cache: TTLCache[int, str] = TTLCache(maxsize=3, ttl=3600.0)
    for key in (1, 2):
        cache[key] = "cold"
    cache.set(3, "short", ttl=1e-9)
    cache[4] = "new"
    assert list(cache) == [1, 2, 4]
    assert (cache.stats().expirations, cache.stats().evictions) == (1, 0)
    cache[5] = "newer"
    assert list(cache) == [2, 4, 5]
    cache._check()


def test_what_has_expired_is_not_replaced_but_gone() -> None:
    heard = []
    cache: TTLCache[int, str] = TTLCache(ttl=3600.0)
    cache.set(1, "old", ttl=1e-9)
    cache.get(1)
    cache.set(1, "old", ttl=1e-9)
    cache[1] = "new"
    assert cache.stats().expirations == 2
    cache.listener = lambda key, value, cause: heard.append((key, value, cause.kind))
    cache[1] = "newest"
    assert heard == [(1, "new", "replaced")]
    cache._check()


def test_a_new_value_prolongs_the_life_of_an_entry() -> None:
    cache: TTLCache[int, int] = TTLCache(maxsize=4, ttl=3600.0)
    cache[0] = 0
    first = cache.seconds_to_expiry()
    for number in range(500):
        cache[number % 5] = number
    last = cache.seconds_to_expiry()
    assert first is not None
    assert last is not None
    assert 3590 < last <= 3600
    assert cache.expire(time.monotonic() + 3599) == []
    assert [key for key, _ in cache.expire(time.monotonic() + 3601)] == [1, 2, 3, 4]
    cache._check()


@pytest.mark.parametrize("make", [LRUCache, LFUCache, DensityCache])
def test_values_die_when_they_are_replaced_or_evicted(make: Callable[..., Cache[Any, Any]]) -> None:
    dead: list[int] = []

    class Value:
        def __init__(self, number: int) -> None:
            self.number = number

        def __del__(self) -> None:
            dead.append(self.number)
            assert len(cache) <= 2
            cache._check()

    cache = make(maxsize=2)
    cache[1] = Value(1)
    cache[1] = Value(2)
    assert dead == [1]
    cache[2] = cache[3] = None
    assert dead == [1, 2]


def test_what_measuring_a_value_may_cost_follows_from_the_cost_of_the_miss() -> None:
    """A long list is sampled where it was cheap to make, and walked where it was dear."""

    class Item:
        looks = 0

    @register_sizer(Item)
    def size_of_item(item: Item) -> int:
        Item.looks += 1
        return 100

    def looks(cost: float) -> int:
        cache: LRUCache[int, Any] = LRUCache(maxsize=10)
        Item.looks = 0
        cache.set(1, [Item() for _ in range(40_000)], cost=cost)
        return Item.looks

    cheap, dear = looks(1e-6), looks(30.0)
    assert cheap < 5_000
    assert dear > 2 * cheap
