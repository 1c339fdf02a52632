"""The thread behind the governor: what it sweeps, how it ends, and what a forked child makes of it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable

import pytest

import ebbcache
from ebbcache import governor
from ebbcache.gil import is_free_threaded
from ebbcache.governor.deciding import Governor
from ebbcache.governor.watcher import Watcher
from ebbcache.memory import Memory

PATIENCE = 60.0


class Value:
    """Something whose end can be heard of."""


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not what() and time.monotonic() < end:
        time.sleep(0.01)
    assert what()


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("register", [True, False])
def test_expired_values_are_freed_without_anybody_touching_the_cache(register: bool) -> None:
    cache = ebbcache.TTLCache[str, Value](ttl=0.05, register=register)
    gone = threading.Event()
    value = Value()
    weakref.finalize(value, gone.set)
    cache["key"] = value
    del value
    wait_for(gone.is_set)  # awake: without a GIL what others drop is gone when its maker next runs


def test_a_ttl_given_to_one_entry_is_swept_in_any_cache() -> None:
    cache = ebbcache.LRUCache[str, Value]()
    gone = threading.Event()
    value = Value()
    weakref.finalize(value, gone.set)
    cache.set("key", value, ttl=0.05)
    cache.set("stays", Value())
    del value
    wait_for(gone.is_set)  # awake: without a GIL what others drop is gone when its maker next runs
    assert list(cache) == ["stays"]


def test_a_dead_cache_is_watched_no_more() -> None:
    cache = ebbcache.TTLCache[str, int](ttl=3600)
    cache["key"] = 1
    watched = weakref.ref(cache)
    del cache
    wait_for(lambda: watched() is None)


def test_the_thread_survives_a_look_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="ebbcache.governor")
    memory = Memory()
    one = Governor(memory)
    looks = threading.Semaphore(0)

    def look() -> None:
        looks.release()
        raise ZeroDivisionError

    one.look = look  # type: ignore[method-assign]
    watcher = Watcher(one, memory)
    watcher.ensure_running()
    try:
        for _ in range(3):
            assert looks.acquire(timeout=PATIENCE)
            memory.wake()
        assert watcher.running
    finally:
        watcher.stop()
    assert not watcher.running
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_stopping_twice_and_starting_after_the_stop_do_nothing() -> None:
    memory = Memory()
    watcher = Watcher(Governor(memory), memory)
    watcher.stop()
    watcher.stop()
    watcher.ensure_running()
    assert not watcher.running


def test_a_shrinker_alone_starts_the_thread() -> None:
    done = run(
        """
        import threading, ebbcache
        assert threading.active_count() == 1
        ebbcache.register_shrinker("mine", lambda target, hard: 0)
        assert [t.name for t in threading.enumerate()][1:] == ["ebbcache-governor"]
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_interpreter_ends_quietly_with_work_going_on() -> None:
    done = run(
        """
        import threading, ebbcache
        cache = ebbcache.TTLCache(ttl=0.001)
        ebbcache.register_shrinker("mine", lambda target, hard: 0)

        def work():
            number = 0
            while True:
                number += 1
                cache[number % 1000] = bytes(1000)

        for _ in range(3):
            threading.Thread(target=work, daemon=True).start()
        ebbcache.reclaim("1 MiB")
        """,
        EBBCACHE_LIMIT="1 GiB",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_caches_work_while_the_interpreter_goes_down() -> None:
    done = run(
        """
        import atexit, ebbcache
        cache = ebbcache.LRUCache()

        class Late:
            def __del__(self, cache=cache):  # in what order the module's own names go is CPython's business
                cache["late"] = bytes(100)
                print(len(cache))

        @atexit.register
        def last():
            ebbcache.LRUCache()["x"] = 1
            cache["last"] = 1

        late = Late()
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


@pytest.mark.parametrize("name", ["EBBCACHE_LIMIT", "EBBCACHE_RESERVE"])
def test_a_senseless_environment_variable_is_named_at_once(name: str) -> None:
    done = run("import ebbcache", **{name: "a lot"})
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[-1]
        == f"ValueError: {name} must look like '64 MiB' or '1.5 GB', got 'a lot'"
    )


def test_the_environment_sets_limit_and_reserve() -> None:
    done = run(
        """
        import ebbcache
        found = ebbcache.status()
        print(found.memory.reading.limit, found.governor.reserve)
        """,
        EBBCACHE_LIMIT="300 MiB",
        EBBCACHE_RESERVE="32 MiB",
    )
    assert (done.stdout.split(), done.stderr) == ([str(300 << 20), str(32 << 20)], "")


def test_configure_changes_what_it_names_and_nothing_else() -> None:
    try:
        ebbcache.configure(limit="8 GiB", reserve="64 MiB")
        assert governor.the_watcher.governor.sight.reserve == 64 << 20
        ebbcache.configure(limit="6 GiB")
        assert governor.the_watcher.governor.sight.reserve == 64 << 20
        limits = [source.limit for source in ebbcache.status().memory.sources]
        assert 6 << 30 in limits
        with pytest.raises(ValueError, match="reserve"):
            ebbcache.configure(limit="4 GiB", reserve="-1")
        assert 6 << 30 in [source.limit for source in ebbcache.status().memory.sources]
    finally:
        ebbcache.configure(limit=None, reserve=None)
    assert governor.the_watcher.governor.sight.reserve == 0


@pytest.mark.parametrize(
    ("argument", "wrong"), [("limit", 0), ("limit", 1.5), ("reserve", True), ("limit", "x")]
)
def test_configure_names_what_it_was_given(argument: str, wrong: object) -> None:
    with pytest.raises((TypeError, ValueError), match=argument):
        ebbcache.configure(**{argument: wrong})  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.skipif(is_free_threaded(), reason="CPython's own mutexes may stay locked in the child")
def test_a_forked_child_has_a_governor_of_its_own() -> None:
    done = run(
        """
        import os, sys, threading, warnings, ebbcache
        warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads is what is tested
        cache = ebbcache.TTLCache(ttl=3600)
        stop = threading.Event()

        def work():
            number = 0
            while not stop.is_set():
                number += 1
                cache[number % 500] = bytes(1000)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        wrong = 0
        for _ in range(20):
            child = os.fork()
            if child == 0:
                cache["mine"] = b"x" * 100
                assert cache["mine"]
                ebbcache.governor.allowance.left = 0
                cache["again"] = b"y" * 100
                names = [thread.name for thread in threading.enumerate()]
                assert names.count("ebbcache-governor") == 1, names
                assert ebbcache.reclaim(None).freed > 0
                assert len(cache) == 0
                assert ebbcache.status().memory.reading is not None
                os._exit(0)
            wrong += os.waitpid(child, 0)[1] != 0
        stop.set()
        for thread in threads:
            thread.join()
        assert ebbcache.status().governor.running
        sys.exit(wrong)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_cache_whose_timer_fails_does_not_keep_others_from_being_swept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = threading.Event()

    def timer() -> float:
        if broken.is_set():
            raise SystemExit("a timer of the user's")
        return time.monotonic()

    bad = ebbcache.TTLCache[str, int](ttl=0.01, timer=timer)
    bad["key"] = 1
    broken.set()
    try:
        cache = ebbcache.TTLCache[str, Value](ttl=0.05)
        gone = threading.Event()
        value = Value()
        weakref.finalize(value, gone.set)
        cache["key"] = value
        del value
        wait_for(gone.is_set)
        assert governor.the_watcher.running
    finally:
        broken.clear()
        del bad


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_inside_a_shrinker_harms_neither_side() -> None:
    done = run(
        """
        import os, warnings, ebbcache
        warnings.simplefilter("ignore", DeprecationWarning)
        children = []

        def shrink(target, hard):
            child = os.fork()
            if child:
                children.append(child)
            return target

        ebbcache.register_shrinker("forks", shrink)
        freed = ebbcache.reclaim(10).freed
        if not children:
            os._exit(0 if freed == 10 else 1)
        assert freed == 10
        assert os.waitpid(children[0], 0)[1] == 0
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not hasattr(__import__("signal"), "setitimer"), reason="needs interval timers")
def test_an_exception_out_of_a_signal_handler_leaves_nobody_looking() -> None:
    done = run(
        """
        import signal, ebbcache
        from ebbcache import governor

        class Late(BaseException):
            pass

        def late(number, frame):
            raise Late

        cache = ebbcache.LRUCache(maxsize=50)
        governor.the_watcher.ensure_running()  # looks are to be interrupted, not a thread's start
        signal.signal(signal.SIGALRM, late)
        caught = 0
        for number in range(400):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005)
                for n in range(10_000):
                    governor.allowance.left = 0
                    cache[n] = n
            except Late:
                caught += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        one = governor.the_watcher.governor
        before = one.looks
        one.look()
        assert caught > 300, caught
        assert one.looks > before
        cache._check()
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors as Linux does")
def test_a_program_without_free_descriptors_caches_all_the_same() -> None:
    code = """
import resource
import ebbcache
from ebbcache import governor
resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))
cache = ebbcache.LRUCache()
for number in range(20_000):
    cache[number] = bytes(100)
governor.the_watcher.governor.look()
assert len(cache) > 0 or governor.the_watcher.governor.sight.reading is None, ebbcache.status()
assert ebbcache.reclaim(10_000).freed >= 10_000 or not cache
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("played", [True, False])
def test_how_late_the_thread_comes_counts_only_where_time_is_real(
    played: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory()
    watcher = Watcher(Governor(memory), memory)
    watcher.played = played
    heard: list[float] = []

    def wait(seconds: float) -> None:
        watcher._stopping = True  # after one turn

    monkeypatch.setattr(watcher.governor.sight, "came_late", heard.append)
    monkeypatch.setattr(memory, "wait", wait)
    watcher._run()
    memory.close()
    assert len(heard) == (0 if played else 1)
