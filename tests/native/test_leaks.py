"""What is done again and again leaves nothing behind: neither references nor memory.

Each operation goes 200 times, half of the times failing where it can; EBBCACHE_REPEAT=10000 in the
environment makes that 10,000, which takes some minutes. A leak of one a time shows in both.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from native_operations import KINDS, OPERATIONS, REPEAT, Awkward, stands_still

from ebbcache import governor
from ebbcache.memoize import cached, lru_cache

native = pytest.importorskip("ebbcache.store._store")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep other threads from allocating while blocks are counted."""
    monkeypatch.setattr(governor, "watch_expiry", lambda cache: None)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(3600.0)
    yield
    sys.setswitchinterval(interval)
    Awkward.angry = False


def failing(operation: Callable[[Any], object], cache: Any, angry: bool) -> None:
    Awkward.angry = angry
    try:
        operation(cache)
    except (KeyError, ArithmeticError, TypeError, ValueError):
        pass
    finally:
        Awkward.angry = False


@pytest.mark.timeout(1200 if REPEAT > 1000 else 120)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=list(OPERATIONS))
def test_operations_leave_nothing(kind: str, operation: Callable[[Any], object]) -> None:
    cache = KINDS[kind](150, register=False)
    key, value, awkward = (object(), 7), [object()], Awkward("x")

    def once(n: int) -> None:
        cache[key] = value
        cache[awkward] = value
        for k in range(8):
            cache[k] = value
        failing(operation, cache, angry=bool(n % 2))
        cache.clear()
        cache["stays"] = 1

    stands_still(once, [key, value, awkward, type(cache), native.Entry, cache])


@pytest.mark.timeout(1200 if REPEAT > 1000 else 120)
@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=list(OPERATIONS))
def test_operations_leave_nothing_where_all_is_foreign(operation: Callable[[Any], object]) -> None:
    """With a listener, a sizer, weights and a timer that all raise now and then."""
    turn = 0

    def now_and_then(answer: Any) -> Any:
        nonlocal turn
        turn += 1
        if turn % 7 == 0:
            raise ArithmeticError("now and then")
        return answer

    cache = KINDS["TTL"](
        40,
        timer=lambda: now_and_then(5.0),
        getsizeof=lambda value: now_and_then(2),
        sizeof=lambda key, value: now_and_then(100),
        listener=lambda *told: now_and_then(None),
        register=False,
    )
    value = [object()]

    def once(n: int) -> None:
        for k in range(8):
            failing(lambda cache, k=k: cache.__setitem__(k, value), cache, angry=False)
        failing(operation, cache, angry=bool(n % 2))
        cache.clear()

    stands_still(once, [value, type(cache), native.Entry, cache])


@pytest.mark.timeout(1200 if REPEAT > 1000 else 120)
def test_caches_leave_nothing() -> None:
    def once(n: int) -> None:
        for kind in KINDS.values():
            cache = kind(5, register=False)
            for k in range(8):
                cache[k] = [cache]
            iter(cache), cache.items(), cache.copy()
        if n % 25 == 0:
            gc.collect()

    stands_still(once, [native.Entry, *KINDS.values()])


@pytest.mark.timeout(1200 if REPEAT > 1000 else 120)
def test_calls_leave_nothing() -> None:
    argument, named = Awkward("a"), Awkward("b")

    def inner(x: object, y: object = 1, *, z: object = named) -> object:
        if x is None:
            raise LookupError
        return x

    both = [cached(inner), lru_cache(inner)]

    def once(n: int) -> None:
        for f in both:
            f(argument, y=named), f(argument, named), f(x=argument), f(argument)
            for wrong in ({"w": 1}, {"x": 1, "y": 2, "q": 3}, {}):
                with pytest.raises(TypeError):
                    f(**wrong)
            with pytest.raises(LookupError):
                f(None)
            with pytest.raises(TypeError):
                f([])
            f.cache_clear()

    stands_still(once, [argument, named, inner, *both])
