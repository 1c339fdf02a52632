"""One class that serves all policies: what every cache does as a mapping, and what it tells of itself."""

from __future__ import annotations

from typing import Any

import pytest

from ebbcache.caches import CacheStats
from ebbcache.shrinkers import registered


def ten(key: object, value: object) -> int:
    return 10


class TestCache:
    """A mapping, and what its subclasses may replace."""

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

    def test_fromkeys_and_repr(self, caches: Any) -> None:
        cache = caches.LRUCache.fromkeys("ab", 0)
        assert repr(cache) == "LRUCache({'a': 0, 'b': 0})"

    def test_getitem_asks_missing_and_get_does_not(self, kind: Any) -> None:
        class Miss(kind.cls):  # type: ignore[misc]
            def __missing__(self, key: str) -> str:
                self[key] = value = key * 2
                return value

        cache = type(kind)(Miss, kind.store, kind.required)()
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


class TestKnowing:
    """What a cache tells."""

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
