"""Every cache against a model that does the same in the plainest way, with all invariants after each step.

The model is told what the cache gave up (its listener reports it) where the policy is free to choose, and
says itself who must go where the policy is strict (LRU, LFU).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import pytest
from both_stores import IMPLEMENTATIONS
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ebbcache.caches import Cache, Cause

pytestmark = pytest.mark.usefixtures("no_sweeps")

KEYS = st.integers(-3, 9)
SIZES = st.integers(0, 40)


@dataclass
class Expected:
    value: int
    size: int
    deadline: float


class CacheMachine(RuleBasedStateMachine):
    cls: type[Cache[Any, Any]]
    policy = ""
    ttl: float | None = None

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.model: dict[int, Expected] = {}  # in the order of use
        self.heard: list[tuple[int, int, Cause]] = []
        self.sizes: dict[int, int] = {}
        self.count = 0
        self.hits = self.misses = 0

    @initialize(
        maxsize=st.one_of(st.none(), st.integers(1, 6)),
        maxbytes=st.one_of(st.none(), st.integers(20, 120)),
        min_bytes=st.sampled_from([0, 15]),
    )
    def start(self, maxsize: int | None, maxbytes: int | None, min_bytes: int) -> None:
        self.maxsize, self.maxbytes, self.min_bytes = maxsize, maxbytes, min_bytes
        required = {} if self.ttl is None else {"ttl": self.ttl}
        self.cache = self.cls(
            maxsize=maxsize,
            maxbytes=maxbytes,
            min_bytes=min_bytes,
            sizeof=lambda key, value: self.sizes[value],
            listener=lambda *what: self.heard.append(what),
            register=False,
            **required,
        )
        self.cache.timer = lambda: self.now

    # -- what the model knows ----------------------------------------------------------------------------

    def alive(self, key: int) -> Expected | None:
        expected = self.model.get(key)
        return expected if expected is not None and self.now < expected.deadline else None

    def used(self, key: int) -> None:
        self.model[key] = self.model.pop(key)

    def victims(self, keep: int | None) -> list[int]:
        """List who may go next."""
        raise NotImplementedError

    def gone(self, kind: str) -> list[int]:
        """Check what left the cache against the model, and return the keys of the `kind`."""
        keys = []
        for key, value, cause in self.heard:
            if cause.kind == "expired":
                expected = self.model.pop(key)
                assert expected.value == value
                assert not self.now < expected.deadline
            else:
                assert cause.kind == kind, cause
                keys.append(key)
        self.heard.clear()
        return keys

    def made_room(self, keep: int | None) -> None:
        """Follow the evictions of the last step: strict policies had no choice."""
        keys = self.gone("evicted")
        everything = set(keys) == set(self.model)  # goes at once, in any order
        for key in keys:
            assert everything or key in self.victims(keep)
            del self.model[key]

    def take_over(self, kind: str) -> None:
        for key in self.gone(kind):
            del self.model[key]

    # -- steps -------------------------------------------------------------------------------------------

    @rule(key=KEYS, size=SIZES, ttl=st.one_of(st.none(), st.floats(0, 20)), absent=st.booleans())
    def insert(self, key: int, size: int, ttl: float | None, absent: bool) -> None:
        self.count += 1
        value = self.count
        self.sizes[value] = size
        old = self.alive(key)
        if absent:
            result = self.cache.setdefault(key, value)
            ttl = None
            if old is not None:
                assert result == old.value
                self.hits += 1
                self.used(key)
                self.take_over("nothing")
                return
            self.misses += 1
            assert result == value
        else:
            self.cache.set(key, value, ttl=ttl)
        if self.maxbytes is not None and size > self.maxbytes:
            reported = [each for each in self.heard if each[2].kind in ("refused", "replaced")]
            expected = [(key, old.value, Cause("replaced", "user"))] if old else []
            assert reported == [*expected, (key, value, Cause("refused", "maxbytes"))]
            self.heard = [each for each in self.heard if each not in reported]
            if old is not None:
                del self.model[key]
            self.take_over("nothing")
            return
        replaced = [each for each in self.heard if each[2].kind == "replaced"]
        assert replaced == ([(key, old.value, Cause("replaced", "user"))] if old else [])
        self.heard = [each for each in self.heard if each[2].kind != "replaced"]
        # What expired under this very key was reported before the new value was there.
        for each in [each for each in self.heard if each[0] == key and each[2].kind == "expired"]:
            if each[1] != value:
                self.heard.remove(each)
                del self.model[key]
        seconds = self.ttl if ttl is None else ttl
        deadline = float("inf") if seconds is None else self.now + seconds
        self.model.pop(key, None)
        self.model[key] = Expected(value, size, deadline)
        self.made_room(key)

    @rule(key=KEYS, how=st.sampled_from(["get", "getitem", "in"]))
    def look(self, key: int, how: str) -> None:
        expected = self.alive(key)
        if how == "in":
            assert (key in self.cache) == (expected is not None)
            return
        if how == "get":
            found = self.cache.get(key)
        else:
            try:
                found = self.cache[key]
            except KeyError:
                found = None
        assert found == (expected.value if expected else None)
        if expected:
            self.hits += 1
            self.used(key)
        else:
            self.misses += 1
        self.take_over("nothing")

    @rule(key=KEYS)
    def delete(self, key: int) -> None:
        expected = self.alive(key)
        assert self.cache.pop(key, None) == (expected.value if expected else None)
        self.take_over("deleted")

    @rule()
    def popitem(self) -> None:
        try:
            key, value = self.cache.popitem()
        except KeyError:
            assert not any(self.alive(key) for key in self.model)
        else:
            assert self.model[key].value == value
        self.made_room(None)

    @rule(nbytes=st.integers(0, 100), hard=st.booleans())
    def shrink(self, nbytes: int, hard: bool) -> None:
        before = self.cache.nbytes
        freed = self.cache.shrink(nbytes, hard)
        sizes = [self.sizes[value] for _, value, _ in self.heard]
        expired = [self.sizes[value] for _, value, cause in self.heard if cause.kind == "expired"]
        assert freed == before - self.cache.nbytes == sum(sizes)
        if freed > sum(expired):
            assert freed - sizes[-1] < nbytes
            assert hard or self.cache.nbytes >= self.min_bytes
        self.made_room(None)
        if freed < nbytes and self.cache.nbytes:
            assert not hard
            assert any(
                self.cache.nbytes - self.model[key].size < self.min_bytes for key in self.victims(None)
            )

    @rule(seconds=st.floats(0, 8))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def expire(self) -> None:
        due = {key: each.value for key, each in self.model.items() if not self.alive(key)}
        assert dict(self.cache.expire()) == due
        self.take_over("nothing")
        assert len(self.cache) == len(self.model)

    @precondition(lambda self: self.count > 3)
    @rule()
    def clear(self) -> None:
        self.cache.clear()
        self.take_over("cleared")
        assert self.model == {}

    @rule(key=KEYS, size=SIZES)
    def resize(self, key: int, size: int) -> None:
        expected = self.alive(key)
        if expected is None:
            try:
                self.cache.resize(key)
            except KeyError:
                pass
            else:
                raise AssertionError("resized what is not there")
            self.take_over("nothing")
            return
        self.sizes[expected.value] = size
        assert self.cache.resize(key) == size
        expected.size = size
        self.made_room(key)

    @rule()
    def replace_by_copy(self) -> None:
        self.cache = self.cache.copy()
        for key in [key for key in self.model if not self.alive(key)]:
            del self.model[key]
        self.hits = self.misses = 0

    # -- what must hold ----------------------------------------------------------------------------------

    @invariant()
    def same(self) -> None:
        cache: Any = getattr(self, "cache", None)
        if cache is None:
            return
        cache._check()
        assert self.heard == []
        live = {key: each.value for key, each in self.model.items() if self.alive(key)}
        assert dict(cache.items()) == live
        assert cache.nbytes == sum(each.size for each in self.model.values())
        assert (cache.hits, cache.misses) == (self.hits, self.misses)
        if self.maxsize is not None:
            assert cache._weight <= self.maxsize
        if self.maxbytes is not None and len(self.model) > 1:
            assert cache.nbytes <= self.maxbytes


class LRUMachine(CacheMachine):
    policy = "LRU"

    def victims(self, keep: int | None) -> list[int]:
        return [key for key in self.model if key != keep][:1]

    @invariant()
    def in_order(self) -> None:
        if hasattr(self, "cache"):
            assert list(iter(self.cache)) == [key for key in self.model if self.alive(key)]


class TTLMachine(LRUMachine):
    policy = "TTL"
    ttl = 5.0


class LFUMachine(CacheMachine):
    policy = "LFU"

    def victims(self, keep: int | None) -> list[int]:
        entries = [entry for entry in self.order if entry.key != keep and entry.key in self.model]
        return [entry.key for entry in entries[:1]]

    @invariant()
    def remember(self) -> None:
        # Aging is the store's own arithmetic; what is checked here is that the least of it goes first.
        if hasattr(self, "cache"):
            entries = self.cache._snapshot()
            self.order = sorted(entries, key=lambda entry: (entry.hits, entry.serial))
            live = [entry for entry in self.order if self.alive(entry.key)]
            assert [key for key, _ in self.cache.coldest(99)] == [entry.key for entry in live]
            assert [key for key, _ in self.cache.hottest(99)] == [entry.key for entry in live[::-1]]


class DensityMachine(CacheMachine):
    policy = "Density"

    def victims(self, keep: int | None) -> list[int]:
        return [key for key in self.model if key != keep]


FEW = settings(max_examples=40, stateful_step_count=40, deadline=None)

for name, caches in IMPLEMENTATIONS.items():
    for machine in (LRUMachine, TTLMachine, LFUMachine, DensityMachine):
        title = f"{machine.policy}{name.title()}"
        case: Any = type(title, (machine,), {"cls": getattr(caches, f"{machine.policy}Cache")}).TestCase
        case.settings = FEW
        globals()[f"Test{title}"] = case
del case
