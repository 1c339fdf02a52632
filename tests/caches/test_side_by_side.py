"""Threads at everything at once, on every policy of every store, and on decorated functions and methods.

With a GIL they take turns as often as CPython lets them; without one they really run side by side. Whatever
they do, a key gives a value of its own, what went in is heard to leave once, and afterwards the
store's own check finds index, orders, heaps, slots and totals in agreement.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ebbcache import cached, cachedmethod
from ebbcache.gil import is_free_threaded

THREADS = 4
# Where threads really meet, few steps are enough; and on a busy machine CPython's mutexes are handed from
# one sleeping thread to the next, so that each step takes as long as the machine takes to wake one.
STEPS = 200 if is_free_threaded() else 2000


@pytest.fixture(autouse=True)
def busy_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(work: Callable[[random.Random], None]) -> None:
    """Run `work(chance)` in threads that start at one moment; what one of them raises is raised here."""
    barrier = threading.Barrier(THREADS)

    def run(number: int) -> None:
        barrier.wait(timeout=60)
        work(random.Random(number))

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(run, number) for number in range(THREADS)]:
            done.result(timeout=100)


class Name:
    """A key whose hash and `==` are Python code, during which others come in; few hashes for many keys."""

    def __init__(self, name: int) -> None:
        self.name = name

    def __hash__(self) -> int:
        return self.name % 3

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Name) and self.name == other.name


class Value:
    """What a key's value is: it says whose it is, and looks into the cache when it dies."""

    def __init__(self, cache: Any, key: Any) -> None:
        self.cache, self.key = cache, key

    def __del__(self) -> None:
        assert len(self.cache) >= 0
        self.cache.get(self.key)


def key_of(chance: random.Random) -> Any:
    number = chance.randrange(40)
    return chance.choice([number, str(number), (number, 0.5), Name(number % 9)])


@pytest.mark.usefixtures("no_sweeps")  # whose listener might still be on its way when values are counted
@pytest.mark.parametrize(
    "bounds", [{}, {"maxsize": 50}, {"maxbytes": 900}], ids=["free", "maxsize", "maxbytes"]
)
def test_everything_at_once(kind: Any, bounds: dict[str, int]) -> None:
    heard: list[Value] = []  # append is atomic
    put: list[Value] = []

    def listen(key: Any, value: Value, cause: Any) -> None:
        assert value.key == key
        heard.append(value)

    cache = kind(**bounds, sizeof=lambda key, value: 10, listener=listen)

    def work(chance: random.Random) -> None:
        for _ in range(STEPS):
            key, action = key_of(chance), chance.random()
            found = None
            if action < 0.35:
                found = cache.get(key)
            elif action < 0.6:
                put.append(value := Value(cache, key))
                cache[key] = value
            elif action < 0.7:
                put.append(value := Value(cache, key))
                cache.set(key, value, ttl=chance.choice([None, 0, 0.001, 60]), cost=chance.random())
            elif action < 0.78:
                value = Value(cache, key)
                found = cache.setdefault(key, value)
                if found is value:
                    put.append(value)
            elif action < 0.86:
                found = cache.pop(key, None)
            elif action < 0.89:
                cache.shrink(chance.randrange(200), chance.random() < 0.5)
            elif action < 0.92:
                assert all(value.key == key for key, value in cache.items())
            elif action < 0.95:
                cache.coldest(3), cache.hottest(3), cache.stats(), cache.tally()
            elif action < 0.97:
                cache.expire()
            elif action < 0.99:
                try:
                    key, found = cache.popitem()
                except KeyError:
                    pass
            elif chance.random() < 0.3:
                cache.clear()
            assert found is None or found.key == key

    together(work)
    cache._check()
    cache.clear()  # all at once: between two looks at what is left, some of it might expire
    cache._check()
    # By identity, as values are told apart: none was lost, and none came out twice.
    assert sorted(map(id, heard)) == sorted(map(id, put))
    assert cache.nbytes == 0


@pytest.mark.parametrize("policy", ["lru", "lfu", "density"])
@pytest.mark.parametrize("limits", [{}, {"ttl": 0.002}, {"maxsize": 30}], ids=["free", "ttl", "maxsize"])
def test_decorated_functions(policy: str, limits: dict[str, Any]) -> None:
    @cached(policy=policy, **limits)
    def f(a: Any, b: Any = 2, *, c: Any = 3) -> list[Any]:
        return [a, b, c]

    class Owner:
        @cachedmethod
        def double(self, x: int, y: int = 2) -> list[Any]:
            return [self, x * y]

    owner = Owner()

    def work(chance: random.Random) -> None:
        nonlocal owner
        for _ in range(STEPS // 2):
            a, action = key_of(chance), chance.random()
            if action < 0.4:
                assert f(a) == [a, 2, 3]
            elif action < 0.5:
                assert f(c=a, a=1) == [1, 2, a]
            elif action < 0.6:
                assert f(1, a) == f(b=a, a=1) == [1, a, 3]
            elif action < 0.85:
                mine, x = owner, chance.randrange(20)
                assert mine.double(x) == [mine, 2 * x]
                assert mine.double(x, y=3) == [mine, 3 * x]
            elif action < 0.9:
                f.cache_invalidate(a)
            elif action < 0.95:
                f.cache.shrink(chance.randrange(5000))
            elif action < 0.98:
                f.cache_info(), len(f.cache), [*f.cache.items()]
            elif action < 0.99:
                owner = Owner()
            else:
                f.cache_clear()

    together(work)
    f.cache._check()
    f.cache_clear()
    f.cache._check()
