"""What copies and pickles of every cache keep, and that nothing outlives its cache."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from ebbcache.caches import Cause
from ebbcache.shrinkers import registered


class Named:
    """A value that can be weakly referenced and pickled."""

    def __init__(self, name: object) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and self.name == other.name

    __hash__ = None  # type: ignore[assignment]


def ten(key: object, value: object) -> int:
    return 10


def len_of(value: str) -> int:
    return len(value)


def heard_by(heard: list[Any]) -> Callable[[Any, Any, Cause], None]:
    return lambda key, value, cause: heard.append((key, value, cause))


class TestCopies:
    """Everything but the past."""

    @pytest.mark.parametrize(
        "twin",
        [
            copy.copy,
            copy.deepcopy,
            lambda cache: cache.copy(),
            *(
                lambda cache, protocol=protocol: pickle.loads(pickle.dumps(cache, protocol))
                for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
            ),
        ],
    )
    def test_copies_have_everything_but_the_past(
        self, kind: Any, twin: Any, played_clock: Callable[[float], None]
    ) -> None:
        cache = kind(50, getsizeof=len_of, maxbytes=1000, min_bytes=7, name="first", sizeof=ten)
        for n in range(40):
            cache.set(n, "ab"[n % 2], cost=n / 10 + 1)
            played_clock(1.0)
            cache[n // 2], cache.get("none")
        cache.mark = "mine"
        other = twin(cache)
        other._check()
        assert type(other) is type(cache)
        assert other == cache
        assert other.coldest(40) == cache.coldest(40)
        assert list(other) == list(cache)
        for name in ("maxsize", "currsize", "maxbytes", "min_bytes", "name", "nbytes", "mark"):
            assert getattr(other, name) == getattr(cache, name)
        assert (other.hits, other.misses, other.stats().inserts) == (0, 0, 0)
        assert other.tally(hard=True) == cache.tally(hard=True)
        del other[39]
        other["new"] = "x"
        assert 39 in cache
        assert "new" not in cache

    def test_a_copy_of_a_nameless_cache_gets_its_own_name(self, kind: Any) -> None:
        cache = kind()
        assert cache.copy().name != cache.name

    def test_a_cache_that_holds_itself_can_be_copied(self, kind: Any) -> None:
        cache = kind()
        cache["self"] = cache
        other = pickle.loads(pickle.dumps(cache))
        assert other["self"] is other
        assert repr(other) == f"{type(other).__name__}({{'self': ...}})"


class TestLife:
    """Values and caches are freed at once."""

    def test_values_are_freed_at_once(self, kind: Any) -> None:
        cache = kind(2, sizeof=ten)

        def put(key: object) -> weakref.ref[Named]:
            value = Named(key)
            cache[key] = value
            return weakref.ref(value)

        refs = [put(n) for n in range(5)]
        assert sum(ref() is not None for ref in refs) == 2
        replaced, replacing = put("same"), put("same")
        assert replaced() is None
        assert replacing() is not None
        del cache["same"]
        assert replacing() is None
        shrunk = put("same")
        cache.shrink(10**6)
        assert shrunk() is None
        cleared = put("same")
        cache.clear()
        assert cleared() is None
        popped = put("same")
        assert cache.popitem()[0] == "same"
        assert popped() is None

    @pytest.mark.parametrize("register", [True, False])
    def test_a_cache_dies_with_its_last_reference(self, kind: Any, register: bool) -> None:
        gc.disable()
        try:
            cache = kind(10, register=register, listener=heard_by([]), maxbytes=10**6)
            cache.update(dict.fromkeys(range(20)))
            cache.set("a", 1, ttl=100)
            list(cache.items()), cache.copy(), cache.shrink(100), cache.stats()
            name, ref = cache.name, weakref.ref(cache)
            value = weakref.ref(cache.setdefault("v", Named("v")))
            del cache
            assert ref() is None
            assert value() is None
            assert registered(name) == ()
        finally:
            gc.enable()

    def test_a_cache_in_a_cycle_is_collected(self, kind: Any) -> None:
        cache = kind(register=True)
        cache["self"] = cache
        cache.mine = cache
        name, ref = cache.name, weakref.ref(cache)
        del cache
        gc.collect()
        assert ref() is None
        assert registered(name) == ()

    def test_a_cache_in_a_cache_is_weighed_by_what_it_holds(self, kind: Any) -> None:
        inner, outer = kind(sizeof=lambda key, value: 10**6), kind()
        inner["a"] = 1
        outer["inner"] = inner
        assert 10**6 < outer.nbytes < 10**6 + 10_000
        counted_already = kind(sizeof=lambda key, value: 10**6, register=True)
        counted_already["a"] = 1
        outer["inner"] = counted_already
        assert outer.nbytes < 10_000
