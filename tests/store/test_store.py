from __future__ import annotations

import random
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from ebbcache.store import Entry, Store

Make = Callable[..., Store[Any, Any]]


def put(store: Store[Any, Any], key: Any, value: Any = None, size: int = 10, **more: Any) -> Any:
    return store._put(key, hash(key), value, size, **more)


def find(store: Store[Any, Any], key: Any) -> Entry[Any, Any] | None:
    return store._seek(key, hash(key))


class TestCommits:
    def test_what_was_put_is_found(self, make: Make) -> None:
        store = make()
        for n in range(100):
            put(store, n, str(n), size=n)
        store._check()
        assert [store[n] for n in range(100)] == [str(n) for n in range(100)]
        assert store.nbytes == sum(range(100))
        assert (store.hits, store.misses) == (100, 0)
        assert store.get("nobody") is None
        assert store.get("nobody", 7) == 7
        with pytest.raises(KeyError, match="nobody"):
            store["nobody"]
        assert (store.hits, store.misses) == (100, 3)

    def test_a_replaced_entry_is_handed_back_and_its_hits_carry_over(self, make: Make) -> None:
        store = make()
        first, none = put(store, "a", 1, size=10)
        assert none is None
        store["a"], store["a"]
        second, old = put(store, "a", 2, size=30)
        assert old == first
        assert second.hits == old.hits == 3.0
        assert store["a"] == 2
        assert (len(store), store.nbytes) == (1, 30)
        store._check()

    def test_absent_leaves_what_is_there(self, make: Make) -> None:
        store = make()
        first, _ = put(store, "a", 1)
        assert put(store, "a", 2, absent=True) == (first, first)
        assert store["a"] == 1
        store._check()

    def test_finding_that_it_is_there_is_no_time_to_age(self, stores: Any) -> None:
        store = stores.LFUStore()
        put(store, "a", 1)
        for _ in range(10):
            store.get("a")
        gain = store._gain
        for _ in range(3):
            put(store, "a", 2, absent=True)
        assert store._gain == gain

    @pytest.mark.parametrize("names", [("-1", "-2"), ("x", "y", "z")])
    def test_keys_of_one_hash_live_side_by_side(self, make: Make, names: tuple[str, ...], key: Any) -> None:
        store = make()
        keys = [key(name, 7) for name in names]
        for number, each in enumerate(keys):
            put(store, each, number)
        store._check()
        assert [store[each] for each in keys] == list(range(len(keys)))
        for number, name in enumerate(names):
            put(store, key(name, 7), -number)
            store._check()
        assert [store[each] for each in keys] == [-n for n in range(len(keys))]
        assert key("other", 7) not in store
        assert store._take(key("other", 7), 7) is None
        for left in reversed(range(len(keys))):
            assert store._take(keys[left], 7) is not None
            store._check()
            assert len(store) == left

    def test_minus_one_and_minus_two(self, make: Make) -> None:
        assert hash(-1) == hash(-2)
        store = make()
        put(store, -1, "one")
        put(store, -2, "two")
        assert (store[-1], store[-2], store.get(-1), -2 in store) == ("one", "two", "one", True)
        store._take(-1, hash(-1))
        assert -1 not in store
        assert store[-2] == "two"
        store._check()

    def test_equal_numbers_are_one_key(self, make: Make) -> None:
        store = make()
        put(store, 1, "int")
        put(store, 1.0, "float")
        put(store, True, "bool")
        assert len(store) == 1
        assert store[1] == "bool"

    def test_resize_keeps_the_total(self, make: Make) -> None:
        store = make()
        entry, _ = put(store, "a", size=10)
        put(store, "b", size=5)
        assert store._resize(entry, 100)
        assert store.nbytes == 105
        store._take("a", hash("a"))
        assert not store._resize(entry, 7)
        assert store.nbytes == 5
        store._check()

    def test_drain_hands_everything_over(self, make: Make) -> None:
        store = make()
        for n in range(50):
            put(store, n)
        drained = store._drain()
        assert sorted(entry.key for entry in drained) == list(range(50))
        assert (len(store), store.nbytes, store._weight) == (0, 0, 0)
        store._check()
        put(store, 1)
        assert store[1] is None
        assert store._evict_one() is not None
        store._check()

    def test_entries_removed_are_dropped_by_their_holder(self, make: Make) -> None:
        class Value:
            pass

        store = make()
        refs = []
        for n in range(4):
            value = Value()
            refs.append(weakref.ref(value))
            put(store, n, value)
            del value
        put(store, 0, None)
        assert refs[0]() is None
        store._take(1, hash(1))
        assert refs[1]() is None
        store._take(0, hash(0))
        store._evict_one()
        store._drain()
        assert [ref() for ref in refs] == [None] * 4

    def test_random_operations_keep_every_invariant(self, make: Make) -> None:
        store = make()
        chance = random.Random(5)
        model: dict[int, int] = {}
        for step in range(4000):
            key = chance.randrange(-40, 40)
            action = chance.random()
            if action < 0.5:
                put(store, key, step, size=chance.randrange(100))
                model[key] = step
            elif action < 0.8:
                assert store.get(key) == model.get(key)
            elif action < 0.9:
                gone = store._take(key, hash(key))
                assert (gone and gone.value) == model.pop(key, None)
            else:
                for victim in store._evict(chance.randrange(300)):
                    assert model.pop(victim.key) == victim.value
            if step % 20 == 0:
                store._check()
        assert {entry.key: entry.value for entry in store._snapshot()} == model


class TestWork:
    """Bounds, counted in what is asked of keys and entries, not in time."""

    @pytest.mark.parametrize("population", [10, 1000])
    def test_one_hash_an_operation(self, make: Make, key: Any, population: int) -> None:
        store = make()
        for n in range(population):
            put(store, key(n))
        probe = key(5)
        for operation in (
            lambda: store[probe],
            lambda: store.get(probe),
            lambda: probe in store,
        ):
            key.hashes = key.comparisons = 0
            operation()
            assert (key.hashes, key.comparisons) == (1, 1)

    def test_the_same_object_is_not_compared(self, make: Make, key: Any) -> None:
        store = make()
        probe = key("a")
        put(store, probe, 1)
        key.comparisons = 0
        assert store[probe] == 1
        assert probe in store
        assert key.comparisons == 0

    @pytest.mark.parametrize("population", [10, 3000])
    def test_victims_are_neither_hashed_nor_compared(self, make: Make, key: Any, population: int) -> None:
        store = make()
        for n in range(population):
            put(store, key(n, n % 8))  # every bucket is shared
        key.hashes = key.comparisons = 0
        for _ in range(5):
            store._evict_one()
        store._evict(40)
        store._drain()
        assert (key.hashes, key.comparisons) == (0, 0)

    def test_one_victim_touches_as_few_entries_in_a_large_store(
        self, make_pure: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked = {}
        for population in (200, 5000):
            store = make_pure()
            for n in range(population):
                put(store, n)
            seen: list[int] = []

            class Counting(dict[int, Any]):
                def get(self, serial: int, default: Any = None, seen: list[int] = seen) -> Any:
                    seen.append(serial)
                    return super().get(serial, default)

                def values(self) -> Any:
                    raise AssertionError("a walk over all entries")

            if store.policy != "lru":
                store._entries = Counting(store._entries)
            for _ in range(50):
                assert store._evict_one() is not None
            looked[population] = len(seen)
        assert looked[5000] <= 2 * looked[200] + 50

    def test_churn_leaves_nothing_behind(self, make_pure: Any) -> None:
        store = make_pure()
        for n in range(20_000):
            put(store, n, deadline=1e12 + n)
            if n >= 100:
                store._evict_one()
        assert len(store._slots) < 400
        assert len(store._due.items) < 400
        assert len(store._table) == len(store._entries) == 100
        store._check()

    def test_a_store_that_shrank_gives_its_tables_back(self, make_pure: Any) -> None:
        store = make_pure()
        for n in range(20_000):
            put(store, n, size=1)
        large = store._table.__sizeof__() + store._entries.__sizeof__() + store._slots.__sizeof__()
        store._evict(19_990)
        small = store._table.__sizeof__() + store._entries.__sizeof__() + store._slots.__sizeof__()
        assert len(store) == 10
        assert small < large / 50
        store._check()
        assert all(store.get(entry.key, self) is not self for entry in store._snapshot())


class TestMeanwhile:
    """Clean-up copies things; what others do meanwhile may not be lost."""

    @pytest.mark.parametrize("what", ["_tidy", "_tighten"])
    @pytest.mark.parametrize("meddle", ["put", "take", "drain"])
    def test_nothing_is_lost(self, make_pure: Any, what: str, meddle: str) -> None:
        class Busy(make_pure):  # type: ignore[misc,valid-type]
            meddling = False

            def _snapshot(self) -> Any:
                snapshot = super()._snapshot()
                if self.meddling:
                    self.meddling = False
                    if meddle == "put":
                        put(self, "late", deadline=1e12)
                    elif meddle == "take":
                        self._take(1, hash(1))
                    else:
                        self._drain()
                        put(self, "late", deadline=1e12)
                return snapshot

        store = Busy()
        for n in range(3000):
            put(store, n, deadline=1e12 + n)
        for n in range(20, 3000):
            store._take(n, hash(n))
        store.meddling = True
        getattr(store, what)()
        assert not store.meddling
        store._check()
        assert ("late" in store) == (meddle != "take")
        getattr(store, what)()
        store._check()
        assert len(store._slots) == len(store) or what == "_tighten"


class TestEviction:
    def test_evict_stops_at_the_target(self, make: Make) -> None:
        store = make()
        for n in range(200):
            put(store, n, size=10 + n % 7)
        for target in (1, 30, 500, 1000):
            before = store.nbytes
            victims = store._evict(target)
            freed = sum(entry.size for entry in victims)
            assert before - store.nbytes == freed
            assert target <= freed < target + 17
            store._check()

    def test_evict_takes_everything_if_asked_for_more(self, make: Make) -> None:
        store = make()
        for n in range(20):
            put(store, n)
        assert len(store._evict(10**9)) == 20
        assert store._evict(1) == []
        assert store._evict_one() is None

    def test_evict_leaves_the_floor(self, make: Make) -> None:
        store = make()
        for n in range(20):
            put(store, n)
        store._evict(10**9, leave=45)
        assert store.nbytes == 50
        assert store._evict(10, leave=45) == []

    def test_nothing_is_evicted_for_nothing(self, make: Make) -> None:
        store = make()
        put(store, "a", size=0)
        assert store._evict(0) == []
        assert store._evict(5) == []  # no byte could be freed
        assert "a" in store

    def test_the_kept_entry_is_never_the_victim(self, make: Make) -> None:
        store = make()
        kept, _ = put(store, "kept")
        assert store._evict_one(kept) is None
        for n in range(100):
            put(store, n)
            if n % 2:
                victim = store._evict_one(kept)
                assert victim is not None
                assert victim != kept
        for _ in range(50):
            assert store._evict_one(kept) != kept
        assert store._evict_one(kept) is None
        assert store._evict_one() == kept
        store._check()


class TestTally:
    def test_few_entries_are_counted_to_the_byte(self, make: Make) -> None:
        store = make()
        for n in range(500):
            put(store, n, size=n, cost=float(n % 5))
        tally = store._tally(1e6)
        assert sum(tally.values()) == store.nbytes
        assert all(-128 <= level <= 127 for level in tally)

    def test_many_entries_are_sampled(self, make: Make) -> None:
        store = make()
        for n in range(5000):
            put(store, n, size=100, cost=1.0 if n % 2 else 1e-9)
        tally = store._tally(1e6)
        total = sum(tally.values())
        assert store.nbytes - len(tally) <= total <= store.nbytes
        cheap = tally[min(tally)]
        assert 0.4 * total < cheap < 0.6 * total

    def test_the_worthless_and_the_expired_are_lowest(self, make: Make) -> None:
        store = make(lambda: 100.0)
        put(store, "worthless", size=3, cost=0.0)
        put(store, "expired", size=4, cost=1.0, deadline=100.0)
        put(store, "alive", size=5, cost=1.0, deadline=101.0)
        tally = store._tally(1e6)
        assert tally.pop(-128) == 7
        assert list(tally.values()) == [5]

    def test_samples_are_uniform(self, make: Make) -> None:
        store = make()
        for n in range(1000):
            put(store, n)
        for n in range(0, 1000, 3):
            store._take(n, hash(n))
        drawn: dict[int, int] = {}
        for _ in range(2000):
            for entry in store._sample(16):
                drawn[entry.key] = drawn.get(entry.key, 0) + 1
        assert drawn.keys() == {n for n in range(1000) if n % 3}
        mean = sum(drawn.values()) / len(drawn)
        assert max(drawn.values()) < 2 * mean
        assert min(drawn.values()) > mean / 2


class TestDeadlines:
    def test_only_what_is_due_goes(self, make: Make) -> None:
        store = make(lambda: now)
        now = 0.0
        for n in range(100):
            put(store, n, deadline=float(n * 37 % 100))
        now = 30.0
        gone = store._expire()
        assert sorted(entry.deadline for entry in gone) == [float(n) for n in range(31)]
        assert store._next_deadline() == 31.0
        assert len(store) == 69
        store._check()

    def test_deadlines_that_only_compare(self, make: Make) -> None:
        class Day:
            def __init__(self, number: int) -> None:
                self.number = number

            def __lt__(self, other: Day) -> bool:
                return self.number < other.number

        store = make(lambda: Day(today))
        today = 1
        for n in range(10):
            put(store, n, deadline=Day(n))
        assert sorted(entry.key for entry in store._expire()) == [0, 1]
        today = 5
        assert len(store) == 4
        assert 5 not in store
        assert store.get(6, self) is None
        store._check()

    def test_a_replaced_deadline_does_not_count(self, make: Make) -> None:
        store = make(lambda: 50.0)
        put(store, "a", deadline=100.0)
        put(store, "a")
        assert store._expire(200.0) == []
        assert store._next_deadline() is None
        assert "a" in store


class TestLRUOrder:
    def test_hits_and_puts_move_to_the_end(self, stores: Any) -> None:
        store = stores.LRUStore()
        for key in "abcde":
            put(store, key)
        store["a"], store.get("c")
        put(store, "b", 2)
        "d" in store  # noqa: B015 - looking is no use
        assert [entry.key for entry in store._snapshot()] == list("deacb")
        assert [entry.key for entry in store._ranked(2, hottest=False)] == ["d", "e"]
        assert [entry.key for entry in store._ranked(9, hottest=True)] == list("bcaed")
        assert [entry.key for entry in store._evict(30)] == ["d", "e", "a"]
