"""The same operations on cachetools' caches and ours, wherever the two are meant to agree."""

from __future__ import annotations

from typing import Any

import cachetools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("no_sweeps")

KEYS = st.integers(-4, 12)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.integers(0, 5)),
        st.tuples(st.sampled_from(["getitem", "get", "in", "pop", "del", "setdefault"]), KEYS),
        st.tuples(st.sampled_from(["popitem", "len", "currsize", "clear"])),
        st.tuples(st.just("wait"), st.integers(1, 4)),
    ),
    max_size=60,
)


def _run(cache: Any, timer: Any, step: tuple[Any, ...]) -> Any:
    """Do one step; what it answers or raises is the result."""
    name, *arguments = step
    try:
        match name:
            case "set":
                cache[arguments[0]] = arguments[1]
            case "getitem":
                return cache[arguments[0]]
            case "get":
                return cache.get(arguments[0], "none")
            case "in":
                return arguments[0] in cache
            case "pop":
                return cache.pop(arguments[0], "none")
            case "del":
                del cache[arguments[0]]
            case "setdefault":
                return cache.setdefault(arguments[0], 1)
            case "popitem":
                return cache.popitem()
            case "len":
                return len(cache)
            case "currsize":
                return cache.currsize
            case "clear":
                cache.clear()
            case "wait":
                timer.now += arguments[0]
    except (KeyError, ValueError) as error:
        return type(error)


def _same(theirs: Any, ours: Any, timer: Any, steps: list[tuple[Any, ...]]) -> None:
    for step in steps:
        expected = _run(theirs, timer, step) if step[0] != "wait" else None
        assert _run(ours, timer, step) == expected, step
        assert list(ours.items()) == [(key, theirs[key]) for key in _by_age(theirs)], step
        ours._check()
    assert ours.currsize == theirs.currsize


def _by_age(theirs: Any) -> list[Any]:
    """List the live keys in the order of use, so that looking at them all leaves that order as it was."""
    order = getattr(theirs, "_LRUCache__order", None)
    if order is None:
        order = theirs._TTLCache__links
    return [key for key in list(order) if key in theirs]


class TestSameAsCachetools:
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(steps=STEPS, maxsize=st.integers(0, 6))
    @pytest.mark.parametrize("getsizeof", [None, lambda value: value])
    def test_lru(self, caches: Any, steps: list[Any], maxsize: int, getsizeof: Any) -> None:
        theirs: Any = cachetools.LRUCache(maxsize, getsizeof)
        ours: Any = caches.LRUCache(maxsize, getsizeof, register=False)
        _same(theirs, ours, _Timer(), [step for step in steps if step[0] != "wait"])

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(steps=STEPS, maxsize=st.integers(0, 6), ttl=st.integers(0, 9))
    @pytest.mark.parametrize("getsizeof", [None, lambda value: value])
    def test_ttl(self, caches: Any, steps: list[Any], maxsize: int, ttl: int, getsizeof: Any) -> None:
        timer = _Timer()
        theirs: Any = cachetools.TTLCache(maxsize, ttl, timer, getsizeof)
        ours: Any = caches.TTLCache(maxsize, ttl, timer, getsizeof, register=False)
        _same(theirs, ours, timer, steps)

    def test_attributes(self, caches: Any) -> None:
        for theirs, ours in [
            (cachetools.LRUCache(3), caches.LRUCache(3)),
            (cachetools.LRUCache(3, getsizeof=len), caches.LRUCache(3, getsizeof=len)),
            (cachetools.TTLCache(3, 60), caches.TTLCache(3, 60)),
        ]:
            for cache in (theirs, ours):
                cache["a"] = "abc"
            for name in ("maxsize", "currsize"):
                assert getattr(ours, name) == getattr(theirs, name)
            assert ours.getsizeof("abc") == theirs.getsizeof("abc")
        assert ours.ttl == theirs.ttl
        assert ours.timer() == pytest.approx(theirs.timer(), abs=60)

    def test_decorators_of_cachetools_take_our_caches(self, caches: Any) -> None:
        calls: list[int] = []

        @cachetools.cached(caches.LRUCache(2))
        def double(n: int) -> int:
            calls.append(n)
            return 2 * n

        assert [double(n) for n in (1, 1, 2, 3, 1)] == [2, 2, 4, 6, 2]
        assert calls == [1, 2, 3, 1]


class _Timer:
    def __init__(self) -> None:
        self.now = 1000

    def __call__(self) -> int:
        return self.now
