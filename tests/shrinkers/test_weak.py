"""Owners of bound methods are not kept alive, and their death is one harmless dict operation."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref

import pytest

from ebbcache import engine, shrinkers
from ebbcache.gil import is_free_threaded
from ebbcache.shrinkers import register_shrinker, registered


class Owner:
    def shrink(self, target, hard):
        return target

    def size(self):
        return 100

    def tally(self, hard):
        return {0: 100}


def give(target, hard):
    return 0


@pytest.mark.parametrize("part", ["func", "size", "tally"])
def test_a_dead_owner_is_gone_at_once(part):
    owner = Owner()
    parts = {"func": give} | {part: owner.shrink if part == "func" else getattr(owner, part)}
    handle = register_shrinker("owned", **parts)
    assert registered() == (handle,)
    del owner, parts
    assert registered() == ()
    assert not handle.registered
    assert handle.ask(10, True, 100).freed == 0
    assert handle.held() is None
    assert handle.record.calls == 0


def test_an_owner_in_a_cycle_is_gone_when_collected():
    owner = Owner()
    owner.me = owner
    handle = owner.handle = register_shrinker("cyclic", owner.shrink, size=owner.size, tally=owner.tally)
    del owner
    gc.collect()
    assert not handle.registered


def test_a_plain_function_is_kept_until_unregistered():
    class Big:
        pass

    big = Big()
    alive = weakref.ref(big)
    handle = register_shrinker("closure", lambda target, hard, big=big: 0, size=lambda big=big: 1)
    del big
    assert alive() is not None
    handle.unregister()
    assert alive() is None


def test_a_handle_that_outlives_the_owner_keeps_no_closure():
    class Big:
        pass

    owner, big = Owner(), Big()
    alive = weakref.ref(big)
    handle = register_shrinker("kept", owner.shrink, size=lambda big=big: 1)
    del big, owner
    assert alive() is None
    assert not handle.registered


def test_an_owner_without_weak_references_is_refused():
    class Slotted:
        __slots__ = ()

        def shrink(self, target, hard):
            return 0

    with pytest.raises(TypeError, match="__weakref__"):
        register_shrinker("slotted", Slotted().shrink)
    assert registered() == ()


def test_one_owner_may_register_more_than_once():
    owner = Owner()
    first, second = (register_shrinker("twice", owner.shrink) for _ in range(2))
    first.unregister()
    assert registered() == (second,)
    del owner
    assert registered() == ()


def test_death_needs_no_lock_that_anyone_holds():
    owner, other = Owner(), Owner()
    handles = [register_shrinker("owned", o.shrink) for o in (owner, other)]
    with shrinkers._lock, engine._state.gate:  # as if a collection ran in the middle of our own code
        del owner
        assert not handles[0].registered
    held, done = threading.Event(), threading.Event()

    def hold():
        with shrinkers._lock, engine._state.gate:
            held.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        held.wait(30)
        del other  # would hang here
        assert not handles[1].registered
    finally:
        done.set()
        thread.join()


def test_owners_may_die_in_the_middle_of_anything():
    before = gc.get_threshold()
    gc.set_threshold(1)  # a collection at every other allocation, so inside our own code as well
    try:
        for number in range(200):
            owner = Owner()
            owner.me = owner
            owner.handle = register_shrinker(f"number {number}", owner.shrink, size=owner.size)
            del owner
            for handle in registered():
                assert handle.name.startswith("number")
            engine.sizes()
            engine.reclaim(10)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert registered() == ()


def test_threads_register_and_let_die_together():
    failures = []

    def churn():
        try:
            for _ in range(300):
                owners = [Owner() for _ in range(3)]
                for owner in owners:
                    register_shrinker("churn", owner.shrink, size=owner.size)
                with register_shrinker("block", give):
                    registered()
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=churn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert registered() == ()


def test_a_destructor_may_register_and_unregister():
    made = []

    class Restless(Owner):
        def __del__(self):
            made.append(register_shrinker("ghost", give))
            for handle in registered("other"):
                handle.unregister()

    register_shrinker("other", give)
    restless = Restless()
    register_shrinker("restless", restless.shrink)
    del restless
    assert registered() == tuple(made)


@pytest.mark.skipif(
    is_free_threaded() and sys.version_info < (3, 14),
    reason="at exit, CPython 3.13 without a GIL empties modules before the last objects that use them go",
)
def test_interpreter_exit_is_silent():
    program = """
import gc
from ebbcache.engine import reclaim
from ebbcache.shrinkers import register_shrinker
class Owner:
    def shrink(self, target, hard): return 0
    def __del__(self): reclaim(10)
owner = Owner(); owner.me = owner
owner.handle = register_shrinker("cyclic", owner.shrink, size=lambda: 5)
other = Owner(); other.handle = register_shrinker("plain", other.shrink)
import builtins
late = builtins.late = Owner(); late.handle = register_shrinker("late", late.shrink)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
