"""Hits that count themselves: exact all the same, and what has left the cache is never answered."""

from __future__ import annotations

import gc
import pickle
import sys
import threading
import weakref

import pytest

from ebbcache import cached, cachedmethod, caches
from ebbcache.memoize import front

pytestmark = pytest.mark.skipif(
    front.KIND is caches.DensityCache, reason="the front is for the pure store, with a GIL"
)
MANY = 40 * front.SELDOM


@pytest.fixture(autouse=True)
def one_epoch(monkeypatch):
    """Let no epoch end by itself: the governor's thread looks at any time."""
    monkeypatch.setattr(front, "EPOCH", 1e9)


class Value:
    pass


def warm(func, *args):
    """Call until the entry is in front; return how many hits that took."""
    for count in range(1, MANY):
        func(*args)
        if func.cache.front:
            return count
    raise AssertionError("never shown")


def calls_of(func, *args):
    return [func(*args) for _ in range(MANY)]


class TestCounts:
    def test_all_hits_are_counted(self):
        func = cached(lambda x: x)
        calls_of(func, 1)
        calls_of(func, "a")
        assert func.cache.front.keys() == {1, "a"}
        assert func.cache_info() == (2 * MANY - 2, 2, None, 2)
        assert func.cache.hits == func.cache.stats().hits == 2 * MANY - 2
        assert func(1) == 1
        assert func.cache_info().hits == 2 * MANY - 1

    def test_more_hits_than_a_roll_has(self, monkeypatch):
        monkeypatch.setattr(front, "ROLL", 7)
        func = cached(lambda x: x)
        calls_of(func, 1)
        assert func.cache_info().hits == MANY - 1

    def test_the_policy_knows_them(self):
        func = cached(lambda x: x)
        calls_of(func, 1)
        entry = func.cache._seek(1, hash(1))
        assert func.cache.hits == MANY - 1
        assert entry.hits == MANY

    def test_they_carry_over_to_a_new_value(self):
        func = cached(lambda x: x)
        calls_of(func, 1)
        func.cache[1] = "new"
        assert func(1) == "new"
        assert func.cache_info().hits == MANY
        assert func.cache._seek(1, hash(1)).hits == MANY + 1

    def test_they_can_be_reset(self):
        func = cached(lambda x: x)
        calls_of(func, 1)
        func.cache.hits = 5
        assert func.cache.hits == 5
        func(1)
        assert func.cache.hits == 6
        calls_of(func, 1)
        func.cache_clear()
        assert func.cache_info() == (0, 0, None, 0)

    def test_of_all_threads(self):
        func = cached(lambda x: x)
        func(1)
        start = threading.Barrier(4)

        def work():
            start.wait()
            for n in range(2000):
                func(1)
                if n % 50 == 0:
                    assert func.cache_info().misses == 1

        workers = [threading.Thread(target=work) for _ in range(4)]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
        finally:
            sys.setswitchinterval(interval)
        assert func.cache_info().hits == 8000
        func.cache._check()

    def test_an_epoch_stamps_anew(self):
        func = cached(lambda x: x)
        warm(func, 1)
        entry = func.cache._seek(1, hash(1))
        entry.stamp = -1.0
        func(1)
        assert entry.stamp == -1.0
        func.cache._turned -= 2 * front.EPOCH
        assert func.cache._held() > 0  # as the governor asks
        assert entry.stamp > -1.0
        assert not func.cache.front
        assert func.cache_info().hits == entry.hits - 1

    def test_hit_since_it_was_looked_at(self):
        """An entry that only the roll knows to be in use is not the victim."""
        func = cached(maxsize=20)(lambda x: x)
        func(0)
        warm(func, 0)
        entry = func.cache._seek(0, hash(0))
        entry.hits, entry.cost = 0.0, 1.0  # dear, though as far as it knows nobody asks for it
        func(0)
        for x in range(1, 21):
            func(x)
        assert func.cache_contains(0)
        assert entry.hits > 0


class TestInStep:
    @pytest.mark.parametrize("args", [(), (1,), (1, "a")])
    @pytest.mark.parametrize(
        "leave",
        [
            lambda func, args, key: func.cache_invalidate(*args),
            lambda func, args, key: func.cache_clear(),
            lambda func, args, key: func.cache.pop(key),
            lambda func, args, key: func.cache.clear(),
            lambda func, args, key: func.cache.popitem(),
            lambda func, args, key: func.cache.shrink(10**9, hard=True),
            lambda func, args, key: func.cache.__delitem__(key),
        ],
    )
    def test_what_has_left_is_not_answered(self, leave, args):
        values = iter(range(10))
        make = {
            0: lambda: next(values),
            1: lambda x: next(values),
            2: lambda x, y: next(values),
        }
        func = cached(make[len(args)])
        assert set(calls_of(func, *args)) == {0}
        assert func.cache.front
        (key,) = func.cache
        leave(func, args, key)
        assert set(calls_of(func, *args)) == {1}
        assert func.cache_info().hits in (MANY - 1, 2 * MANY - 2)
        func.cache[key] = "new"
        assert set(calls_of(func, *args)) == {"new"}
        func.cache._check()

    def test_evicted_values_are_freed_at_once(self):
        func = cached(lambda x: Value())
        calls_of(func, 1)
        ref = weakref.ref(func(1))
        func.cache.popitem()
        assert ref() is None

    def test_interrupted_between_the_two(self, monkeypatch):
        """An interrupt right after the commit leaves nothing in front that is not in the cache."""
        func = cached(lambda x: x)
        calls_of(func, 1)
        plain = caches.DensityCache._put

        def put(*args, **more):
            plain(*args, **more)
            raise KeyboardInterrupt

        monkeypatch.setattr(caches.DensityCache, "_put", put)
        with pytest.raises(KeyboardInterrupt):
            func.cache[1] = "new"
        monkeypatch.undo()
        assert func(1) == "new"

    def test_interrupted_removal(self, monkeypatch):
        func = cached(lambda x: x)
        calls_of(func, 1)
        plain = caches.DensityCache._unlink

        def unlink(*args):
            plain(*args)
            raise KeyboardInterrupt

        monkeypatch.setattr(caches.DensityCache, "_unlink", unlink)
        with pytest.raises(KeyboardInterrupt):
            func.cache_invalidate(1)
        monkeypatch.undo()
        assert not func.cache_contains(1)
        assert not func.cache.front

    def test_a_class_that_changes_its_hash(self):
        class Key:
            pass

        func = cached(lambda x: Value())
        key = Key()
        calls_of(func, key)
        assert func.cache.front
        ref = weakref.ref(func(key))
        Key.__hash__ = lambda self: 1 // 0
        func.cache.popitem()
        assert ref() is None
        assert not func.cache.front

    def test_invalidated_by_others_while_hit(self):
        func = cached(lambda x: x)
        wrong = []

        def work():
            wrong.extend(n for n in range(3000) if func(n % 3) != n % 3)

        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for n in range(300):
            func.cache_invalidate(n % 3)
        for worker in workers:
            worker.join()
        assert not wrong
        info = func.cache_info()
        assert info.hits + info.misses == 6000
        func.cache_clear()
        assert not func.cache.front


class TestKeys:
    def test_whose_code_is_not_ours_are_not_shown(self):
        class Key:
            asked = 0

            def __hash__(self):
                Key.asked += 1
                return 7

            def __eq__(self, other):
                return self is other

        func = cached(lambda x: x)
        key = Key()
        calls_of(func, key)
        assert not func.cache.front
        assert Key.asked == MANY + 1  # once a call, and once more for what the miss marks or stores

    def test_an_equal_object_of_another_class_finds_them(self):
        class Other(int):
            def __hash__(self):
                return int(self)

            def __eq__(self, other):
                return int(self) == other

        func = cached(lambda x: type(x))
        calls_of(func, 5)
        assert func(Other(5)) is int

    @pytest.mark.parametrize("name", ["__hash__", "__eq__"])
    @pytest.mark.parametrize("error", [KeyError, TypeError, ZeroDivisionError])
    def test_what_they_raise_is_passed_on(self, name, error):
        def fail(self, *args):
            raise error("mine")

        kind = type("Kind", (), {"__hash__": lambda self: hash(5), name: fail, "__eq__": fail})
        func = cached(lambda x: x)
        calls_of(func, 5)
        with pytest.raises(error, match="mine"):
            func(kind())
        assert func.cache_info().hits == MANY - 1

    def test_methods(self):
        class Owner:
            @cached
            def one(self, x):
                return x

            @cachedmethod
            def two(self, x=0):
                return self

        owner, other = Owner(), Owner()
        assert set(calls_of(owner.one, 1)) == {1}
        assert {id(each) for each in calls_of(owner.two)} == {id(owner)}
        assert other.two() is other
        assert Owner.one.cache.front
        assert Owner.two.cache.front
        assert Owner.one.cache_info().hits == MANY - 1
        ref = weakref.ref(owner)
        Owner.one.cache_clear()
        del owner
        gc.collect()
        assert ref() is None
        assert not Owner.two.cache_contains(other, 1)


def test_copies_are_plain():
    func = cached(lambda x: x)
    calls_of(func, 1)
    for copy in (func.cache.copy(), pickle.loads(pickle.dumps(func.cache))):
        assert type(copy) is caches.DensityCache
        assert dict(copy.items()) == {1: 1}
        assert repr(copy) == repr(func.cache) == "DensityCache({1: 1})"
        assert copy._seek(1, hash(1)).hits == MANY
        copy[2] = 2
    assert func.cache_info() == (MANY - 1, 1, None, 1)
