"""What every cache holds at most, how it weighs, and what a value too large meets."""

from __future__ import annotations

import logging
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from ebbcache.caches import Cause
from ebbcache.sizing import sizeof


def ten(key: object, value: object) -> int:
    return 10


def len_of(value: str) -> int:
    return len(value)


def heard_by(heard: list[Any]) -> Callable[[Any, Any, Cause], None]:
    return lambda key, value, cause: heard.append((key, value, cause))


class TestLimits:
    """`maxsize`, `maxbytes` and sizes."""

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
