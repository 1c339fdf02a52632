"""User code that raises, re-enters, inserts, deletes and clears from wherever it can."""

from __future__ import annotations

import gc
import random
import signal
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ebbcache.caches import Cause
from ebbcache.engine import reclaim

# What has expired would else be swept by the governor's thread, in the middle of a check as well.
pytestmark = pytest.mark.usefixtures("no_sweeps")


class BadError(Exception):
    pass


class InterruptedHere(BaseException):
    pass


def meddle(cache: Any, chance: random.Random) -> None:
    """Do anything at all to the cache."""
    key = chance.randrange(12)
    match chance.randrange(9):
        case 0:
            cache[key] = object()
        case 1:
            cache.pop(key, None)
        case 2:
            cache.clear()
        case 3:
            cache.shrink(25)
        case 4:
            cache.get(key)
        case 5:
            list(cache.items())
        case 6:
            cache.set(key, object(), ttl=chance.choice([0, 100]))
        case 7:
            try:
                cache.popitem()
            except KeyError:
                pass
        case 8:
            cache.setdefault(key, object())


class Meddler:
    """A key or value whose every method meddles with the cache, to a limited depth."""

    depth = 0

    def __init__(self, cache: Any, chance: random.Random, name: int) -> None:
        self.cache, self.chance, self.name = weakref.ref(cache), chance, name

    def meddle(self) -> None:
        cache = self.cache()
        if cache is None or Meddler.depth > 2 or self.chance.random() < 0.5:
            return
        Meddler.depth += 1
        try:
            meddle(cache, self.chance)
        finally:
            Meddler.depth -= 1

    def __hash__(self) -> int:
        self.meddle()
        return self.name % 3

    def __eq__(self, other: object) -> bool:
        self.meddle()
        return isinstance(other, Meddler) and self.name == other.name

    def __del__(self) -> None:
        self.meddle()


class TestReentrancy:
    @pytest.mark.parametrize("seed", range(6))
    def test_keys_and_values_that_meddle(self, kind: Any, seed: int) -> None:
        chance = random.Random(seed)
        cache = kind(8, maxbytes=200, sizeof=lambda key, value: 10)
        for step in range(300):
            key = Meddler(cache, chance, chance.randrange(12))
            try:
                match chance.randrange(6):
                    case 0 | 1:
                        cache[key] = Meddler(cache, chance, step)
                    case 2:
                        cache.get(key)
                    case 3:
                        cache.pop(key, None)
                    case 4:
                        cache.setdefault(key, step)
                    case 5:
                        key in cache  # noqa: B015
            except KeyError:
                pass
            del key
            if step % 10 == 0:
                cache._check()
        cache._check()
        cache.clear()
        gc.collect()
        cache._check()

    @pytest.mark.parametrize("seed", range(4))
    def test_listeners_sizers_and_weak_references_that_meddle(self, kind: Any, seed: int) -> None:
        chance = random.Random(seed)
        depth = 0

        def bother(*ignored: object) -> int:
            nonlocal depth
            if depth < 3:
                depth += 1
                try:
                    meddle(cache, chance)
                finally:
                    depth -= 1
            return 10

        class Value:
            pass

        refs: list[Any] = []
        cache = kind(8, maxbytes=100, sizeof=bother, listener=bother)
        for step in range(200):
            value = Value()
            refs.append(weakref.ref(value, bother))
            cache[chance.randrange(12)] = value
            del value
            bother()
            if step % 10 == 0:
                cache._check()
        cache._check()

    @pytest.mark.parametrize("seed", range(3))
    def test_finalisers_that_meddle(self, kind: Any, garbage: Any, seed: int) -> None:
        chance, other = random.Random(seed), random.Random(seed + 100)
        cache = kind(30, maxbytes=250, sizeof=lambda key, value: 10)
        before = gc.get_threshold()
        with garbage(lambda: meddle(cache, other)) as finalised:
            for step in range(500):
                meddle(cache, chance)
                if step % 25 == 0:
                    gc.set_threshold(0)
                    cache._check()
                    gc.set_threshold(1)
        assert finalised[0] > 100
        assert gc.get_threshold() == before
        cache._check()

    def test_an_insert_during_an_eviction_is_kept(self, kind: Any) -> None:
        cache = kind(2)

        class Phoenix:
            def __del__(self) -> None:
                if "ashes" not in cache:
                    cache["ashes"] = 1

        cache["bird"] = Phoenix()
        del cache["bird"]
        assert "ashes" in cache
        cache._check()


class TestErrors:
    @pytest.mark.parametrize("method", ["__hash__", "__eq__"])
    def test_keys_that_raise_change_nothing(self, kind: Any, method: str) -> None:
        class Key:
            broken = ""

            def __hash__(self) -> int:
                if self.broken == "__hash__":
                    raise BadError
                return 7

            def __eq__(self, other: object) -> bool:
                if Key.broken == "__eq__":
                    raise BadError
                return self is other

        cache = kind(sizeof=lambda key, value: 10)
        first, second, probe = Key(), Key(), Key()
        cache[first], cache[second] = 1, 2
        before = cache.items()
        Key.broken = method
        for operation in (
            lambda: cache[probe],
            lambda: cache.get(probe),
            lambda: probe in cache,
            lambda: cache.set(probe, 3),
            lambda: cache.pop(probe, None),
            lambda: cache.setdefault(probe, 3),
            lambda: cache.resize(probe),
            lambda: cache.update([(probe, 3)]),
        ):
            with pytest.raises(BadError):
                operation()
        assert cache.shrink(10) == 10  # needs neither
        Key.broken = ""
        cache._check()
        assert len(before) == 1
        assert cache.nbytes == 10

    def test_an_answer_that_has_no_truth(self, kind: Any) -> None:
        class Vague:
            def __bool__(self) -> bool:
                raise BadError

        class Key:
            def __hash__(self) -> int:
                return 7

            def __eq__(self, other: object) -> Any:
                return Vague()

        cache = kind()
        cache[Key()] = 1
        with pytest.raises(BadError):
            cache[Key()] = 2
        assert len(cache) == 1

    def test_destructors_that_raise_are_not_ours(self, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Any] = []
        monkeypatch.setattr("sys.unraisablehook", lambda what: seen.append(what.exc_type))

        class Bomb:
            def __del__(self) -> None:
                raise BadError

        cache = kind(1)
        for n in range(5):
            cache[n] = Bomb()
        cache.clear()
        assert seen == [BadError] * 5
        cache._check()

    def test_getsizeof_that_raises_changes_nothing(self, kind: Any) -> None:
        def getsizeof(value: object) -> int:
            if value == "bad":
                raise BadError
            return 1

        cache = kind(3, getsizeof=getsizeof)
        cache["a"] = 1
        with pytest.raises(BadError):
            cache["a"] = "bad"
        assert dict(cache) == {"a": 1}
        cache._check()

    def test_a_sizer_may_be_interrupted(self, kind: Any) -> None:
        def sizeof(key: object, value: object) -> int:
            if value == "slow":
                raise KeyboardInterrupt
            return 10

        cache = kind(sizeof=sizeof)
        cache["a"] = 1
        with pytest.raises(KeyboardInterrupt):
            cache["a"] = "slow"
        assert dict(cache) == {"a": 1}

    def test_a_hostile_size_of_a_value_fails_no_insert(self, kind: Any) -> None:
        class Value:
            def __sizeof__(self) -> int:
                raise BadError

            def __getattr__(self, name: str) -> Any:
                raise BadError

            def __len__(self) -> int:
                raise BadError

        def sizeof(key: object, value: object) -> int:
            raise BadError

        for cache in (kind(), kind(sizeof=sizeof)):
            cache["a"] = Value()
            assert "a" in cache
            assert cache.nbytes > 0


class TestShrinking:
    def test_a_listener_that_inserts_while_memory_is_short(self, kind: Any) -> None:
        def listener(key: Any, value: object, cause: Cause) -> None:
            if cause.kind == "evicted" and key < 1000:
                cache[key + 1000] = 1
                assert reclaim(10).nested

        cache = kind(sizeof=lambda key, value: 10, listener=listener, register=True)
        cache.update(dict.fromkeys(range(10), 0))
        reclaim(None, hard=True)
        cache._check()
        assert all(key >= 1000 for key in cache)

    def test_shrinking_ends_though_destructors_insert(self, kind: Any) -> None:
        class Weed:
            def __init__(self, generation: int) -> None:
                self.generation = generation

            def __del__(self) -> None:
                cache[self.generation] = Weed(self.generation + 1) if self.generation < 100 else None

        cache = kind(sizeof=lambda key, value: 10)
        cache[0] = Weed(1)
        for _ in range(5):
            assert cache.shrink(10) == 10
            assert len(cache) == 1
        cache._check()
        cache.shrink(5)
        for weed in cache.values():
            weed.generation = 100


@pytest.fixture
def alarms() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Let a test have something done by a signal handler, again and again, wherever the main thread is."""
    handlers: list[Any] = [signal.getsignal(signal.SIGALRM)]

    def start(action: Callable[[], None]) -> None:
        signal.signal(signal.SIGALRM, lambda number, frame: action())
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)

    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handlers[0])


class TestSignals:
    def test_handlers_that_meddle(self, kind: Any, alarms: Any) -> None:
        chance, other = random.Random(3), random.Random(4)
        cache = kind(20, maxbytes=150, sizeof=lambda key, value: 10)
        handled = 0
        checking = False

        def handler() -> None:
            nonlocal handled, checking
            if checking:
                return
            handled += 1
            meddle(cache, other)
            if handled % 16 == 0:
                checking = True
                cache._check(amid=True)
                checking = False

        alarms(handler)
        while handled < 300:
            meddle(cache, chance)
        signal.setitimer(signal.ITIMER_REAL, 0)
        cache._check()

    def test_handlers_that_raise_leave_it_whole(self, kind: Any, alarms: Any) -> None:
        chance = random.Random(5)
        cache = kind(20, maxbytes=150, sizeof=lambda key, value: 10)
        raised = 0
        armed = False

        def handler() -> None:
            nonlocal armed
            if armed:
                armed = False
                raise InterruptedHere

        alarms(handler)
        while raised < 200:
            try:
                armed = True
                for _ in range(1000):
                    meddle(cache, chance)
            except InterruptedHere:
                raised += 1
                cache._check()
            armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        cache._check()
        cache.clear()
        cache.update(dict.fromkeys(range(5), 0))
        assert cache.shrink(1000) == 50


def test_a_timer_that_meddles(caches: Any) -> None:
    chance = random.Random(2)
    now, depth = 0.0, 0

    def timer() -> float:
        nonlocal now, depth
        if depth < 2:
            depth += 1
            try:
                now += 0.1
                meddle(cache, chance)
            finally:
                depth -= 1
        return now

    cache = caches.TTLCache(maxsize=6, ttl=3, timer=lambda: now, register=False, sizeof=lambda k, v: 10)
    cache.timer = timer
    for _ in range(400):
        meddle(cache, chance)
        cache._check()
