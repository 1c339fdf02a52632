"""What goes wrong in one decorator or another, and must not here: hangs, mix-ups, lost errors, late frees.

Every test runs for each way in which a decorated call becomes a key, on the store that was chosen.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ebbcache import cache, cached, cachedmethod, lru_cache
from ebbcache.gil import is_free_threaded

Make = Callable[[Callable[[Any], Any]], Callable[[Any], Any]]


def as_method(**options: Any) -> Make:
    """A decorator for functions of one argument that makes them methods and answers a bound one."""

    def make(func: Callable[[Any], Any]) -> Callable[[Any], Any]:
        class Owner:
            @cachedmethod(**options)
            def method(self, x: Any) -> Any:
                return func(x)

        bound: Any = Owner().method
        return bound

    return make


KINDS: dict[str, Make] = {
    "cached": cached,
    "two": lambda func: cached(lambda x, y=0: func(x)),
    "varargs": lambda func: cached(lambda *xs: func(*xs)),
    "typed": cached(typed=True),
    "key": cached(key=lambda x: x),
    "ttl": cached(ttl=3600.0),
    "lru": cached(policy="lru", maxsize=100),
    "lfu": cached(policy="lfu", maxsize=100),
    "sizeof": cached(sizeof=lambda key, value: 100),
    "lru_cache": lru_cache,
    "lru_cache typed": lru_cache(typed=True),
    "cache": cache,
    "method": as_method(),
    "method key": as_method(key=lambda self, x: x),
}


@pytest.fixture(params=KINDS.values(), ids=list(KINDS))
def decorate(request: pytest.FixtureRequest) -> Make:
    return request.param


def in_a_thread(call: Callable[[], Any]) -> Any:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(call()), daemon=True)
    thread.start()
    thread.join(60)
    assert answers, "the call hangs"
    return answers[0]


def test_a_call_after_one_that_raised_does_not_hang(decorate):
    problems = [LookupError("first"), KeyError("second")]

    @decorate
    def f(x):
        if problems:
            raise problems.pop(0)
        return x + 1

    with pytest.raises(LookupError, match="first"):
        f(1)
    with pytest.raises(KeyError, match="second"):
        f(1)
    assert in_a_thread(lambda: f(1)) == 2
    assert f(1) == 2


def test_recursion_on_the_same_key_does_not_hang(decorate):
    depth = 0

    @decorate
    def f(x):
        nonlocal depth
        depth += 1
        return f(x) + 1 if depth < 4 else 0

    assert in_a_thread(lambda: f(7)) == 3
    # The outermost answer is the last that was stored, or, as in functools, the first one stays.
    assert f(7) in (0, 3)
    assert depth == 4


def test_coroutines_that_raised_or_call_themselves_do_not_hang():
    calls = 0

    @cached
    async def f(x):
        nonlocal calls
        calls += 1
        if x == "raises" and calls == 1:
            raise LookupError
        await asyncio.sleep(0)
        return await f(x) + 1 if calls < 4 else 0

    async def main():
        with pytest.raises(LookupError):
            await f("raises")
        return await f("raises")

    assert asyncio.run(asyncio.wait_for(main(), 60)) == 2


def test_keys_are_more_than_their_hashes(decorate):
    @decorate
    def f(x):
        return [x]

    assert hash(-1) == hash(-2)
    big = 2**61 - 1  # the modulus of hashes of numbers, so that hash(big + n) == n
    for _ in range(3):
        for x in (-1, -2, 0, big, 2 * big, 7, big + 7, "", 0.5, 2.5e-17, (-1, 0), (-2, 0), (), ((),)):
            assert f(x) == [x]
            assert type(f(x)[0]) is type(x)


class Colliding:
    """Objects that all have one hash and count how often they are asked."""

    hashed = compared = 0
    angry: type[BaseException] | None = None

    def __init__(self, name: object) -> None:
        self.name = name

    def __hash__(self) -> int:
        Colliding.hashed += 1
        return 99

    def __eq__(self, other: object) -> bool:
        Colliding.compared += 1
        if Colliding.angry is not None:
            raise Colliding.angry(self.name)
        return isinstance(other, Colliding) and self.name == other.name


@pytest.fixture(autouse=True)
def calm() -> Iterator[None]:
    yield
    Colliding.angry = None


def test_objects_of_one_hash_are_told_apart(decorate):
    @decorate
    def f(x):
        return x.name

    for _ in range(2):
        assert [f(Colliding(n)) for n in range(10)] == list(range(10))


@pytest.mark.parametrize("error", [ArithmeticError, KeyError, AttributeError, TypeError, KeyboardInterrupt])
def test_errors_of_comparisons_and_hashes_come_out(decorate, error):
    class Unhashable:
        def __hash__(self):
            raise error("hash")

    calls = []

    @decorate
    def f(x):
        calls.append(x)
        return 1

    f(Colliding("a"))
    Colliding.angry = error
    with pytest.raises(error, match="a"):
        f(Colliding("b"))
    Colliding.angry = None
    with pytest.raises(error, match="hash"):
        f(Unhashable())
    assert len(calls) == 1
    assert f(Colliding("a")) == f(Colliding("b")) == 1
    assert len(calls) == 2


class Value:
    pass


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("policy", ["density", "lru", "lfu"])
@pytest.mark.usefixtures("no_collector")
def test_values_are_freed_when_they_are_evicted_not_later(policy):
    @cached(policy=policy, maxsize=1)
    def f(x):
        return Value()

    for x in range(10):
        value = weakref.ref(f(x))
        assert value() is not None
        f(x + 1)
        assert value() is None


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("decorator", [cached, lru_cache, cache])
def test_values_are_freed_when_they_are_dropped_not_later(decorator):
    f = decorator(lambda x: Value())
    for drop in (lambda: f.cache_invalidate(1), f.cache_clear, lambda: f.cache.shrink(10**6)):
        value = weakref.ref(f(1))
        assert value() is not None
        drop()
        assert value() is None


@pytest.mark.usefixtures("no_collector")
def test_values_of_a_method_are_freed_with_the_instance():
    class Owner:
        @cachedmethod
        def method(self, x):
            return Value()

    owner = Owner()
    value = weakref.ref(owner.method(1))
    assert value() is not None
    del owner
    assert value() is None


@pytest.mark.skipif(
    is_free_threaded() and sys.version_info < (3, 14),
    reason="where threads are, CPython 3.13 without a GIL makes functions immortal that are no closures",
)
@pytest.mark.parametrize("decorator", [cached, lru_cache, cache])
def test_a_function_that_nobody_has_any_more_is_freed_with_its_cache(decorator):
    f = decorator(lambda x: Value())
    gone = weakref.ref(f), weakref.ref(f.cache), weakref.ref(f.__wrapped__), weakref.ref(f(1))
    del f
    gc.collect()
    assert [ref() for ref in gone] == [None] * 4


def test_statistics_do_not_count_themselves():
    for decorator in (cached, lru_cache, cache, cached(ttl=60)):
        f = decorator(lambda x: x)
        f(1), f(1), f(2)
        for _ in range(3):
            assert f.cache_info()[:2] == (1, 2)
            assert f.cache_contains(1)
            assert not f.cache_contains(3)
            assert len(f.cache) == 2
            assert not f.cache_invalidate(3)
            f.cache.stats()
            repr(f.cache)


def test_a_call_that_another_thread_invalidates_is_not_kept():
    started, go_on = threading.Event(), threading.Event()

    @cached
    def f(x):
        if not go_on.is_set():
            started.set()
            assert go_on.wait(60)
            return "old"
        return "new"

    answers = []
    thread = threading.Thread(target=lambda: answers.append(f(1)))
    thread.start()
    assert started.wait(60)
    f.cache_invalidate(1)
    go_on.set()
    thread.join(60)
    assert answers == ["old"]
    assert not f.cache_contains(1)
    assert f(1) == f(1) == "new"


def test_an_invalidation_while_the_answer_is_stored_is_not_lost():
    class Meddling:
        """An answer that invalidates its own entry when it is weighed, as it is amid the store."""

        def __sizeof__(self):
            if armed:
                armed.pop()
                f.cache_invalidate(1)
            return 100

    armed: list[int] = []

    @cached
    def f(x):
        armed.append(1)
        return Meddling()

    f(1)
    assert not armed
    assert not f.cache_contains(1)
