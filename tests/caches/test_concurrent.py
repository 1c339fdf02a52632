"""Threads, forks and the garbage collector at work on one cache."""

from __future__ import annotations

import gc
import os
import queue
import random
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ebbcache.gil import is_free_threaded

THREADS = 8


@pytest.fixture
def busy_switching() -> Iterator[None]:
    """Have threads switch as often as CPython can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(work: Callable[[int], None], threads: int = THREADS) -> None:
    """Run `work(number)` in threads that start at one moment; what one of them raises is raised here."""
    barrier = threading.Barrier(threads)

    def run(number: int) -> None:
        barrier.wait(timeout=30)
        work(number)

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(run, number) for number in range(threads)]:
            done.result(timeout=60)


@pytest.mark.usefixtures("busy_switching")
class TestThreads:
    def test_random_operations_add_up(self, kind: Any) -> None:
        heard: list[int] = []  # append is atomic
        cache = kind(
            60, maxbytes=4000, getsizeof=lambda value: value[1], sizeof=lambda key, value: value[2]
        )
        cache.listener = lambda key, value, cause: (
            heard.append(value[0]) if cause.kind != "refused" else None
        )
        inserted = [0] * THREADS
        looked = [0] * THREADS

        def work(number: int) -> None:
            chance = random.Random(number)
            for step in range(1500):
                key = chance.randrange(-20, 60)
                action = chance.random()
                if action < 0.4:
                    value = (number * 10_000 + step, chance.randrange(4), chance.randrange(200))
                    cache.set(key, value, ttl=chance.choice([None, 0, 60]), cost=chance.random())
                    inserted[number] += 1
                elif action < 0.7:
                    found = cache.get(key)
                    looked[number] += 1
                    assert found is None or len(found) == 3
                elif action < 0.8:
                    cache.pop(key, None)
                elif action < 0.85:
                    cache.shrink(chance.randrange(500), chance.random() < 0.5)
                elif action < 0.9:
                    assert all(len(value) == 3 for value in cache.values())
                elif action < 0.95:
                    cache.expire(), len(cache), cache.stats(), cache.tally(), cache.coldest(3)
                elif action < 0.99:
                    try:
                        cache.popitem()
                    except KeyError:
                        pass
                else:
                    cache.clear()

        together(work)
        cache._check()
        assert cache.currsize <= 60
        assert cache.nbytes <= 4000
        # Every value that went in either came out once or is still there.
        if not is_free_threaded():  # there, an insert may go uncounted
            assert cache.stats().inserts == sum(inserted)
        assert len(heard) == len(set(heard))
        assert len(heard) + len(cache) == sum(inserted)
        assert cache.hits + cache.misses == sum(looked)

    def test_threads_that_share_one_hash(self, kind: Any) -> None:
        class Key:
            def __init__(self, name: int) -> None:
                self.name = name

            def __hash__(self) -> int:
                return 1

            def __eq__(self, other: object) -> bool:
                return isinstance(other, Key) and self.name == other.name

        cache = kind(sizeof=lambda key, value: 10)

        def work(number: int) -> None:
            for step in range(150):
                mine = Key(number * 1000 + step % 7)
                cache[mine] = step
                assert cache[mine] == step
                if step % 3 == 0:
                    del cache[mine]
                    assert mine not in cache

        together(work)
        cache._check()

    def test_setdefault_gives_all_threads_one_value(self, kind: Any) -> None:
        cache = kind()
        given: list[list[object]] = [[] for _ in range(30)]

        def work(number: int) -> None:
            for key, values in enumerate(given):
                values.append(cache.setdefault(key, object()))

        together(work, 4)
        for key, values in enumerate(given):
            assert {id(value) for value in values} == {id(cache[key])}
            assert len(values) == 4

    def test_readers_while_one_writes(self, kind: Any) -> None:
        cache = kind()
        cache["key"] = 0
        stop = threading.Event()

        def work(number: int) -> None:
            if number == 0:
                for n in range(3000):
                    cache["key"] = n
                stop.set()
                return
            last = 0
            while not stop.is_set():
                found = cache["key"]
                assert found >= last
                last = found

        together(work, 4)
        cache._check()

    def test_shrinking_while_others_insert(self, kind: Any) -> None:
        cache = kind(sizeof=lambda key, value: 10)
        freed = [0] * THREADS

        def work(number: int) -> None:
            for n in range(600):
                if number % 2:
                    freed[number] += cache.shrink(35)
                else:
                    cache[number, n] = n

        together(work)
        cache._check()
        assert cache.nbytes + sum(freed) == THREADS // 2 * 600 * 10

    def test_copies_while_others_work(self, kind: Any) -> None:
        cache = kind(50)

        def work(number: int) -> None:
            for n in range(60):
                if number == 0:
                    cache.copy()._check()
                else:
                    cache[n * number] = n
                    cache.get(n)

        together(work, 4)


class Helper:
    """A thread that uses a cache on request, so that whoever asks finds out if it holds a lock."""

    def __init__(self, cache: Any, busy: bool = False) -> None:
        self.requests: queue.SimpleQueue[threading.Event | None] = queue.SimpleQueue()
        self.cache = cache
        self.asking = False
        self.busy = busy  # whoever asks does not block meanwhile, which would suspend a critical section
        self.helped = 0
        self.stuck = 0
        self.thread = threading.Thread(target=self.run)

    def run(self) -> None:
        while (done := self.requests.get()) is not None:
            self.cache.set("helper", 1, ttl=60)
            self.cache.shrink(1)
            self.cache.pop("helper", None)
            done.set()

    def help(self) -> None:
        # A destructor that comes while the event is waited for would wait inside of the event's own lock.
        if threading.current_thread() is self.thread or self.stuck or self.asking:
            return
        self.asking = True
        done = threading.Event()
        self.requests.put(done)
        end = time.monotonic() + 20
        while self.busy and not done.is_set() and time.monotonic() < end:
            pass
        if done.wait(timeout=0 if self.busy else 20):
            self.helped += 1
        else:
            self.stuck += 1
        self.asking = False

    def __enter__(self) -> Helper:
        self.thread.start()
        return self

    def __exit__(self, *ignored: object) -> None:
        self.requests.put(None)
        self.thread.join()


class TestNoLockIsHeld:
    """Foreign code may wait for another thread that uses the cache, wherever it is called from."""

    @pytest.mark.parametrize("busy", [False, True], ids=["waiting", "busy"])
    def test_by_destructors_listeners_sizers_and_keys(self, kind: Any, busy: bool) -> None:
        class Waits:
            def __init__(self, name: int) -> None:
                self.name = name

            def __hash__(self) -> int:
                helper.help()
                return self.name % 2

            def __eq__(self, other: object) -> bool:
                helper.help()
                return isinstance(other, Waits) and self.name == other.name

            def __del__(self) -> None:
                helper.help()

        def asked(*ignored: object) -> int:
            helper.help()
            return 10

        cache = kind(4, maxbytes=90, sizeof=asked, listener=asked)
        helper = Helper(cache, busy)
        with helper:
            for n in range(30):
                cache[Waits(n % 9)] = Waits(-n)
                cache.get(Waits(n % 5)), cache.pop(Waits(n % 7), None)
            cache.shrink(10)
            cache.clear()
        assert helper.helped > 100
        assert not helper.stuck
        cache._check()

    def test_by_finalisers(self, kind: Any, garbage: Any) -> None:
        cache = kind(20, maxbytes=1000, sizeof=lambda key, value: 10)
        helper = Helper(cache)
        with helper, garbage(helper.help):
            n = 0
            while n < 3 or (helper.helped < 50 and n < 5000):
                n += 1
                cache.set(n % 50, n, ttl=n)
                cache.get(n % 30), cache.pop(n % 20, None), cache.shrink(10), len(cache)
                cache.coldest(3), cache.tally(), list(cache.items()), cache.copy()
        assert helper.helped >= 50
        assert not helper.stuck
        cache._check()


def in_child(check: Callable[[], bool]) -> int:
    """Fork, run `check` in the child, and return its exit code: 0 if it was true."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tested
        pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.skipif(is_free_threaded(), reason="CPython's own mutexes may stay locked in the child")
@pytest.mark.usefixtures("busy_switching")
class TestFork:
    def test_a_child_can_use_what_its_parent_was_busy_with(self, kind: Any) -> None:
        cache = kind(40, maxbytes=300, sizeof=lambda key, value: 10, register=True)
        stop = threading.Event()

        def churn(number: int) -> None:
            n = 0
            while not stop.is_set():
                n += 1
                cache.set((number, n % 30), n, ttl=60)
                cache.get((number, n % 7))
                cache.pop((number, n % 5), None)
                cache.shrink(5)

        def use() -> bool:
            cache._check(amid=True)  # the parent's threads were, and never come back here
            cache["child"] = 1
            found = cache["child"]
            for n in range(100):
                cache[n] = n
            cache.shrink(50)
            cache._check(amid=True)
            cache.clear()
            cache._check()
            return bool(found == 1 and len(cache) == 0)

        threads = [threading.Thread(target=churn, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:
            assert [in_child(use) for _ in range(15)] == [0] * 15
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        cache._check()

    def test_a_lock_that_another_thread_held_is_free_in_the_child(self, kind: Any) -> None:
        if kind.store != "pure":
            pytest.skip("the native store has no lock of its own")
        cache = kind()
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with cache._lock:
                held.set()
                release.wait(timeout=30)

        def use() -> bool:
            cache.set("a", 1, ttl=60)
            return cache.pop("a") == 1 and len(cache) == 0

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(timeout=30)
        try:
            assert in_child(use) == 0
        finally:
            release.set()
            thread.join()


@pytest.mark.usefixtures("busy_switching")
def test_the_collector_may_come_at_any_time(kind: Any) -> None:
    cache = kind(30)
    before = gc.get_threshold()
    gc.set_threshold(2, 2, 2)
    try:

        class Knot:
            def __init__(self) -> None:
                self.self = self

            def __del__(self) -> None:
                cache[random.randrange(60)] = None
                cache.pop(random.randrange(60), None)

        def work(number: int) -> None:
            for n in range(150):
                cache[(number * n) % 50] = Knot()

        together(work, 4)
    finally:
        gc.set_threshold(*before)
    gc.collect()  # what is left of them meddles now, and not amid the check
    cache._check()
    cache.clear()
    gc.collect()
    cache._check()


def test_what_nobody_touches_is_freed_in_the_background(caches: Any) -> None:
    gone = threading.Event()
    cache = caches.TTLCache(ttl=0.01, register=False, listener=lambda *what: gone.set())
    cache["a"] = 1
    assert gone.wait(timeout=60)
    assert cache.nbytes == 0


def test_deadlines_of_a_dead_cache_are_nobodys_business(caches: Any, no_sweeps: None) -> None:
    cache = caches.LRUCache(register=False)
    cache.set("a", 1, ttl=0.001)
    handle = cache._deadlines
    del cache
    assert handle is not None
    assert handle.seconds_to_expiry() is None
