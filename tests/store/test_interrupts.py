"""Signal handlers that raise at any moment of an operation: what is locked is released, and all agrees.

Since CPython 3.14 a handler may run between the call of a lock's `__enter__` and the block (`gil.taking`).
"""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from both_stores import IMPLEMENTATIONS

from ebbcache.adapters import register_mapping
from ebbcache.deferred import deferred
from ebbcache.gil import holding, taking, trying
from ebbcache.governor.deciding import Governor
from ebbcache.governor.turns import Turns
from ebbcache.governor.watcher import Watcher
from ebbcache.memoize import cached
from ebbcache.memory import Memory
from ebbcache.sizing import register_sizer, sizeof
from ebbcache.store import guarded

# An interrupt may as well come in a finaliser, or in what somebody has called at each garbage collection.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class Interrupt(BaseException):
    pass


@pytest.fixture
def interrupted() -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Give what runs something again and again until a signal's handler raises in it, 300 times."""

    rung = 0

    def handler(signum: int, frame: Any) -> None:
        nonlocal rung
        rung += 1
        raise Interrupt

    dice = random.Random(5)

    def run(work: Callable[[], Any]) -> None:
        nonlocal rung
        rung = 0
        for n in range(300):
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-5, 2e-4))
                    # What is raised in a callback or a finaliser goes nowhere. No `while` with a condition:
                    # CPython 3.13 leaves its jump back out of what the `try` covers.
                    for _ in iter(lambda: rung > n, True):  # noqa: B023
                        work()
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupt:
                pass

    before = signal.signal(signal.SIGALRM, handler)
    yield run
    signal.signal(signal.SIGALRM, before)


def in_another_thread(work: Callable[[], Any]) -> Any:
    """Return what `work` does in a thread of its own, which no lock of this one may hold up."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(30)
    assert found, "another thread waits for a lock that this one left taken"
    return found[0]


def test_a_lock_is_not_left_taken(interrupted: Any) -> None:
    lock = threading.RLock()

    def work() -> None:
        for _ in taking(lock):
            try:
                pass
            finally:
                lock.release()
            break

    interrupted(work)
    assert in_another_thread(lambda: lock.acquire(timeout=20))


def test_a_lock_that_is_only_tried_is_not_left_taken(interrupted: Any) -> None:
    lock = threading.Lock()

    def work() -> None:
        for free in trying(lock):
            try:
                assert free
            finally:
                if free:
                    lock.release()
            break

    interrupted(work)
    assert not lock.locked()
    with lock:
        assert list(itertools.islice(trying(lock), 1)) == [False]


def test_what_is_done_with_a_lock_held_leaves_it_free(interrupted: Any) -> None:
    lock = threading.Lock()
    assert holding(lock, lock.locked)
    interrupted(lambda: holding(lock, lock.locked))
    assert not lock.locked()


@pytest.mark.parametrize("policy", ["LRU", "LFU", "Density"])
def test_a_guarded_store_is_left_unlocked(policy: str, interrupted: Any) -> None:
    store = getattr(guarded, f"{policy}Store")()
    numbers = iter(range(1 << 60))

    def work() -> None:
        n = next(numbers)
        store._put(n % 50, hash(n % 50), n, 10)
        store.get(n % 50)
        store.get(n + 50)
        store._evict(10 * (n % 3))

    interrupted(work)
    store._check()
    for lock in store._locks():
        assert in_another_thread(lambda lock=lock: lock.acquire(timeout=20))


def test_a_fork_leaves_no_store_locked() -> None:
    program = """
        import os, random, signal, threading
        from ebbcache.gil import is_free_threaded
        from ebbcache.store import forked, guarded

        if not is_free_threaded():
            os.register_at_fork(before=forked._hold_all, after_in_parent=forked._release_all)
            os.register_at_fork(after_in_parent=forked._release_all)
        stores = [guarded.LRUStore() for _ in range(500)]

        class Interrupt(BaseException):
            pass

        def handler(signum, frame):
            raise Interrupt

        signal.signal(signal.SIGALRM, handler)
        dice = random.Random(5)
        for _ in range(200):
            child = None
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-5, 3e-3))
                    child = os.fork()
                    if child == 0:
                        os._exit(0)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupt:
                pass
            while True:
                try:
                    os.waitpid(-1, 0)
                except ChildProcessError:
                    break
        locks = [lock for store in stores for lock in store._locks()]
        found = []
        thread = threading.Thread(target=lambda: found.extend(lock.acquire(False) for lock in locks))
        thread.start()
        thread.join()
        assert len(found) == len(locks) and all(found), found.count(False)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


@pytest.mark.parametrize("name", ["LRUCache", "LFUCache", "TTLCache", "DensityCache"])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_store_is_left_whole_and_unlocked(implementation: str, name: str, interrupted: Any) -> None:
    cache = getattr(IMPLEMENTATIONS[implementation], name)(**({"ttl": 100} if name == "TTLCache" else {}))
    numbers = iter(range(1 << 60))

    def work() -> None:
        n = next(numbers)
        cache[n % 50] = n
        cache.pop((n + 25) % 50, None)
        cache.get(n)

    interrupted(work)
    cache._check()
    assert in_another_thread(lambda: cache.setdefault("more", 5)) == 5
    cache._check()


def test_turns_are_given_again(interrupted: Any) -> None:
    turns = Turns()
    interrupted(lambda: turns.within(1.0, lambda: 5))
    assert not turns.mine()
    assert in_another_thread(lambda: turns.within(20.0, lambda: 5)) == 5


def test_debts_can_be_paid(interrupted: Any) -> None:
    debt = deferred(lambda target, hard: target)

    def work() -> None:
        debt(100, False)
        debt.pay()

    interrupted(work)
    in_another_thread(lambda: debt(100, True))
    in_another_thread(debt.pay)
    assert debt.pending == 0


def test_memory_can_be_read_and_waited_for_again(interrupted: Any) -> None:
    memory = Memory(limit=1 << 44, timer=itertools.count().__next__)  # limits are old at every reading

    def work() -> None:
        memory.read()
        memory.set_limit(1 << 43)
        memory.survey()

    interrupted(work)
    assert in_another_thread(lambda: memory._lock.acquire(timeout=20))
    memory.reopen()  # with a lock that the thread does not hold
    memory.set_limit(1 << 40)
    assert "limit" in [state.name for state in memory.survey().sources]
    assert memory.read() is not None
    memory.close()


def test_sizers_can_be_registered_again(interrupted: Any) -> None:
    class Thing:
        pass

    interrupted(lambda: register_sizer(Thing, lambda thing: 5000))
    in_another_thread(lambda: register_sizer(Thing, lambda thing: 7000))
    assert sizeof(Thing()) == 7000


def test_the_watchers_thread_can_be_started_again(
    interrupted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stillborn:
        def __init__(self, **_: object) -> None:
            pass

        def start(self) -> None:
            pass

        def is_alive(self) -> bool:
            return False

    memory = Memory()
    watcher = Watcher(Governor(memory), memory)
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", Stillborn)
        interrupted(watcher.ensure_running)
    assert not watcher._starting.locked()
    memory.close()


def test_the_thread_ends_when_another_has_taken_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory()
    watcher = Watcher(Governor(memory), memory)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        watcher._thread = threading.Thread()  # an interrupt kept the starter from seeing this one alive

    monkeypatch.setattr(memory, "wait", wait)
    watcher._run()
    assert len(waits) == 1
    memory.close()


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock])
def test_a_mappings_lock_is_given_back(make: Callable[[], Any], interrupted: Any) -> None:
    lock = make()
    pages: dict[int, bytes] = {}
    numbers = iter(range(1 << 60))
    handle = register_mapping(pages, name="pages", lock=lock, sizeof=lambda key, value: 100)

    def work() -> None:
        pages[next(numbers)] = b""
        handle.ask(100, True, 1 << 40)
        handle.ask(100, False, 1 << 40)

    interrupted(work)
    assert in_another_thread(lambda: lock.acquire(timeout=20))
    handle.unregister()


def test_no_call_counts_as_under_way_for_ever(interrupted: Any) -> None:
    class Alone:
        """A condition without a lock, for the only thread there is: one that waits would wait for ever."""

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            pass

        def wait(self, timeout: float | None = None) -> bool:
            raise AssertionError("waits for a call that was interrupted")

        def notify_all(self) -> None:
            pass

    results: dict[Any, int] = {}
    condition: Any = Alone()
    numbers = iter(range(1 << 60))

    @cached(results, condition=condition)
    def double(n: int) -> int:
        return 2 * n

    def work() -> None:
        results.clear()
        double(next(numbers) % 3)

    interrupted(work)
    results.clear()
    assert [double(n) for n in range(3)] == [0, 2, 4]
