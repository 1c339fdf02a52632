"""What has been seen to go wrong in caches of this kind, one test a defect; none of it may happen here.

Each runs for every policy on both implementations of the store. The defects of decorators have theirs in
tests/memoize. Bounds are asserted in steps of the interpreter and calls of keys, never in time.
"""

from __future__ import annotations

import gc
import itertools
import random
import sys
import threading
import tracemalloc
import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest


class BadError(Exception):
    pass


class Value:
    """Something to watch die."""


def ten(key: object, value: object) -> int:
    return 10


class Key:
    """A key that counts what is asked of all of them."""

    asked = 0

    def __init__(self, name: int) -> None:
        self.name = name

    def __hash__(self) -> int:
        Key.asked += 1
        return self.name * 7919

    def __eq__(self, other: object) -> bool:
        Key.asked += 1
        return isinstance(other, Key) and self.name == other.name


# -------------------------------------------------------------------------------- keys are not their hashes


@pytest.mark.parametrize(
    "keys",
    [
        (-1, -2),
        (0, sys.hash_info.modulus),
        (float("inf"), sys.hash_info.inf),
        (Key(1), 7919),
        ((-1,), (-2,)),
    ],
    ids=["-1 and -2", "0 and the modulus", "infinity", "an object", "tuples"],
)
def test_keys_of_one_hash_are_two_keys(kind: Any, keys: tuple[Any, Any]) -> None:
    first, second = keys
    assert hash(first) == hash(second)
    cache = kind()
    cache[first] = "first"
    assert (cache.get(second), second in cache, cache.pop(second, None)) == (None, False, None)
    assert cache.setdefault(second, "second") == "second"
    assert (cache[first], cache[second], len(cache)) == ("first", "second", 2)
    del cache[first]
    assert list(cache.items()) == [(second, "second")]
    cache._check()


# ------------------------------------------------------------------------- nobody waits for ever, nor falls


def touch(cache: Any) -> None:
    """Use the cache from here, and from another thread while this one waits for it."""

    def use() -> None:
        cache["touched"] = 1
        cache.get("touched"), cache.pop("touched", None), cache.expire(), cache.shrink(1), len(cache)

    use()
    other = threading.Thread(target=use, daemon=True)
    other.start()
    other.join(timeout=60)
    assert not other.is_alive(), "the cache is locked while foreign code runs"


def evict(cache: Any, timer: Any) -> None:
    for n in range(3):
        cache[f"more {n}"] = n


def sweep(cache: Any, timer: Any) -> None:
    timer.now += 100
    cache.expire()


LEAVING: dict[str, Callable[[Any, Any], object]] = {
    "eviction": evict,
    "clear": lambda cache, timer: cache.clear(),
    "sweep": sweep,
    "shrink": lambda cache, timer: cache.shrink(10**6),
    "replacement": lambda cache, timer: cache.update(dict.fromkeys(list(cache), 1)),
}


@pytest.mark.usefixtures("no_sweeps")
@pytest.mark.parametrize("leave", LEAVING.values(), ids=LEAVING)
class TestTouchedWhileEntriesLeave:
    def filled(self, kind: Any, timer: Any, make: Callable[[], object], **more: Any) -> Any:
        cache = kind(3, sizeof=ten, **more)
        cache.timer = timer
        for n in range(3):
            cache.set(n, make(), ttl=50)
        return cache

    def test_by_finalisers(self, kind: Any, timer: Any, leave: Any) -> None:
        touched = []

        class Touches:
            def __del__(self) -> None:
                touched.append(1)
                touch(cache)

        cache = self.filled(kind, timer, Touches)
        leave(cache, timer)
        assert len(touched) == 3
        cache._check()

    def test_by_callbacks_of_weak_references(self, kind: Any, timer: Any, leave: Any) -> None:
        touched, refs = [], []

        def gone(ref: object) -> None:
            touched.append(1)
            touch(cache)

        def make() -> Value:
            value = Value()
            refs.append(weakref.ref(value, gone))
            return value

        cache = self.filled(kind, timer, make)
        leave(cache, timer)
        assert len(touched) == 3
        cache._check()

    def test_by_comparisons(self, kind: Any, timer: Any, leave: Any) -> None:
        touched = []

        class Touches:
            def __hash__(self) -> int:
                return hash("more 0")

            def __eq__(self, other: object) -> bool:
                if len(touched) < 5:
                    touched.append(1)
                    touch(cache)
                return self is other

        cache = self.filled(kind, timer, Value)
        first, second = Touches(), Touches()
        cache[first] = 1
        leave(cache, timer)
        cache[second] = 2
        cache.get(first), cache.get("more 0")
        cache._check()

    def test_by_a_listener_that_clears_or_inserts(self, kind: Any, timer: Any, leave: Any) -> None:
        heard: list[Any] = []
        names = itertools.count()

        def listener(key: Any, value: Any, cause: Any) -> None:
            heard.append(value)
            if len(heard) < 20:
                cache[f"heard {next(names)}"] = Value()
                if len(heard) % 3 == 0:
                    cache.clear()

        cache = self.filled(kind, timer, Value, listener=listener)
        first = list(cache.values())
        leave(cache, timer)
        cache._check()
        assert len(heard) >= 3
        assert [sum(value is each for each in heard) for value in first] == [1, 1, 1]


# ------------------------------------------------------------------------------------- nothing is swallowed


@pytest.mark.parametrize("method", ["__hash__", "__eq__"])
@pytest.mark.parametrize(
    "look",
    [
        lambda cache, key: cache.get(key),
        lambda cache, key: cache.get(key, "default"),
        lambda cache, key: cache.pop(key, "default"),
        lambda cache, key: key in cache,
        lambda cache, key: cache.setdefault(key, 1),
    ],
    ids=["get", "get with a default", "pop", "in", "setdefault"],
)
def test_what_keys_raise_comes_out_of_a_lookup(kind: Any, method: str, look: Any) -> None:
    class Bad:
        def __hash__(self) -> int:
            if method == "__hash__":
                raise BadError
            return hash("there")

        def __eq__(self, other: object) -> bool:
            raise BadError

    cache = kind()
    cache["there"] = 1
    with pytest.raises(BadError):
        look(cache, Bad())
    assert (cache.hits, cache.misses, list(cache.items())) == (0, 0, [("there", 1)])


@pytest.mark.parametrize(
    "pairs",
    [
        {"a": 1, "b": 2},
        [("a", 1), ("b", 2)],
        (["a", 1], ["b", 2]),
        OrderedDict(a=1, b=2),
        {"a": 1, "b": 2}.items(),
    ],
    ids=["dict", "list of tuples", "tuple of lists", "OrderedDict", "items"],
)
def test_update_takes_all_that_a_dict_takes(kind: Any, pairs: Any) -> None:
    cache = kind()
    cache.update(pairs)
    cache.update(iter([("c", 3)]), d=4)
    other = kind()
    other.update(cache)
    assert dict(cache) == dict(other) == {"a": 1, "b": 2, "c": 3, "d": 4}


def test_what_a_listener_raises_never_surfaces_later(kind: Any, caplog: Any) -> None:
    def listener(*what: object) -> None:
        raise error

    error: BaseException = BadError("not now")
    cache = kind(2, listener=listener)
    for n in range(5):
        cache[n] = n
    assert cache.stats().listener_errors == 3
    error = KeyboardInterrupt()  # which no cache may keep from anybody
    with pytest.raises(KeyboardInterrupt):
        cache.clear()
    cache.listener = None
    cache["a"] = 1
    assert (cache["a"], cache.get("b"), list(cache), len(cache)) == (1, None, ["a"], 1)
    cache.clear(), gc.collect()
    assert len(caplog.records) == 1


# -------------------------------------------------------------------------------------- what leaves is free


GIVING_UP: dict[str, Callable[[Any, Any], object]] = {
    "overwritten": lambda cache, timer: cache.update(key=1),
    "deleted": lambda cache, timer: cache.__delitem__("key"),
    "popped": lambda cache, timer: len(cache.pop("key").__dict__),
    "evicted": lambda cache, timer: cache.update(a=1, b=2),
    "shrunk": lambda cache, timer: cache.shrink(10**6),
    "cleared": lambda cache, timer: cache.clear(),
    "expired and looked up": lambda cache, timer: (wait(timer), cache.get("key")),
    "expired and swept": lambda cache, timer: (wait(timer), len(cache.expire())),
    "expired and overwritten": lambda cache, timer: (wait(timer), cache.update(key=1)),
}


def wait(timer: Any) -> None:
    timer.now += 100


@pytest.mark.usefixtures("no_sweeps")
@pytest.mark.parametrize("give_up", GIVING_UP.values(), ids=GIVING_UP)
def test_a_value_is_freed_before_the_call_that_gave_it_up_returns(
    kind: Any, timer: Any, give_up: Callable[[Any, Any], object]
) -> None:
    cache = kind(2, sizeof=ten)
    cache.timer = timer
    value = Value()
    ref = weakref.ref(value)
    gc.disable()
    try:
        cache.set("key", value, ttl=50)
        del value
        assert ref() is not None
        cache.set("other", 1, cost=1e9)
        for _ in range(9):
            cache["other"]
        give_up(cache, timer)
        assert ref() is None
    finally:
        gc.enable()


def test_a_dropped_cache_is_freed_with_all_it_held(kind: Any) -> None:
    gc.disable()
    try:
        for register in (True, False):
            cache = kind(100, register=register, maxbytes=10**6, sizeof=ten, listener=lambda *what: None)
            value, ref = Value(), weakref.ref(cache)
            watched = weakref.ref(value)
            cache.set("value", value, ttl=1000)
            del value
            for n in range(200):
                cache[n] = n
                cache.set("value", cache.get("value"), ttl=1000)
            iterator = iter(cache.items())
            next(iterator), cache.copy(), cache.stats(), cache.tally(), repr(cache)
            del iterator, cache
            assert ref() is None
            assert watched() is None
    finally:
        gc.enable()
    cache = kind()
    cache.listener = lambda *what: cache  # a cycle is the collector's
    cache["self"] = cache
    ref = weakref.ref(cache)
    cache = None
    gc.collect()
    assert ref() is None


# ----------------------------------------------------------------------------------------- the bytes add up


def test_overwriting_leaks_no_bytes(kind: Any) -> None:
    cache = kind()
    for n in range(300):
        cache["same"] = "x" * (n % 90)
        cache.set("other", [0] * (n % 40), ttl=60 if n % 2 else None)
        cache["other"].append(0)
        cache.resize("other")
        cache._check()
    alone = kind()
    alone["same"] = cache["same"]
    del cache["other"]
    assert cache.nbytes == alone.nbytes
    del cache["same"]
    assert cache.nbytes == 0


def test_bytes_do_not_drift_under_threads(kind: Any) -> None:
    cache = kind(50, maxbytes=3000, sizeof=lambda key, value: value)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    barrier = threading.Barrier(6)

    def work(seed: int) -> None:
        chance = random.Random(seed)
        barrier.wait(timeout=60)
        for _ in range(600):
            key = chance.randrange(30)
            cache.set(key, chance.randrange(200), ttl=chance.choice([None, 0, 60]))
            match chance.randrange(5):
                case 0:
                    cache.pop(key, None)
                case 1:
                    cache.shrink(chance.randrange(300))
                case 2:
                    cache.setdefault(key, 5)
                case 3:
                    try:
                        cache.resize(key)
                    except KeyError:
                        pass
                case 4:
                    cache.get(key)

    try:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(work, range(6)))
    finally:
        sys.setswitchinterval(interval)
    cache._check()
    cache.expire()
    assert cache.nbytes == sum(cache.values()) <= 3000
    cache.clear()
    assert (cache.nbytes, cache.currsize) == (0, 0)


# -------------------------------------------------------------------------------------------- what it costs


def steps(work: Callable[[], object]) -> int:
    """Count the bytecodes that `work` executes, its callees' included, and the calls of keys."""
    count = 0

    def trace(frame: Any, event: str, arg: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    Key.asked = 0
    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # 3.12 asks whether anybody wants bytecodes just once, below
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count + Key.asked


@pytest.mark.parametrize("ttl", [None, 60.0], ids=["", "deadlines"])
@pytest.mark.parametrize("leave", ["delete", "evict", "shrink", "insert"])
def test_what_leaves_a_large_cache_leaves_as_fast(kind: Any, leave: str, ttl: float | None) -> None:
    def work(population: int) -> int:
        keys = [Key(n) for n in range(population)]
        cache = kind(population, sizeof=ten)
        for n, key in enumerate(keys):
            cache.set(key, n, ttl=ttl)
        more = [Key(n + population) for n in range(100)]

        def leaves() -> None:
            for n in range(100):
                if leave == "delete":
                    del cache[keys[n * 3]]
                elif leave == "evict":
                    cache.popitem()
                elif leave == "shrink":
                    cache.shrink(10)
                else:
                    cache.set(more[n], n, ttl=ttl)

        taken = steps(leaves)
        assert len(cache) == (population if leave == "insert" else population - 100)
        return taken

    few, many = work(400), work(8000)
    assert many < 3 * few + 1000


@pytest.mark.usefixtures("no_sweeps")
def test_limits_take_no_memory_up_front(kind: Any) -> None:
    kind(10)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        cache = kind(10**15, maxbytes="1 PiB")
        cache["a"] = 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 50_000  # for 10**15 entries
    assert cache["a"] == 1


def test_looking_at_a_cache_is_no_use_of_it(kind: Any) -> None:
    cache = kind(5, sizeof=ten)
    cache.update(a=1, b=2, c=3)
    cache["a"], cache.get("a"), cache.get("nobody"), cache.setdefault("b", 0)
    before, order = cache.stats(), cache.coldest(5)
    assert (before.hits, before.misses, before.inserts) == (3, 1, 3)
    for _ in range(3):
        cache.stats(), len(cache), bool(cache), repr(cache), "a" in cache, "z" in cache, cache == {"a": 1}
        list(cache), list(cache.keys()), list(cache.values()), list(cache.items()), 1 in cache.values()
        ("a", 1) in cache.items()  # noqa: B015
        cache.coldest(2), cache.hottest(2), cache.tally(), cache.currsize, cache.nbytes, cache.copy()
        cache.expire(), cache.seconds_to_expiry(), cache.resize("a")
    assert cache.stats() == before
    assert cache.coldest(5) == order
