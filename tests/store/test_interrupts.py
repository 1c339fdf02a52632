"""Signal handlers that raise at any moment of an operation: what is locked is released, and all agrees.

Since CPython 3.14 a handler may run between the call of a lock's `__enter__` and the block (`gil.taking`).
"""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from both_stores import IMPLEMENTATIONS

from ebbcache.deferred import deferred
from ebbcache.gil import taking
from ebbcache.governor.turns import Turns


class Interrupt(BaseException):
    pass


@pytest.fixture
def interrupted() -> Iterator[Callable[[Callable[[], Any]], None]]:
    """Give what runs something again and again until a signal's handler raises in it, 300 times."""

    def handler(signum: int, frame: Any) -> None:
        raise Interrupt

    dice = random.Random(5)

    def run(work: Callable[[], Any]) -> None:
        for _ in range(300):
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-5, 2e-4))
                    while True:
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
