"""How entries leave every cache: what the listener hears, and what pressure takes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from ebbcache import governor
from ebbcache.caches import Cause
from ebbcache.engine import reclaim
from ebbcache.governor.deciding import Allowance


def ten(key: object, value: object) -> int:
    return 10


def heard_by(heard: list[Any]) -> Callable[[Any, Any, Cause], None]:
    return lambda key, value, cause: heard.append((key, value, cause))


class TestListener:
    """Every way out is heard."""

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


class TestShrinking:
    """Soft and hard pressure, and the allowance."""

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
