"""Callbacks that raise, hang, re-enter, fork and are interrupted."""

from __future__ import annotations

import gc
import inspect
import os
import random
import signal
import sys
import threading

import pytest

from ebbcache import engine
from ebbcache.engine import current_pass, reclaim
from ebbcache.shrinkers import register_shrinker, registered


def give(target, hard):
    return target


def test_one_that_raises_stops_nobody_else(pool):
    def shrink(target, hard):
        raise ValueError("no")

    bad = register_shrinker("bad", shrink, size=lambda: 5000)
    good = pool("good", 1000)
    result = reclaim(600)
    assert result.freed == 600
    assert good.held == 400
    assert {g.name: g.error is None for g in result.by} == {"bad": False, "good": True}
    assert bad.record.errors >= 1


def test_reclaiming_from_inside_a_shrinker_does_nothing(pool):
    inner = []

    def shrink(target, hard):
        inner.append((reclaim(10**6, hard=True), current_pass()))
        return target

    register_shrinker("reentrant", shrink, size=lambda: 1000)
    other = pool("other", 1000)
    result = reclaim(100, hard=True, why="outer")
    ((nested, running),) = inner
    assert (nested.nested, nested.busy, nested.freed, nested.by) == (True, False, 0, ())
    assert (running.hard, running.why) == (True, "outer")
    assert not result.nested
    assert current_pass() is None
    assert other.held == 950


@pytest.mark.parametrize("part", ["size", "tally"])
def test_reclaiming_from_size_and_tally_does_nothing(part, pool):
    inner = []

    def size():
        inner.append(reclaim(5))
        return 100

    def tally(hard):
        inner.append(reclaim(5))
        return {0: 100}

    register_shrinker("reentrant", give, **{part: {"size": size, "tally": tally}[part]})
    pool("other", 100)
    reclaim(10)
    assert inner
    assert all(r.nested for r in inner)


def test_the_registry_may_change_under_a_pass():
    late = []

    def shrink(target, hard):
        for handle in registered("victim"):
            handle.unregister()
        late.append(register_shrinker("late", lambda target, hard: pytest.fail("asked in the same pass")))
        return 1

    register_shrinker("meddler", shrink, size=lambda: 10**6)
    register_shrinker(
        "victim", lambda target, hard: pytest.fail("asked after unregistering"), size=lambda: 5
    )
    assert reclaim(100, most=10**6).freed == engine.ROUNDS
    assert registered("late") == tuple(late)
    for handle in late:
        handle.unregister()


def test_while_one_thread_hangs_others_step_aside(pool):
    entered, release = threading.Event(), threading.Event()

    def shrink(target, hard):
        entered.set()
        assert release.wait(60)
        return target

    register_shrinker("hanging", shrink)
    results = []
    thread = threading.Thread(target=lambda: results.append(reclaim(10)))
    thread.start()
    try:
        assert entered.wait(60)
        aside = reclaim(10, hard=True)
        assert (aside.busy, aside.nested, aside.freed) == (True, False, 0)
        assert current_pass() is None
        assert reclaim(10, wait=0).busy
        assert engine.sizes() == 0  # needs no turn
    finally:
        release.set()
        thread.join()
    assert [(r.freed, r.busy) for r in results] == [(10, False)]
    assert not reclaim(10).busy


def test_waiting_ends_with_the_pass():
    entered, release, waiting = threading.Event(), threading.Event(), threading.Event()

    def shrink(target, hard):
        entered.set()
        assert release.wait(60)
        return target

    register_shrinker("hanging", shrink)
    results = []

    def wait():
        waiting.set()
        results.append(reclaim(10, wait=60))

    first = threading.Thread(target=reclaim, args=(10,))
    second = threading.Thread(target=wait)
    first.start()
    assert entered.wait(60)
    second.start()
    assert waiting.wait(60)
    release.set()
    first.join()
    second.join()
    # Whether it came in time to wait or found the field empty, it never hangs and never half-does it.
    assert [(r.busy, r.freed) for r in results] in ([(True, 0)], [(False, 10)])


def test_a_callback_may_wait_for_a_thread_that_reclaims():
    results = []

    def shrink(target, hard):
        thread = threading.Thread(target=lambda: results.append(reclaim(5)))
        thread.start()
        thread.join()
        return target

    register_shrinker("waiting", shrink)
    assert reclaim(10).freed == 10
    assert [r.busy for r in results] == [True]


def test_a_finaliser_in_a_pass_may_reclaim():
    nested = []

    class Ghost:
        def __del__(self):
            nested.append(reclaim(5))

    def shrink(target, hard):
        ghost = Ghost()
        ghost.me = ghost
        del ghost
        gc.collect()
        return target

    register_shrinker("haunted", shrink)
    assert reclaim(10).freed == 10
    assert [r.nested for r in nested] == [True]


@pytest.mark.parametrize("exit_", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["shrink", "size", "tally"])
def test_an_interrupt_comes_out_and_leaves_no_pass_behind(exit_, where, pool):
    armed = [True]

    def interrupting(answer):
        if armed[0]:
            raise exit_
        return answer

    parts = {
        "size": (lambda: interrupting(100)) if where == "size" else (lambda: 100),
        "tally": (lambda hard: interrupting({0: 100})) if where == "tally" else (lambda hard: {0: 100}),
    }
    shrink = (lambda target, hard: interrupting(target)) if where == "shrink" else give
    register_shrinker("interrupted", shrink, **parts)
    pool("other", 100)
    with pytest.raises(exit_):
        reclaim(150)
    assert current_pass() is None
    armed[0] = False
    result = reclaim(150)
    assert (result.freed, result.busy, result.nested) == (150, False, False)


# A signal may hit a finaliser or a callback of gc, where Python has to drop it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_signals_at_any_moment_leave_no_pass_behind():
    class Interrupt(BaseException):
        pass

    def handler(signum, frame):
        raise Interrupt

    register_shrinker("first", give, size=lambda: 10**6, tally=lambda hard: {0: 10**6})
    register_shrinker("second", give, size=lambda: 10**6)
    dice = random.Random(7)
    hits = 0
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for _ in range(300):
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-5, 4e-4))
                    for _ in range(20):
                        reclaim(100)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupt:
                hits += 1
            assert current_pass() is None
            result = reclaim(100)
            assert (result.busy, result.nested, result.freed) == (False, False, 100)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert hits


def test_running_out_of_stack_leaves_no_pass_behind():
    register_shrinker("first", give, size=lambda: 10**6, tally=lambda hard: {0: 10**6})
    register_shrinker("second", give, size=lambda: 10**6)
    outcomes = []

    def dive():
        try:
            dive()
        except RecursionError:
            pass
        if len(outcomes) < 100:  # at every depth near the end of the stack
            try:
                outcomes.append(reclaim(100).freed)
            except RecursionError:
                outcomes.append(None)
            assert current_pass() is None

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 150)
    try:
        dive()
    finally:
        sys.setrecursionlimit(limit)
    assert None in outcomes
    assert outcomes[-1] == 100
    assert reclaim(100).freed == 100


def test_threads_that_all_reclaim_never_run_two_passes(pool):
    inside, overlaps, failures = [], [], []

    def shrink(target, hard):
        inside.append(1)
        overlaps.append(len(inside))
        inside.pop()
        return target

    register_shrinker("shared", shrink, size=lambda: 10**6)

    def work():
        try:
            for _ in range(200):
                result = reclaim(10, wait=0.0005)
                assert result.busy == (result.freed == 0)
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert failures == []
    assert set(overlaps) == {1}


def in_child(check):
    """Fork, and return the child's exit status: 0 if `check()` was true there."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if check() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_child_forked_amid_a_pass_of_another_thread_can_reclaim():
    entered, release = threading.Event(), threading.Event()

    def shrink(target, hard):
        if not release.is_set():
            entered.set()
            assert release.wait(60)
        return target

    register_shrinker("hanging", shrink)
    thread = threading.Thread(target=reclaim, args=(10,))
    thread.start()
    try:
        assert entered.wait(60)

        def check():
            release._flag = True  # the event's lock may be held by a thread that the child does not have
            result = reclaim(10)
            return result.freed == 10 and not result.busy and current_pass() is None

        assert in_child(check) == 0
        assert reclaim(10).busy
    finally:
        release.set()
        thread.join()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_child_forked_inside_a_shrinker_can_reclaim():
    statuses = []
    forked = []

    def shrink(target, hard):
        if not forked:
            forked.append(True)
            statuses.append(in_child(lambda: reclaim(10).freed == 10 and not reclaim(10).nested))
        return target

    register_shrinker("forking", shrink)
    assert reclaim(10).freed == 10
    assert statuses == [0]
    assert not reclaim(10).busy


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_child_that_returns_from_the_shrinker_ends_its_pass_well():
    pids = []

    def shrink(target, hard):
        if not pids:
            pids.append(os.fork())
        return target

    register_shrinker("forking", shrink)
    result = reclaim(10, hard=True)  # a soft pass would leave it out for a while if the fork was slow
    if pids[0] == 0:
        try:
            again = reclaim(10, hard=True)
            fine = result.freed == again.freed == 10 and not again.busy and not again.nested
        except BaseException:
            fine = False
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 0
    assert result.freed == 10
