from __future__ import annotations

import datetime
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from ebbcache import governor
from ebbcache.caches import Cause, TTLCache

pytestmark = pytest.mark.usefixtures("no_sweeps")


class Value:
    """Something to watch die."""


@pytest.fixture
def cache(caches: Any, timer: Any) -> TTLCache[Any, Any]:
    return caches.TTLCache(ttl=10, timer=timer, register=False)  # type: ignore[no-any-return]


EVERY_WAY: dict[str, Callable[[TTLCache[Any, Any]], bool]] = {
    "getitem": lambda cache: _found(lambda: cache["a"]),
    "get": lambda cache: cache.get("a") is not None,
    "in": lambda cache: "a" in cache,
    "iter": lambda cache: "a" in list(cache),
    "keys": lambda cache: "a" in cache.keys() or "a" in list(cache.keys()),  # noqa: SIM118
    "values": lambda cache: 1 in cache.values(),
    "items": lambda cache: ("a", 1) in cache.items() or ("a", 1) in list(cache.items()),
    "pop": lambda cache: cache.pop("a", None) is not None,
    "popitem": lambda cache: _found(cache.popitem),
    "setdefault": lambda cache: cache.setdefault("a", 2) == 1,
    "coldest": lambda cache: cache.coldest(5) != [],
    "hottest": lambda cache: cache.hottest(5) != [],
    "len": lambda cache: len(cache) == 1,
    "bool": bool,
    "currsize": lambda cache: cache.currsize == 1,
    "repr": lambda cache: "'a'" in repr(cache),
    "copy": lambda cache: cache.copy() != {},
    "pickle": lambda cache: len(pickle.dumps([*cache.__getstate__()["entries"]])) > 20,
    "eq": lambda cache: cache == {"a": 1},
    "or": lambda cache: (cache | {}) != {},
    "update": lambda cache: _updated(cache) != {},
    "del": lambda cache: _found(lambda: cache.__delitem__("a")),
    "resize": lambda cache: _found(lambda: cache.resize("a")),
}

INSERTS: dict[str, Callable[[Any], object]] = {
    "setitem": lambda cache: cache.__setitem__("a", "mine"),
    "set": lambda cache: cache.set("a", "mine", ttl=50),
    "setdefault": lambda cache: cache.setdefault("a", "mine"),
    "update": lambda cache: cache.update({"a": "mine"}),
    "get, then set": lambda cache: cache.get("a") or cache.set("a", "mine"),
    "get": lambda cache: cache.get("a"),
    "expire": lambda cache: cache.expire(),
    "len": len,
}


def _found(look: Callable[[], Any]) -> bool:
    try:
        look()
    except KeyError:
        return False
    return True


def _updated(cache: TTLCache[Any, Any]) -> dict[Any, Any]:
    other = type(cache)(ttl=10, register=False)
    other.update(cache)
    return dict(other)


class TestExpired:
    @pytest.mark.parametrize("way", EVERY_WAY.values(), ids=EVERY_WAY.keys())
    @pytest.mark.parametrize("collide", [False, True], ids=["", "collide"])
    def test_what_has_expired_is_never_seen(self, caches: Any, timer: Any, way: Any, collide: bool) -> None:
        for after, there in [(9.99, True), (10.0, False), (11.0, False)]:
            timer.now = 1000.0
            cache = caches.TTLCache(ttl=10, timer=timer, register=False)
            cache["a"] = 1
            timer.now += after
            if collide:

                class Same:
                    def __hash__(self) -> int:
                        return hash("a")

                cache["b"] = 2
                del cache["b"]
                cache._put(Same(), hash("a"), 3, 1, deadline=0.0)
            assert way(cache) is there
            cache._check()

    def test_it_is_freed_by_whoever_meets_it(self, cache: TTLCache[str, Value], timer: Any) -> None:
        for meet in (
            lambda: cache.get("a"),
            lambda: len(cache),
            lambda: cache.expire(),
            lambda: cache.currsize,
            lambda: cache.stats(),
            lambda: cache.pop("a", None),
            lambda: cache.shrink(1),
            lambda: cache.setdefault("a", 5),
        ):
            cache.clear()
            value = Value()
            cache["a"], ref = value, weakref.ref(value)
            del value
            timer.now += 10
            assert ref() is not None
            meet()
            assert ref() is None

    def test_it_is_a_miss_and_an_expiration(self, caches: Any, timer: Any) -> None:
        heard: list[Any] = []
        cache = caches.TTLCache(
            ttl=10, timer=timer, register=False, listener=lambda *what: heard.append(what)
        )
        cache["a"] = 1
        timer.now += 10
        assert cache.get("a") is None
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.expirations, stats.entries) == (0, 1, 1, 0)
        assert heard == [("a", 1, Cause("expired", "ttl"))]

    def test_setting_an_expired_key_replaces_nothing(self, caches: Any, timer: Any) -> None:
        heard: list[Any] = []
        cache = caches.TTLCache(
            ttl=10, timer=timer, register=False, listener=lambda *what: heard.append(what[2].kind)
        )
        cache["a"] = 1
        timer.now += 10
        cache["a"] = 2
        assert heard == ["expired"]
        assert cache["a"] == 2

    def test_it_goes_first_when_room_is_needed(self, caches: Any, timer: Any) -> None:
        cache = caches.TTLCache(
            maxsize=3, ttl=10, timer=timer, register=False, sizeof=lambda key, value: 10
        )
        cache["cold"] = 1
        cache.set("short", 2, ttl=1)
        cache["hot"] = 3
        timer.now += 5
        cache["new"] = 4
        assert sorted(cache) == ["cold", "hot", "new"]
        cache.set("hot", 3, ttl=1)
        timer.now += 2
        assert cache.shrink(10) == 10
        assert sorted(cache) == ["cold", "new"]
        cache.set("new", 3, ttl=1)
        timer.now += 2
        assert cache.shrink(15) == 20

    def test_a_hit_does_not_prolong_life(self, cache: TTLCache[str, int], timer: Any) -> None:
        cache["a"] = 1
        timer.now += 9
        assert cache["a"] == 1
        timer.now += 1
        assert "a" not in cache

    def test_setting_anew_does(self, cache: TTLCache[str, int], timer: Any) -> None:
        cache["a"] = 1
        timer.now += 9
        cache["a"] = 2
        timer.now += 9
        assert cache["a"] == 2

    def test_a_ttl_of_zero_expires_at_once(self, caches: Any, timer: Any) -> None:
        cache = caches.TTLCache(ttl=0, timer=timer, register=False)
        cache["a"] = 1
        assert "a" not in cache
        assert len(cache) == 0

    @pytest.mark.parametrize("who", ["listener", "destructor"])
    @pytest.mark.parametrize("way", INSERTS.values(), ids=INSERTS.keys())
    def test_who_sees_it_off_may_put_another_in_its_place(
        self, kind: Any, timer: Any, who: str, way: Callable[[Any], object]
    ) -> None:
        """A key has one entry, whoever put it there meanwhile."""
        again = 0

        def put() -> None:
            nonlocal again
            if again == 0:
                again = 1
                cache.set("a", "again", ttl=100)

        class Last:
            def __del__(self) -> None:
                put()

        def heard(key: str, value: object, cause: Cause) -> None:
            if cause.kind == "expired":
                put()

        cache = kind(listener=heard if who == "listener" else None)
        cache.timer = timer
        cache.set("b", 1, ttl=1000)
        cache.set("a", Last() if who == "destructor" else 1, ttl=10)
        timer.now += 10
        way(cache)
        assert again == 1
        cache._check()
        assert [*cache].count("a") == 1
        assert len(cache) == 2
        assert cache.pop("a") in ("again", "mine")
        assert "a" not in cache
        assert [*cache] == ["b"]
        cache._check()


class TestTimes:
    def test_each_entry_may_have_its_own_ttl(self, cache: TTLCache[str, int], timer: Any) -> None:
        cache.set("short", 1, ttl=1)
        cache.set("long", 2, ttl=100)
        cache.set("usual", 3)
        cache.set("forever", 4, ttl=float("inf"))
        timer.now += 1
        assert sorted(cache) == ["forever", "long", "usual"]
        timer.now += 9
        assert sorted(cache) == ["forever", "long"]
        timer.now += 1e9
        assert sorted(cache) == ["forever"]
        assert cache.ttl == 10

    @pytest.mark.parametrize("policy", ["LRU", "LFU", "Density"])
    def test_other_caches_have_deadlines_too(self, caches: Any, policy: str, timer: Any) -> None:
        cache = getattr(caches, f"{policy}Cache")(register=False)
        cache.timer = timer
        cache.set("a", 1, ttl=5)
        cache["b"] = 2
        timer.now += 5
        assert dict(cache) == {"b": 2}
        assert len(cache) == 1

    def test_expire_hands_out_what_it_removed(self, cache: TTLCache[str, int], timer: Any) -> None:
        cache["a"] = 1
        cache.set("b", 2, ttl=20)
        assert cache.expire() == []
        assert cache.expire(timer.now + 10) == [("a", 1)]
        timer.now += 100
        assert cache.expire() == [("b", 2)]

    def test_datetimes(self, caches: Any) -> None:
        now = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
        cache = caches.TTLCache(
            ttl=datetime.timedelta(hours=1), timer=lambda: now, maxsize=10, register=False
        )
        for n in range(5):
            cache[n] = n
            now += datetime.timedelta(minutes=15)
        assert {*cache} == {2, 3, 4}
        assert cache.seconds_to_expiry() == -900.0
        assert len(cache) == 3
        assert cache.seconds_to_expiry() == 900.0
        assert not cache._unordered
        cache._check()

    def test_timers_that_only_add_and_compare(self, caches: Any) -> None:
        class Version:
            def __init__(self, number: int) -> None:
                self.number = number

            def __add__(self, other: int) -> Version:
                return Version(self.number + other)

            def __lt__(self, other: Version) -> bool:
                return self.number < other.number

        now = Version(1)
        cache = caches.TTLCache(ttl=2, timer=lambda: now, maxsize=2, register=False)
        cache["a"] = 1
        assert cache.seconds_to_expiry() == 1.0
        now = Version(2)
        cache["b"] = 2
        now = Version(3)
        assert cache.seconds_to_expiry() == 0.0
        cache["c"] = 3
        assert sorted(cache) == ["b", "c"]
        now = Version(4)
        assert len(cache) == 1
        cache._check()

    def test_a_timer_that_raises_breaks_nothing(self, cache: TTLCache[str, int], timer: Any) -> None:
        cache.update(a=1, b=2)

        def broken() -> float:
            raise OSError("no time")

        cache.timer = broken
        for operation in (lambda: cache["a"], lambda: cache.set("a", 3), lambda: len(cache)):
            with pytest.raises(OSError, match="no time"):
                operation()
        cache.timer = timer
        assert dict(cache) == {"a": 1, "b": 2}
        cache._check()

    def test_remaining_time_survives_copies_and_pickles(self, cache: TTLCache[str, int]) -> None:
        cache.timer = Later(0.0)
        cache.set("a", 1, ttl=10)
        cache.set("b", 2, ttl=100)
        cache.timer.now += 6
        again = pickle.loads(pickle.dumps(cache))
        assert again.seconds_to_expiry() == 4.0
        assert cache.copy().seconds_to_expiry() == 4.0
        again.timer.now += 4
        assert dict(again) == {"b": 2}
        assert dict(cache) == {"a": 1, "b": 2}

    def test_a_ttl_is_needed(self, caches: Any) -> None:
        with pytest.raises(TypeError, match="needs a ttl"):
            caches.TTLCache(10)
        with pytest.raises(ValueError, match=r"ttl.*-1"):
            caches.TTLCache(10, -1)
        with pytest.raises(TypeError, match="timer"):
            caches.TTLCache(10, 1, timer="now")  # type: ignore[arg-type]


class Later:
    """A timer that can be pickled."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class TestGovernor:
    def test_the_governor_is_told_of_the_first_deadline(
        self, caches: Any, timer: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watched: list[Any] = []
        monkeypatch.setattr(governor, "watch_expiry", watched.append)
        cache = caches.LRUCache(register=False)
        cache.timer = timer
        cache["a"] = 1
        assert watched == []
        cache.set("b", 2, ttl=5)
        cache.set("c", 3, ttl=7)
        [handle] = watched
        assert {handle}  # it can be kept in a set
        assert handle.seconds_to_expiry() == 5.0
        timer.now += 6
        assert handle.seconds_to_expiry() == -1.0
        handle.expire()
        assert handle.seconds_to_expiry() == 1.0
        assert cache.stats().expirations == 1
        ref = weakref.ref(cache)
        del cache
        assert ref() is None
        assert handle.seconds_to_expiry() is None
        handle.expire()

    def test_a_copy_is_watched_as_well(
        self, caches: Any, timer: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        watched: list[Any] = []
        monkeypatch.setattr(governor, "watch_expiry", watched.append)
        cache = caches.TTLCache(ttl=5, timer=Later(0.0), register=False)
        cache["a"] = 1
        cache.copy(), pickle.loads(pickle.dumps(cache))
        assert len(watched) == 3
