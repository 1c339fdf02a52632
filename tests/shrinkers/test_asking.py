"""One shrinker is asked: what it answers, raises or lies, and what the record and the log say."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest

from ebbcache.clock import clock
from ebbcache.shrinkers import NonsenseError, Offer, register_shrinker, whole

MOST = 1 << 30


def kind(value):
    return type(value).__name__


def answering(answer, **more):
    return register_shrinker("answering", lambda target, hard: answer, **more)


class Evil(int):
    def __lt__(self, other):
        raise AssertionError("compared")

    __gt__ = __le__ = __ge__ = __radd__ = __add__ = __lt__
    __hash__ = int.__hash__

    def __eq__(self, other):
        raise AssertionError("compared")


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError

    __repr__ = __str__


@pytest.mark.parametrize("answer", [7, np.int64(7), np.uint8(7), Evil(7)], ids=kind)
def test_whole_numbers_of_any_kind_count(answer):
    gave = answering(answer).ask(10, False, MOST)
    assert (gave.asked, gave.freed, gave.error) == (10, 7, None)
    assert type(gave.freed) is int


@pytest.mark.parametrize(
    "answer",
    [None, -1, True, False, 1.5, 2.0, "7", b"7", object(), [], Evil(-2), np.float64(7), -(10**5000)],
    ids=kind,
)
def test_nonsense_counts_as_nothing_and_is_recorded(answer):
    handle = answering(answer)
    gave = handle.ask(10, False, MOST)
    assert gave.freed == 0
    assert gave.error is not None
    assert gave.error.startswith("shrink: ")
    assert handle.record.errors == 1
    assert handle.record.last_error == gave.error
    assert handle.record.answered == 0


def test_answers_are_clamped_to_what_can_be_true():
    assert answering(10**5000).ask(10, False, 500).freed == 500
    assert answering(400, size=lambda: 300).ask(10, False, 500).freed == 300
    assert answering(400, size=lambda: 10**5000).ask(10, False, 350).freed == 350
    assert answering(400, size=lambda: None).ask(10, False, 500).freed == 400


def test_a_size_is_stated_before_the_call():
    held = [100]

    def shrink(target, hard):
        freed, held[0] = held[0], 0
        return freed

    assert register_shrinker("emptied", shrink, size=lambda: held[0]).ask(1, True, MOST).freed == 100


@pytest.mark.parametrize(
    "exc",
    [ValueError("no"), MemoryError(), RecursionError(), UnspeakableError(), StopIteration()],
    ids=kind,
)
def test_exceptions_are_recorded_and_stop_there(exc, caplog):
    def shrink(target, hard):
        raise exc

    handle = register_shrinker("raising", shrink)
    for _ in range(3):
        gave = handle.ask(10, True, MOST)
        assert gave.freed == 0
        assert gave.error is not None
        assert type(exc).__name__ in gave.error
    assert handle.record.errors == 3
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "'raising'" in caplog.text


def test_every_cause_is_logged_once_and_only_so_many_causes(caplog):
    raised = [ValueError("a"), ValueError("b"), KeyError("c"), ValueError("d"), KeyError("e")]

    def shrink(target, hard):
        raise raised.pop()

    def size():
        raise ValueError("size")

    handle = register_shrinker("raising", shrink, size=size)
    while raised:
        handle.ask(10, True, MOST)
    assert [(r.exc_info[0], "size:" in r.message) for r in caplog.records] == [
        (ValueError, True),
        (KeyError, False),
        (ValueError, False),
    ]
    caplog.clear()

    def inventive(target, hard):
        raise type(f"Error{target}", (Exception,), {})

    handle = register_shrinker("inventive", inventive)
    for number in range(100):
        handle.ask(number, True, MOST)
    assert 1 <= len(caplog.records) < 100
    assert handle.record.errors == 100


def test_a_logging_filter_that_raises_stops_nobody():
    def refuse(record):
        raise RuntimeError("no logs today")

    logger = logging.getLogger("ebbcache")
    logger.addFilter(refuse)
    try:
        assert answering(None).ask(10, True, MOST).error is not None
    finally:
        logger.removeFilter(refuse)


@pytest.mark.parametrize("exit_", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_through_and_is_recorded(exit_):
    def shrink(target, hard):
        raise exit_

    handle = register_shrinker("exiting", shrink)
    with pytest.raises(exit_):
        handle.ask(10, True, MOST)
    record = handle.record
    assert (record.calls, record.asked, record.answered, record.last_error) == (1, 10, 0, "interrupted")


def test_the_record_adds_up(monkeypatch):
    time = [0.0]
    monkeypatch.setattr(clock, "timer", lambda: time[0])
    script = [(5, 0.25), (20, 0.5), (None, 0.125)]

    def shrink(target, hard):
        answer, seconds = script.pop(0)
        time[0] += seconds
        return answer

    handle = register_shrinker("recorded", shrink)
    parts = [handle.ask(10, True, MOST) for _ in range(3)]
    assert [p.seconds for p in parts] == [0.25, 0.5, 0.125]
    record = handle.record
    assert (record.calls, record.asked, record.answered, record.errors) == (3, 30, 25, 1)
    assert record.slowest == 0.5


def test_a_callback_may_unregister_itself_before_and_during_the_call():
    def size():
        handle.unregister()
        return 5

    handle = register_shrinker("shy", lambda target, hard: pytest.fail("called"), size=size)
    assert handle.ask(5, True, MOST).freed == 0

    def shrink(target, hard):
        other.unregister()
        return 5

    other = register_shrinker("leaving", shrink)
    assert other.ask(5, True, MOST).freed == 5
    assert not other.registered


@pytest.mark.parametrize(
    "tally", [{0: -1}, {"a": 1}, {0: 1.5}, {0: None}, 7, [1, 2], {0: True}, UnspeakableError], ids=str
)
def test_a_tally_of_nonsense_is_no_tally(tally):
    def tell(hard):
        if tally is UnspeakableError:
            raise UnspeakableError
        return tally

    handle = register_shrinker("tallying", lambda target, hard: 0, size=lambda: 50, tally=tell)
    assert handle.offer(True, MOST) == Offer(50)
    assert handle.record.errors == 1


def test_an_offer_holds_what_was_told():
    told = []

    def tell(hard):
        told.append(hard)
        return {np.int64(-3): np.int64(40), 5: 0}

    handle = register_shrinker("tallying", lambda target, hard: 0, size=lambda: 10**5000, tally=tell)
    assert handle.offer(False, MOST) == Offer(MOST, {-3: 40, 5: 0})
    assert handle.offer(True, 60, tally=False) == Offer(60)
    assert told == [False]
    empty = register_shrinker("empty", lambda target, hard: 0, size=lambda: 0, tally=tell)
    assert empty.offer(False, MOST) == Offer(0)
    assert told == [False]


def test_what_is_likely_follows_what_was_given():
    held = [1000]

    def shrink(target, hard):
        freed = min(target, held[0])
        held[0] -= freed
        return freed

    handle = register_shrinker("silent", shrink)
    assert handle.offer(True, MOST).likely is None
    handle.ask(100, True, MOST)
    assert handle.offer(True, MOST).likely == 200  # gave all it was asked for: may hold more
    handle.ask(2000, True, MOST)
    assert handle.offer(True, MOST).likely == 900  # has shown its bottom
    handle.ask(10, True, MOST)
    assert handle.offer(True, MOST).likely == 0


def test_errors_of_many_threads_are_all_counted():
    def size():
        raise ValueError

    handle = register_shrinker("raising", lambda target, hard: 0, size=size)
    threads = [threading.Thread(target=lambda: [handle.held() for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert handle.record.errors == 800


def test_whole_says_what_was_wrong():
    with pytest.raises(NonsenseError, match="answered NoneType"):
        whole(None)
    with pytest.raises(NonsenseError, match="negative"):
        whole(-5)
