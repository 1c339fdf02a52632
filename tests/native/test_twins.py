"""Both implementations, driven by the same operations: what can be seen stays the same, to the last tie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ebbcache.clock import clock
from ebbcache.store import policies

pytest.importorskip("ebbcache.store._store")
from ebbcache.store import twin

KEYS = st.one_of(
    st.integers(-40, 400),
    st.sampled_from(["a", "b", "ü", 1.0, True, None, -1, -2, (1, 2), (1, (2, "x")), b"b", float("inf")]),
)
NUMBERS = st.integers(0, 2000)


def seen(entry: Any) -> Any:
    """Return what can be seen of an entry, or of a list or pair of them."""
    if entry is None or isinstance(entry, bool):
        return entry
    if isinstance(entry, list | tuple):
        return [seen(each) for each in entry]
    return (
        entry.key,
        type(entry.key),
        entry.value,
        entry.size,
        entry.weight,
        entry.cost,
        entry.stamp,
        entry.hits,
        entry.deadline,
    )


@pytest.fixture(autouse=True)
def the_clock() -> Iterator[None]:
    timer = clock.timer
    yield
    clock.timer = timer
    clock.tick()


class Twins(RuleBasedStateMachine):
    """Two stores that are told the same."""

    kind = "LRUStore"

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        clock.timer = lambda: self.now
        clock.tick()
        self.pure: Any = getattr(policies, self.kind)(lambda: self.now)
        self.native: Any = getattr(twin, self.kind)(lambda: self.now)
        self.serial = 0

    def both(self, name: str, *args: Any, **kwargs: Any) -> Any:
        answers = [seen(getattr(store, name)(*args, **kwargs)) for store in (self.pure, self.native)]
        assert answers[0] == answers[1]
        return answers[0]

    def value(self) -> int:
        self.serial += 1
        return self.serial

    @rule(
        key=KEYS,
        size=NUMBERS | st.just(1 << 33),
        cost=st.none() | st.sampled_from([0.0, 1e-6, 0.5, 3.0]),
        ttl=st.none() | st.sampled_from([1.0, 5.0, 50, 7.5]),
        weight=st.sampled_from([1, 1, 1, 2, 0, 2.5]),
        absent=st.booleans(),
    )
    def put(self, key: Any, size: int, cost: Any, ttl: Any, weight: Any, absent: bool) -> None:
        deadline = None if ttl is None else self.now + ttl
        self.both(
            "_put",
            key,
            hash(key),
            self.value(),
            size,
            cost=cost,
            weight=weight,
            deadline=deadline,
            absent=absent,
        )

    @rule(first=st.integers(-40, 400), count=st.integers(1, 120), size=NUMBERS, step=st.integers(1, 7))
    def put_many(self, first: int, count: int, size: int, step: int) -> None:
        for key in range(first, first + count * step, step):
            self.both("_put", key, hash(key), self.value(), size)

    @rule(key=KEYS, times=st.integers(1, 40))
    def look(self, key: Any, times: int) -> None:
        for _ in range(times):
            answers = [store.get(key, "no") for store in (self.pure, self.native)]
            assert answers[0] == answers[1]
        assert (key in self.pure) == (key in self.native)

    @rule(first=st.integers(-40, 400), count=st.integers(1, 120))
    def look_at_many(self, first: int, count: int) -> None:
        for key in range(first, first + count):
            assert self.pure.get(key) == self.native.get(key)

    @rule(key=KEYS)
    def take(self, key: Any) -> None:
        self.both("_take", key, hash(key))

    @rule(first=st.integers(-40, 400), count=st.integers(1, 120))
    def take_many(self, first: int, count: int) -> None:
        for key in range(first, first + count):
            self.both("_take", key, hash(key))

    @rule(key=KEYS, size=NUMBERS)
    def resize(self, key: Any, size: int) -> None:
        found = [store._seek(key, hash(key)) for store in (self.pure, self.native)]
        assert seen(found[0]) == seen(found[1])
        if found[0] is not None:
            assert self.pure._resize(found[0], size) is self.native._resize(found[1], size) is True

    @rule(nbytes=NUMBERS | st.integers(0, 200_000), leave=st.just(0) | NUMBERS)
    def evict(self, nbytes: int, leave: int) -> None:
        self.both("_evict", nbytes, leave=leave)

    @rule(times=st.integers(1, 10))
    def evict_one(self, times: int) -> None:
        for _ in range(times):
            self.both("_evict_one")

    @rule(key=KEYS)
    def evict_another(self, key: Any) -> None:
        kept = [store._seek(key, hash(key)) for store in (self.pure, self.native)]
        assert seen(self.pure._evict_one(kept[0])) == seen(self.native._evict_one(kept[1]))

    @rule(first=st.integers(0, 300), count=st.integers(1, 150), limit=st.integers(1, 2000))
    def go_round(self, first: int, count: int, limit: int) -> None:
        """Ask for keys again and again in a cache of `limit` bytes: what was given up comes back."""
        for key in [*range(first, first + count)] * 2:
            if self.both("_seek", key, hash(key)) is None:
                self.both("_put", key, hash(key), self.value(), 20 + key % 7)
            else:
                assert self.pure.get(key) == self.native.get(key)
            while self.pure.nbytes > limit:
                self.both("_evict_one")

    @rule()
    def expire(self) -> None:
        self.both("_expire")

    @rule()
    def drain(self) -> None:
        self.both("_drain")

    @rule(seconds=st.sampled_from([0.25, 1.0, 3.5, 60.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        clock.tick()

    @rule(n=st.integers(0, 50), hottest=st.booleans(), idle=st.sampled_from([0.0, 1.0, 1e6]))
    def rank(self, n: int, hottest: bool, idle: float) -> None:
        self.both("_ranked", n, hottest=hottest)
        assert self.pure._tally(self.now + idle) == self.native._tally(self.now + idle)
        assert self.pure._next_deadline() == self.native._next_deadline()

    @invariant()
    def are_the_same(self) -> None:
        self.pure._check()
        self.native._check()
        assert seen(self.pure._snapshot()) == seen(self.native._snapshot())
        for name in ("nbytes", "_weight", "hits", "misses", "_gain"):
            assert getattr(self.pure, name) == getattr(self.native, name)
        assert list(self.pure) == list(self.native)
        assert len(self.pure) == len(self.native)


def machine(kind: str) -> Any:
    made = type(f"Twins{kind}", (Twins,), {"kind": kind})
    case: Any = made.TestCase
    case.settings = settings(
        max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
    return case


TestLRU = machine("LRUStore")
TestLFU = machine("LFUStore")
TestDensity = machine("DensityStore")
