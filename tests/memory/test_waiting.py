"""Waiting: what ends it, wherever that comes from."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

MIB = 1 << 20


def test_a_wake_before_the_wait_ends_it(small: Any) -> None:
    memory = small.memory()
    memory.wake()
    memory.wake()
    assert memory.wait(60) == "wake"
    assert memory.wait(0) is None


def test_a_wake_from_another_thread(small: Any) -> None:
    memory = small.memory()
    thread = threading.Thread(target=memory.wake)
    thread.start()
    assert memory.wait(60) == "wake"
    thread.join()


def test_a_wake_from_a_signal_handler(small: Any) -> None:
    memory = small.memory()
    before = signal.signal(signal.SIGALRM, lambda *_: memory.wake())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert memory.wait(60) == "wake"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_more_wakes_than_a_pipe_holds(small: Any) -> None:
    memory = small.memory()
    for _ in range(70_000):
        memory.wake()
    assert memory.wait(60) == "wake"
    assert memory.wait(0) is None


@pytest.mark.parametrize("timeout", [0, -5, 0.001])
def test_time_runs_out(small: Any, timeout: float) -> None:
    assert small.memory().wait(timeout) is None


def test_endless_waits_and_nonsense(small: Any) -> None:
    memory = small.memory()
    memory.wake()
    assert memory.wait(float("inf")) == "wake"
    with pytest.raises(ValueError, match="timeout"):
        memory.wait(float("nan"))


def test_close_ends_a_wait(small: Any) -> None:
    memory = small.memory()
    answers: list[str | None] = []
    started = threading.Event()

    def wait() -> None:
        started.set()
        answers.append(memory.wait(60))

    thread = threading.Thread(target=wait)
    thread.start()
    started.wait()
    memory.close()
    thread.join()
    assert answers == ["closed"]
    assert memory.wait(60) == "closed"


def test_without_poll_a_wake_still_arrives(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ebbcache.memory import waiting

    monkeypatch.setattr(waiting, "HAVE_POLL", False)
    memory = small.memory()
    assert memory.wait(0) is None
    memory.wake()
    assert memory.wait(60) == "wake"
    assert memory.read().limit == 100 * MIB
    thread = threading.Thread(target=memory.close)
    thread.start()
    assert memory.wait(60) == "closed"
    thread.join()
