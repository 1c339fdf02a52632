"""Nonsense is refused at once, and a key is asked for its hash once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


class TestArguments:
    """Errors name the argument and what was given."""

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
