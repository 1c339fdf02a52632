"""One class that serves all policies: what every cache does, whoever it gives up first."""

from __future__ import annotations

import copy
import gc
import itertools
import logging
import pickle
import weakref
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import pytest

from ebbcache import governor
from ebbcache.caches import Cache, CacheStats, Cause, DensityCache, LFUCache, LRUCache
from ebbcache.engine import reclaim
from ebbcache.governor.deciding import Allowance
from ebbcache.shrinkers import registered
from ebbcache.sizing import sizeof


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


class TestCache:
    # -- mapping -----------------------------------------------------------------------------------------

    def test_set_and_get(self, kind: Any) -> None:
        cache = kind()
        cache["a"] = 1
        cache.set("b", 2)
        cache.update([("c", 3), ("d", 4)], e=5)
        assert dict(cache) == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
        assert (cache.pop("a"), cache.pop("a", None), cache.pop("zzz", 9)) == (1, None, 9)
        with pytest.raises(KeyError, match="zzz"):
            cache.pop("zzz")
        del cache["b"]
        with pytest.raises(KeyError, match="b"):
            del cache["b"]
        assert cache.setdefault("c", 30) == 3
        assert cache.setdefault("f", 6) == 6
        assert sorted(cache.items()) == [("c", 3), ("d", 4), ("e", 5), ("f", 6)]
        cache.clear()
        assert (len(cache), cache.nbytes, list(cache)) == (0, 0, [])
        cache._check()

    def test_minus_one_and_minus_two(self, kind: Any) -> None:
        cache = kind()
        cache[-1], cache[-2] = "one", "two"
        assert (cache[-1], cache[-2], len(cache)) == ("one", "two", 2)
        del cache[-1]
        assert dict(cache) == {-2: "two"}

    def test_views_follow_the_cache_and_count_no_hits(self, kind: Any) -> None:
        cache = kind()
        keys, values, items = cache.keys(), cache.values(), cache.items()
        cache.update(a=1, b=2)
        coldest = cache.coldest(2)
        assert (set(keys), sorted(values), sorted(items)) == ({"a", "b"}, [1, 2], [("a", 1), ("b", 2)])
        assert "a" in keys
        assert 2 in values
        assert ("b", 2) in items
        assert ("b", 3) not in items
        assert ("z", 3) not in items
        assert "b" not in items
        assert keys & {"a", "z"} == {"a"}
        assert (cache.hits, cache.misses) == (0, 0)
        assert cache.coldest(2) == coldest

    def test_changes_while_iterating_are_no_error(self, kind: Any) -> None:
        cache = kind()
        cache.update(dict.fromkeys(range(10), 0))
        for key in cache:
            cache[key + 100] = cache.pop(key)
        assert sorted(cache) == list(range(100, 110))
        for key, value in cache.items():
            cache[key] = value + 1
        assert list(cache.values()) == [1] * 10

    def test_equality_and_union(self, kind: Any) -> None:
        cache = kind(name="mine")
        cache.update(a=1, b=2)
        assert cache == {"a": 1, "b": 2}
        assert cache != {"a": 1}
        assert cache != 7
        both = cache | {"b": 3, "c": 4}
        assert type(both) is type(cache)
        assert both == {"a": 1, "b": 3, "c": 4}
        assert {"b": 3, "c": 4} | cache == {"a": 1, "b": 2, "c": 4}
        cache |= {"z": 26}
        assert cache == {"a": 1, "b": 2, "z": 26}
        with pytest.raises(TypeError):
            cache | 5
        with pytest.raises(TypeError):
            5 | cache

    def test_caches_have_no_hash(self, kind: Any) -> None:
        with pytest.raises(TypeError, match="unhashable"):
            hash(kind())

    def test_fromkeys_and_repr(self) -> None:
        cache = LRUCache.fromkeys("ab", 0)
        assert repr(cache) == "LRUCache({'a': 0, 'b': 0})"

    def test_getitem_asks_missing_and_get_does_not(self, kind: Any) -> None:
        class Miss(kind.cls):  # type: ignore[misc]
            def __missing__(self, key: str) -> str:
                self[key] = value = key * 2
                return value

        cache = type(kind)(Miss, kind.required)()
        assert cache["ab"] == "abab"
        assert cache.get("ab") == "abab"
        assert cache.get("x") is None
        assert cache.pop("x", 0) == 0
        assert cache.setdefault("y", "default") == "default"
        assert (cache.hits, cache.misses) == (1, 3)

    def test_hits_and_misses(self, kind: Any) -> None:
        cache = kind()
        cache["a"] = 1
        "a" in cache, "b" in cache, list(cache), cache == {"a": 2}
        assert (cache.hits, cache.misses) == (0, 0)
        cache["a"], cache.get("a"), cache.get("b"), cache.setdefault("a"), cache.setdefault("c")
        assert (cache.hits, cache.misses) == (3, 2)

    # -- subclasses --------------------------------------------------------------------------------------

    def test_methods_honour_a_subclass_that_transforms_values(self, kind: Any) -> None:
        def getitem(self: Any, key: Any) -> Any:
            return kind.cls.__getitem__(self, key)[0]

        def setitem(self: Any, key: Any, value: Any) -> None:
            kind.cls.__setitem__(self, key, (value,))

        cache = kind.subclass(__getitem__=getitem, __setitem__=setitem)()
        cache["a"] = 1
        cache.update(b=2)
        assert (cache["a"], cache.get("b"), cache.get("z", 0)) == (1, 2, 0)
        assert cache.setdefault("a", 9) == 1
        assert cache.setdefault("c", 3) == 3
        assert (cache.pop("c"), cache.pop("c", None)) == (3, None)
        cache._check()

    def test_a_subclass_may_weigh(self, kind: Any) -> None:
        cache = kind.subclass(getsizeof=lambda self, value: value)(10)
        cache["a"], cache["b"] = 4, 6
        assert cache.currsize == 10
        cache["c"] = 1
        assert cache.currsize <= 10
        assert cache["c"] == 1
        cache._check()

    def test_a_subclass_may_watch_popitem(self, kind: Any) -> None:
        popped = []

        def popitem(self: Any) -> Any:
            popped.append(kind.cls.popitem(self))
            return popped[-1]

        cache = kind.subclass(popitem=popitem)(2)
        cache.update(a=1, b=2)
        assert popped == []
        cache["a"] = 10
        assert popped == []
        cache["c"] = 3
        assert len(popped) == 1
        assert len(cache) == 2
        assert cache["c"] == 3
        cache._check()

    @pytest.mark.parametrize("useless", [lambda self: None, lambda self: self.clear()])
    def test_a_useless_popitem_does_no_harm(self, kind: Any, useless: Any) -> None:
        cache = kind.subclass(popitem=useless)(2)
        cache.update(a=1, b=2, c=3)
        assert len(cache) <= 2
        assert cache["c"] == 3
        cache._check()

    # -- limits ------------------------------------------------------------------------------------------

    def test_maxsize(self, kind: Any) -> None:
        cache = kind(3)
        for n in range(10):
            cache[n] = n
            assert len(cache) == cache.currsize == min(n + 1, 3)
            assert cache[n] == n
            cache._check()
        assert cache.maxsize == 3
        assert cache.stats().evictions == 7

    def test_getsizeof(self, kind: Any) -> None:
        cache = kind(10, getsizeof=len_of)
        cache.update(a="aaaa", b="bbbbbb")
        assert cache.currsize == 10
        cache["a"] = "a"
        assert cache.currsize == 7
        with pytest.raises(ValueError, match="value too large"):
            cache["a"] = "x" * 11
        assert cache["a"] == "a"
        cache["c"] = "c" * 10
        assert dict(cache) == {"c": "c" * 10}
        cache._check()

    def test_getsizeof_may_answer_anything_that_is_a_number(self, kind: Any) -> None:
        cache = kind(2, getsizeof=lambda value: Fraction(1, 2))
        for n in range(6):
            cache[n] = n
        assert len(cache) == 4
        for nonsense in (-1, float("nan")):
            cache = kind(2, getsizeof=lambda value, nonsense=nonsense: nonsense)
            with pytest.raises(ValueError, match="getsizeof"):
                cache["a"] = 1
            assert len(cache) == 0

    def test_maxsize_zero_and_infinite(self, kind: Any) -> None:
        with pytest.raises(ValueError, match="too large"):
            kind(0)["a"] = 1
        cache = kind(float("inf"))
        cache.update(dict.fromkeys(range(100)))
        assert len(cache) == 100

    def test_maxbytes(self, kind: Any) -> None:
        cache = kind(maxbytes=100, sizeof=ten)
        for n in range(30):
            cache[n] = n
            assert cache.nbytes <= 100
            assert n in cache
        assert len(cache) == 10
        assert cache.maxbytes == 100
        cache._check()

    def test_a_value_larger_than_maxbytes_is_not_kept(self, kind: Any) -> None:
        heard: list[Any] = []
        cache = kind(maxbytes="1 KiB", sizeof=lambda key, value: value, listener=heard_by(heard))
        cache["a"], cache["b"] = 100, 200
        cache["a"] = 2000
        assert dict(cache) == {"b": 200}
        assert heard == [
            ("a", 100, Cause("replaced", "user")),
            ("a", 2000, Cause("refused", "maxbytes")),
        ]
        assert cache.setdefault("b", 5000) == 200
        assert cache.setdefault("c", 5000) == 5000
        assert "c" not in cache
        assert (cache.stats().refused, cache.stats().inserts) == (2, 2)
        cache._check()

    def test_bytes_are_key_value_and_what_the_store_spends(self, kind: Any) -> None:
        cache = kind()
        key, value = ("a", "key"), {"some": ["value", 1.5]}
        weighed = sizeof(key) + sizeof(value)
        cache[key] = value
        assert weighed < cache.nbytes < weighed + 1000
        assert cache.nbytes == cache.stats().nbytes

    def test_sizeof_replaces_measuring(self, kind: Any) -> None:
        cache = kind(sizeof=lambda key, value: 7)
        cache.update(a=1, b=2)
        assert cache.nbytes == 14

    @pytest.mark.parametrize("answer", [-1, None, "many", 1.5, ZeroDivisionError()])
    def test_a_sizer_that_fails_is_told_once_and_fails_no_insert(
        self, kind: Any, answer: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        def sizer(key: object, value: object) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        cache = kind(sizeof=sizer, name="odd")
        with caplog.at_level(logging.WARNING, "ebbcache"):
            cache["a"], cache["b"] = "x" * 1000, 2
        assert cache["b"] == 2
        assert cache.nbytes > 1000
        assert [record.name for record in caplog.records] == ["ebbcache"]
        assert "odd" in caplog.text

    def test_resize_counts_again(self, kind: Any) -> None:
        cache = kind(maxbytes=100, sizeof=lambda key, value: len(value))
        cache["a"], cache["b"] = [0] * 10, [0] * 20
        cache["b"].extend([0] * 75)
        assert cache.nbytes == 30
        assert cache.resize("b") == 95
        assert dict(cache) == {"b": [0] * 95}
        with pytest.raises(KeyError, match="a"):
            cache.resize("a")
        cache._check()

    def test_overwriting_leaks_nothing(self, kind: Any) -> None:
        cache = kind(100, getsizeof=len_of)
        for n in range(200):
            cache["same"] = "x" * (n % 50)
        assert cache.currsize == len(cache["same"])
        empty = kind()
        empty["same"] = cache["same"]
        assert cache.nbytes == empty.nbytes
        cache._check()

    # -- listener ----------------------------------------------------------------------------------------

    def test_every_way_out_is_heard(self, kind: Any) -> None:
        heard: list[Any] = []
        cache = kind(2, listener=heard_by(heard), sizeof=ten)
        cache["a"] = 1
        cache["a"] = 2
        assert heard.pop() == ("a", 1, Cause("replaced", "user"))
        del cache["a"]
        assert heard.pop() == ("a", 2, Cause("deleted", "user"))
        cache["b"] = 3
        cache.pop("b")
        assert heard.pop() == ("b", 3, Cause("deleted", "user"))
        cache["c"] = 4
        assert cache.popitem() == ("c", 4)
        assert heard.pop() == ("c", 4, Cause("evicted", "user"))
        cache.update(d=5, e=6, f=7)
        key, value, cause = heard.pop()
        assert (key, value) in [("d", 5), ("e", 6)]
        assert cause == Cause("evicted", "maxsize")
        assert cache.shrink(10) == 10
        assert heard.pop()[2] == Cause("evicted", "user")
        cache.clear()
        assert heard.pop()[2] == Cause("cleared", "user")
        assert heard == []

    def test_the_listener_hears_who_wants_memory(self, kind: Any) -> None:
        heard: list[Any] = []
        cache = kind(listener=heard_by(heard), sizeof=ten, register=True)
        for hard, why, by in [
            (False, "pressure", "soft pressure"),
            (True, "pressure", "hard pressure"),
            (False, "reclaim", "reclaim"),
        ]:
            cache["a"] = 1
            reclaim(None, hard, why=why)
            assert heard.pop() == ("a", 1, Cause("evicted", by))
        assert heard == []

    def test_a_listener_that_raises_is_counted_and_told_once(
        self, kind: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        def listener(key: object, value: object, cause: Cause) -> None:
            raise ValueError("no, thanks")

        cache = kind(2, listener=listener)
        with caplog.at_level(logging.WARNING, "ebbcache"):
            for n in range(10):
                cache[n] = n
        assert len(cache) == 2
        assert cache.stats().listener_errors == 8
        assert len(caplog.records) == 1
        assert "no, thanks" in caplog.text

    def test_an_interrupt_in_a_listener_comes_through(self, kind: Any) -> None:
        def listener(key: object, value: object, cause: Cause) -> None:
            raise KeyboardInterrupt

        cache = kind(listener=listener)
        cache["a"] = 1
        with pytest.raises(KeyboardInterrupt):
            cache["a"] = 2
        assert cache["a"] == 2
        cache._check()

    # -- shrinking ---------------------------------------------------------------------------------------

    def test_shrink_frees_the_target_and_hardly_more(self, kind: Any) -> None:
        cache = kind(sizeof=ten)
        cache.update(dict.fromkeys(range(100)))
        assert cache.shrink(0) == 0
        assert cache.shrink(1) == 10
        assert cache.shrink(100) == 100
        assert cache.shrink(555) == 560
        assert (len(cache), cache.nbytes) == (33, 330)
        assert cache.shrink(10**9) == 330
        assert cache.shrink(10**9, True) == 0
        cache._check()

    def test_min_bytes_is_left_alone_unless_it_is_hard(self, kind: Any) -> None:
        cache = kind(sizeof=ten, min_bytes=45)
        cache.update(dict.fromkeys(range(10)))
        assert cache.shrink(10**9) == 50
        assert cache.nbytes == 50
        assert cache.shrink(10**9) == 0
        assert cache.shrink(10**9, hard=True) == 50

    def test_the_soft_tally_leaves_the_floor_out(self, kind: Any) -> None:
        cache = kind(sizeof=ten, min_bytes=45)
        cache.update(dict.fromkeys(range(10)))
        assert sum(cache.tally(hard=True).values()) == 100
        assert sum(cache.tally(hard=False).values()) == 55

    def test_pressure_reaches_registered_caches_only(self, kind: Any) -> None:
        caches = [kind(sizeof=ten, register=True), kind(sizeof=ten, register=False)]
        for cache in caches:
            cache["a"] = 1
        gave = reclaim(None)
        assert caches[0].name in [each.name for each in gave.by]
        assert [len(cache) for cache in caches] == [0, 1]

    def test_inserts_draw_on_the_allowance(self, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[int] = []
        grant = True

        allowance = Allowance()
        allowance.left = 25

        def spent(size: int) -> bool:
            asked.append(size)
            allowance.left = 25
            return grant

        monkeypatch.setattr(governor, "spent", spent)
        monkeypatch.setattr("ebbcache._cache.allowance", allowance)
        heard: list[Any] = []
        cache = kind(sizeof=ten, register=True, listener=heard_by(heard))
        cache.update(a=1, b=2)
        assert asked == []
        cache["c"] = 3
        assert asked == [10]
        assert len(cache) == 3
        grant = False
        allowance.left = 0
        cache["c"] = 30
        assert asked == [10, 10]
        assert "c" not in cache
        assert heard == [("c", 3, Cause("replaced", "user")), ("c", 30, Cause("refused", "memory"))]
        allowance.left = 0
        kind(sizeof=ten, register=False)["a"] = 1
        assert asked == [10, 10]

    # -- knowing -----------------------------------------------------------------------------------------

    def test_coldest_and_hottest_are_ends_of_one_order(self, kind: Any) -> None:
        cache = kind(sizeof=ten)
        for n in range(20):
            cache[n] = str(n)
        order = cache.coldest(20)
        assert sorted(order) == [(n, str(n)) for n in range(20)]
        assert cache.coldest() == order[:1]
        assert cache.coldest(0) == []
        assert cache.hottest(5) == order[:-6:-1]
        assert cache.hottest(100) == order[::-1]
        assert cache.hits == 0
        with pytest.raises(ValueError, match="n must not be negative"):
            cache.coldest(-1)
        with pytest.raises(TypeError, match="n must be an int"):
            cache.hottest("5")

    def test_stats(self, kind: Any) -> None:
        cache = kind(2, name="numbers", sizeof=ten)
        cache.update(a=1, b=2, c=3)
        cache["c"], cache.get("z")
        stats = cache.stats()
        assert stats == CacheStats(
            name="numbers",
            policy=cache.policy,
            entries=2,
            nbytes=20,
            hits=1,
            misses=1,
            inserts=3,
            evictions=1,
            expirations=0,
            refused=0,
            listener_errors=0,
        )
        assert stats.hit_ratio == 0.5
        assert kind().stats().hit_ratio == 0.0

    def test_names(self, kind: Any) -> None:
        first, second = kind(register=True), kind()
        assert first.name.startswith(f"{kind.cls.__name__}-")
        assert first.name != second.name
        assert [handle.name for handle in registered(first.name)] == [first.name]
        assert registered(second.name) == ()

    # -- copies ------------------------------------------------------------------------------------------

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

    # -- life and death ----------------------------------------------------------------------------------

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

    # -- arguments ---------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("arguments", "error", "named"),
        [
            ({"maxsize": -1}, ValueError, "maxsize.*-1"),
            ({"maxsize": float("nan")}, ValueError, "maxsize.*nan"),
            ({"maxsize": "many"}, TypeError, "maxsize.*many"),
            ({"maxsize": True}, TypeError, "maxsize.*True"),
            ({"maxbytes": -1}, ValueError, "maxbytes.*-1"),
            ({"maxbytes": "much"}, ValueError, "maxbytes.*much"),
            ({"maxbytes": 1.5}, TypeError, r"maxbytes.*1\.5"),
            ({"min_bytes": None}, TypeError, "min_bytes.*None"),
            ({"min_bytes": "2 MiB", "maxbytes": "1 MiB"}, ValueError, "min_bytes.*2 MiB"),
            ({"name": 5}, TypeError, "name.*5"),
            ({"name": " ", "register": True}, ValueError, "name"),
            ({"sizeof": 5}, TypeError, "sizeof.*5"),
            ({"listener": 5}, TypeError, "listener.*5"),
            ({"getsizeof": 5}, TypeError, "getsizeof.*5"),
            ({"register": 5}, TypeError, "register.*5"),
        ],
    )
    def test_nonsense_is_refused_at_once(
        self, kind: Any, arguments: dict[str, Any], error: type[Exception], named: str
    ) -> None:
        with pytest.raises(error, match=named):
            kind(**arguments)

    @pytest.mark.parametrize(
        ("arguments", "error", "named"),
        [
            ({"cost": -1.0}, ValueError, "cost.*-1"),
            ({"cost": float("nan")}, ValueError, "cost.*nan"),
            ({"cost": float("inf")}, ValueError, "cost.*inf"),
            ({"cost": "dear"}, TypeError, "cost.*dear"),
            ({"ttl": -1}, ValueError, "ttl.*-1"),
            ({"ttl": "long"}, TypeError, "ttl.*long"),
        ],
    )
    def test_set_refuses_nonsense(
        self, kind: Any, arguments: dict[str, Any], error: type[Exception], named: str
    ) -> None:
        cache = kind()
        with pytest.raises(error, match=named):
            cache.set("a", 1, **arguments)
        assert len(cache) == 0

    @pytest.mark.parametrize(("target", "error"), [(-1, ValueError), ("1", TypeError), (True, TypeError)])
    def test_shrink_refuses_nonsense(self, kind: Any, target: Any, error: type[Exception]) -> None:
        with pytest.raises(error, match="target"):
            kind().shrink(target)

    def test_an_unhashable_key_is_a_type_error_everywhere(self, kind: Any) -> None:
        cache = kind()
        for operation in (
            lambda: cache[[]],
            lambda: cache.get([]),
            lambda: [] in cache,
            lambda: cache.set([], 1),
            lambda: cache.setdefault([], 1),
            lambda: cache.pop([], 1),
            lambda: cache.resize([]),
            lambda: cache.update({(): 1} and [([], 1)]),
        ):
            with pytest.raises(TypeError, match="unhashable"):
                operation()
        cache._check()


class TestOneHash:
    @pytest.fixture
    def counted(self) -> Iterator[Any]:
        class Counted:
            hashes = 0

            def __init__(self, name: str) -> None:
                self.name = name

            def __hash__(self) -> int:
                Counted.hashes += 1
                return hash(self.name)

            def __eq__(self, other: object) -> bool:
                return isinstance(other, Counted) and self.name == other.name

        return Counted  # type: ignore[return-value]

    @pytest.mark.parametrize("there", [True, False])
    @pytest.mark.parametrize(
        "operation",
        [
            lambda cache, key: cache.get(key),
            lambda cache, key: key in cache,
            lambda cache, key: cache.__setitem__(key, 1),
            lambda cache, key: cache.set(key, 1, ttl=5, cost=1.0),
            lambda cache, key: cache.setdefault(key, 1),
            lambda cache, key: cache.pop(key, None),
            lambda cache, key: cache.update([(key, 2)]),
            lambda cache, key: cache.set(key, 1000),
        ],
    )
    def test_each_operation_asks_once(self, kind: Any, counted: Any, operation: Any, there: bool) -> None:
        cache = kind(2, maxbytes=500, sizeof=lambda key, value: value)
        for name in "ab":
            cache[counted(name)] = 1
        probe = counted("a" if there else "z")
        counted.hashes = 0
        operation(cache, probe)
        assert counted.hashes == 1
        counted.hashes = 0
        cache.shrink(1), cache.clear()
        assert counted.hashes == 0


class TestPolicies:
    """What tells the policies apart."""

    def test_lru(self) -> None:
        cache = LRUCache[str, int](maxsize=3, register=False)
        cache.update(a=1, b=2, c=3)
        cache["a"], cache.get("b"), cache.setdefault("c", 0), cache["a"]
        assert list(cache) == ["b", "c", "a"]
        cache["d"] = 4
        assert list(cache) == ["c", "a", "d"]
        cache["c"] = 5
        assert [cache.popitem()[0] for _ in range(3)] == ["a", "d", "c"]

    def test_lfu_keeps_what_is_used_often(self) -> None:
        cache = LFUCache[int, int](maxsize=10, register=False)
        for key in range(10):
            cache[key] = key
            for _ in range(key):
                cache[key]
        assert [key for key, _ in cache.coldest(10)] == list(range(10))
        cache[99] = 99
        assert 0 not in cache
        assert 99 in cache

    def test_lfu_forgets_old_fame(self) -> None:
        cache = LFUCache[str, int](maxsize=3, register=False)
        cache.update(star=0, b=0, c=0)
        for _ in range(1000):
            cache["star"]
        rounds = 0
        for rounds in itertools.count():
            if "star" not in cache:
                break
            cache["b"] = cache.get("b", 0)
            cache["c"] = cache.get("c", 0)
            for _ in range(10):
                cache.get("b"), cache.get("c")
            cache[f"new {rounds}"] = 1
            cache._check()
            assert rounds < 200, "the star of old times is still there"

    def test_lfu_counts_do_not_overflow(self) -> None:
        cache = LFUCache[int, int](register=False)
        cache.update(dict.fromkeys(range(4), 0))
        cache._gain = 2.0**499
        for _ in range(10):
            for _ in range(50):
                cache[3], cache[2]
            cache[1] = 0
            cache._check()
        assert cache._gain < 2.0**400
        assert [key for key, _ in cache.coldest(2)] == [0, 1]
        assert all(entry.hits < 1e6 for entry in cache._snapshot())

    def test_density_weighs_cost_bytes_hits_and_age(self, played_clock: Callable[[float], None]) -> None:
        cache = DensityCache[str, int](register=False, sizeof=lambda key, value: value)
        cache.set("large", 1000, cost=1.0)
        cache.set("small", 10, cost=1.0)
        cache.set("dear", 1000, cost=1000.0)
        cache.set("used", 1000, cost=1.0)
        for _ in range(5):
            cache["used"]
        played_clock(10.0)
        assert [key for key, _ in cache.coldest(4)] == ["large", "used", "small", "dear"]
        cache["large"]
        played_clock(0.001)
        assert cache.coldest()[0][0] == "used"
        assert cache.shrink(1) == 1000
        assert "used" not in cache

    def test_density_takes_the_mean_cost_where_none_is_known(
        self, played_clock: Callable[[float], None]
    ) -> None:
        cache = DensityCache[str, int](register=False, sizeof=ten)
        cache.set("cheap", 1, cost=1.0)
        cache.set("unknown", 1)
        cache.set("dear", 1, cost=9.0)
        played_clock(1.0)
        assert [key for key, _ in cache.coldest(3)] == ["cheap", "unknown", "dear"]

    def test_density_hits_saturate(self, played_clock: Callable[[float], None]) -> None:
        cache = DensityCache[str, int](register=False, sizeof=ten)
        cache.update(famous=1, known=1)
        for _ in range(1000):
            cache["famous"]
        for _ in range(40):
            cache["known"]
        played_clock(1.0)
        tally = cache.tally(hard=True)
        assert list(tally.values()) == [20]

    @pytest.mark.parametrize("share", [0.03, 0.3, 0.9])
    def test_density_drops_the_least_dense(
        self, share: float, played_clock: Callable[[float], None]
    ) -> None:
        cache = DensityCache[int, int](register=False, sizeof=ten)
        for n in range(2000):
            cache.set(n, n, cost=2.0 ** (n * 40 / 2000))
        played_clock(1.0)
        target = int(cache.nbytes * share)
        assert target <= cache.shrink(target) <= target + 10
        gone = [n for n in range(2000) if n not in cache]
        # The best choice would have a mean rank of half its number; one in a sample is not far from it.
        assert sum(gone) / len(gone) < (200 if share < 1 / 16 else len(gone) / 2)


def test_a_cache_is_a_generic_mapping() -> None:
    cache: Cache[str, int] = LRUCache[str, int](register=False)
    cache["a"] = 1
    assert cache.get("b", 0) == 0
