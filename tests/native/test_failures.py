"""What can go wrong inside: no memory for any one allocation, comparisons and deadlines that meddle."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from both_stores import IMPLEMENTATIONS
from native_operations import KINDS, OPERATIONS, Awkward, allocations

from ebbcache import governor
from ebbcache.gil import is_free_threaded
from ebbcache.memoize import cached, lru_cache

native = pytest.importorskip("ebbcache.store._store")


@pytest.fixture
def testcapi() -> Any:
    return allocations()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep out whoever else allocates: the collector with its finalisers, and other threads.

    Memory that "is out" is so for the whole process. Threads wait for a turn that does not come meanwhile,
    and the governor's is not started amid it: where that fails for lack of memory, CPython may hang.
    """
    monkeypatch.setattr(governor, "watch_expiry", lambda cache: None)
    interval = sys.getswitchinterval()
    gc.collect()
    gc.disable()
    sys.setswitchinterval(3600.0)
    yield
    sys.setswitchinterval(interval)
    gc.enable()


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    made = KINDS[request.param]
    return lambda *args, **kwargs: made(*args, register=False, **kwargs)


# CPython 3.14 says so if it lacks memory to take an instance's attributes apart.
@pytest.mark.filterwarnings("ignore:.*clearing an object managed:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=list(OPERATIONS))
def test_any_allocation_may_fail(
    make: Callable[..., Any], operation: Callable[[Any], object], testcapi: Any
) -> None:
    for failing in range(200):
        cache = make(150)
        for n in range(60):
            cache[n] = str(n)
        cache[Awkward("x")] = 1
        testcapi.set_nomemory(failing, failing + 1)
        try:
            operation(cache)
        except (MemoryError, KeyError, TypeError, ArithmeticError):
            pass
        finally:
            testcapi.remove_mem_hooks()
        cache._check()
        cache["after"] = 1
        assert cache["after"] == 1
        cache._check()


@pytest.mark.parametrize("make_function", [cached, lru_cache(maxsize=100)], ids=["cached", "lru_cache"])
def test_any_allocation_of_a_call_may_fail(make_function: Any, testcapi: Any) -> None:
    @make_function
    def add(a: int, b: int = 5, c: float = 1.0) -> float:
        return a + b + c

    for failing in range(150):
        add(failing, b=3)
        testcapi.set_nomemory(failing % 75, failing % 75 + 1)
        try:
            add(failing, b=3)
            add(-failing, c=2.0)
        except MemoryError:
            pass
        finally:
            testcapi.remove_mem_hooks()
        add.cache._check()
        assert add(failing, 3) == failing + 4


def test_cycles_are_collected(make: Callable[..., Any]) -> None:
    class Node:
        pass

    node = Node()
    cache = make()
    cache["node"] = node
    node.cache = cache  # type: ignore[attr-defined]
    gone = weakref.ref(node), weakref.ref(cache)
    del node, cache
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


@pytest.mark.skipif(
    is_free_threaded() and sys.version_info < (3, 14),
    reason="where threads are, CPython 3.13 without a GIL makes functions immortal that are no closures",
)
def test_a_decorated_function_in_a_cycle_is_collected() -> None:
    def make() -> Any:
        held: list[Any] = []
        f = cached(lambda x: held)
        held.append(f)
        f(1)
        return weakref.ref(f)

    gone = make()
    gc.collect()
    assert gone() is None


def test_comparisons_may_change_the_store_each_time(make: Callable[..., Any]) -> None:
    cache = make()
    count = 0

    class Meddler:
        def __init__(self, name: int) -> None:
            self.name = name

        def __hash__(self) -> int:
            return 5

        def __eq__(self, other: object) -> bool:
            nonlocal count
            count += 1
            cache[f"other {count}"] = count
            cache.pop(f"other {count - 3}", None)
            return isinstance(other, Meddler) and self.name == other.name

    for n in range(6):
        cache[Meddler(n)] = n
        cache._check()
    for n in range(6):
        assert cache[Meddler(n)] == n
    assert Meddler(9) not in cache
    assert count < 1000
    cache._check()


def test_comparisons_may_clear_the_store(make: Callable[..., Any]) -> None:
    cache = make()

    class Clearing:
        def __hash__(self) -> int:
            return 5

        def __eq__(self, other: object) -> bool:
            cache.clear()
            return True

    for operation in (
        lambda: cache.get(Clearing()),
        lambda: Clearing() in cache,
        lambda: cache.pop(Clearing(), None),
        lambda: cache.__setitem__(Clearing(), 1),
        lambda: cache.setdefault(Clearing(), 1),
    ):
        cache.clear()
        cache[Clearing()] = object()
        cache["x"] = 2
        operation()
        cache._check()


def test_an_odd_deadline_may_change_the_store() -> None:
    cache: Any = IMPLEMENTATIONS["native"].TTLCache(ttl=10, timer=lambda: Moment(0), register=False)
    busy: list[int] = []

    class Moment:
        def __init__(self, n: int) -> None:
            self.n = n

        def __add__(self, n: int) -> Moment:
            return Moment(self.n + n)

        def __sub__(self, other: Moment) -> int:
            return self.n - other.n

        def __lt__(self, other: Moment) -> bool:
            if not busy:
                busy.append(1)
                cache.pop("b", None)
                busy.clear()
            return self.n < other.n

    for _ in range(3):
        cache["a"], cache["b"], cache["c"] = 1, 2, 3
        assert cache.get("a") == 1
        assert len(cache) == 2
        assert cache.expire(Moment(11)) in ([("a", 1), ("c", 3)], [("c", 3), ("a", 1)])
        cache._check()


def test_a_large_store_gives_its_memory_back(make: Callable[..., Any]) -> None:
    cache = make()
    small = cache.__sizeof__()
    for n in range(20_000):
        cache[n] = None
    large = cache.__sizeof__()
    cache.shrink(cache.nbytes - cache.nbytes // 2000)
    assert 0 < len(cache) <= 20
    assert cache.__sizeof__() - small < (large - small) / 50
    cache._check()


def test_churn_leaves_nothing_behind(make: Callable[..., Any]) -> None:
    cache = make(100)
    for n in range(20_000):
        cache.set(n, None, ttl=1e6 + n)
        if n == 300:
            early = cache.__sizeof__()
    assert cache.__sizeof__() < 3 * early
    cache._check()


def test_the_stand_in_of_a_hash_finds_the_entry(make: Callable[..., Any]) -> None:
    cache = make()
    keys = [(n, str(n)) for n in range(100)] + [frozenset([n]) for n in range(100)]
    for key in keys:
        cache[key] = key
    for entry in cache._snapshot():
        found = cache._seek(entry.key, entry.hash)
        assert found is not None
        assert found == entry
