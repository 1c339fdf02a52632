"""Readings over time: limits change, processes move, files fail."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ebbcache.memory import Memory, Reading, files

MIB = 1 << 20
Make = Callable[..., Any]


# -- changes -------------------------------------------------------------------------------------------


def test_usage_is_read_anew_each_time(small: Any) -> None:
    memory = small.memory()
    for used in (60, 70, 5):
        small.write("/cg/a/memory.current", f"{used * MIB}\n")
        assert memory.read().usage == used * MIB


@pytest.mark.parametrize("limit", [80 * MIB, 300 * MIB])
def test_a_limit_that_changes_is_seen_within_a_second(small: Any, limit: int) -> None:
    memory = small.memory()
    assert memory.read().limit == 100 * MIB
    small.write("/cg/a/memory.max", f"{limit}\n")
    small.now += 1
    assert memory.read().limit == limit


def test_a_limit_that_appears_and_goes(small: Any) -> None:
    small.write("/cg/a/memory.max", "max\n")
    memory = small.memory()
    assert memory.read().source == "host"
    small.write("/cg/a/memory.high", f"{90 * MIB}\n")
    small.now += 1
    assert memory.read().soft
    small.write("/cg/a/memory.high", "max\n")
    small.now += 1
    assert memory.read().source == "host"


def test_a_process_that_moved_is_followed(small: Any) -> None:
    small.v2("/cg/b", max=50 * MIB, current=20 * MIB)
    memory = small.memory()
    assert memory.read().source == "cgroup v2 /a"
    small.cgroup("0::/b")
    small.now += 1
    assert memory.read() == Reading(50 * MIB, 20 * MIB, 30 * MIB, "cgroup v2 /b")


def test_a_controller_that_is_turned_on_later(small: Any) -> None:
    """systemd does so when somebody sets a first limit on a running service."""
    small.cgroup("0::/b")
    small.write("/cg/b/cgroup.procs", "")
    memory = small.memory()
    assert memory.read().source == "host"
    small.v2("/cg/b", max=50 * MIB, current=20 * MIB)
    small.now += 6
    assert memory.read().source == "cgroup v2 /b"


def test_a_process_that_moved_because_its_group_goes_is_followed_at_once(small: Any, kernel: Any) -> None:
    small.v2("/cg/b", max=50 * MIB, current=20 * MIB)
    memory = small.memory()
    assert memory.read().source == "cgroup v2 /a"
    small.cgroup("0::/b")
    kernel.refuse("pread", "/cg/a/memory.current", errno.ENODEV)
    assert memory.read().source == "cgroup v2 /b"
    assert not [state for state in memory.survey().sources if state.error and "failed" in state.error]


def test_no_reader_sees_nothing_while_another_looks(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very first look takes a while; who comes meanwhile waits for it instead of learning nothing."""
    from ebbcache.memory import memory as module

    looking, go_on = threading.Event(), threading.Event()
    find = module.find

    def slow(*arguments: Any) -> Any:
        looking.set()
        go_on.wait()
        return find(*arguments)

    monkeypatch.setattr(module, "find", slow)
    memory = small.memory()
    readings: list[Reading | None] = []
    threads = [threading.Thread(target=lambda: readings.append(memory.read())) for _ in range(3)]
    threads[0].start()
    looking.wait()
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert [reading and reading.limit for reading in readings] == [100 * MIB] * 3


# -- failures ------------------------------------------------------------------------------------------


def test_a_source_that_fails_is_skipped_and_said(
    small: Any, kernel: Any, source_named: Make, caplog: Any
) -> None:
    memory = small.memory(limit=500 * MIB)
    assert memory.read().source == "cgroup v2 /a"
    kernel.refuse("pread", "/cg/a/memory.current", errno.EIO)
    with caplog.at_level(logging.WARNING, "ebbcache"):
        for _ in range(3):
            small.now += 2
            assert memory.read().source == "limit"
    assert len(caplog.records) == 1  # once, not at every read
    assert "cgroup v2 /a" in caplog.text
    states = [state for state in memory.survey().sources if state.name == "cgroup v2 /a"]
    assert any("nearest ceiling until it failed" in (state.error or "") for state in states)
    assert all(state.headroom is None for state in states)
    kernel.allow()
    small.now += 6
    assert memory.read().source == "cgroup v2 /a"
    assert source_named(memory.survey(), "cgroup v2 /a").error is None


@pytest.mark.parametrize("text", ["", "plenty\n", "12 34\n", "\xff\n"])
def test_a_file_that_makes_no_sense_is_never_plenty(small: Any, source_named: Make, text: str) -> None:
    memory = small.memory(limit=500 * MIB)
    small.write("/cg/a/memory.current", text)
    assert memory.read().source == "limit"
    assert "not understood" in source_named(memory.survey(), "cgroup v2 /a").error


def test_a_limit_that_cannot_be_read_again_stays_what_it_was(small: Any, kernel: Any) -> None:
    memory = small.memory()
    memory.read()
    kernel.refuse("pread", "/cg/a/memory.max", errno.EIO)
    kernel.refuse("open", "/cg/a/memory.max", errno.EMFILE)
    small.now += 1
    assert memory.read().limit == 100 * MIB


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_no_permission(small: Any, kernel: Any, source_named: Make, code: int) -> None:
    kernel.refuse("open", "/cg/a/memory.stat", code)
    memory = small.memory()
    assert memory.read().source == "host"
    state = source_named(memory.survey(), "cgroup v2 /a")
    assert state.path == small.path("/cg/a/memory.stat")
    assert state.error.startswith("no permission")


def test_no_permission_on_anything(small: Any, kernel: Any) -> None:
    kernel.refuse("open", "", errno.EACCES)
    memory = small.memory(limit=MIB)
    assert memory.read() is None
    survey = memory.survey()
    assert survey.reading is None
    assert {state.error for state in survey.sources if state.path.startswith(str(small.root))} >= {
        "no permission (EACCES)"
    }
    assert all(state.headroom is None for state in survey.sources)


def test_no_permission_for_an_unprivileged_user(small: Any, source_named: Make) -> None:
    """For real: a child that gave up root reads what it may and says what it may not."""
    if os.getuid() != 0:
        pytest.skip("needs root to give it up")
    os.chmod(small.path("/cg/a/memory.stat"), 0)
    for folder in [small.root, *small.root.parents]:
        if not os.stat(folder).st_mode & 1:
            os.chmod(folder, os.stat(folder).st_mode | 0o11)
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            memory = Memory(root=str(small.root))
            state = source_named(memory.survey(), "cgroup v2 /a")
            ok = memory.read().source == "host" and state.error == "no permission (EACCES)"
            os._exit(0 if ok else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_running_out_of_descriptors_leaves_what_was_found(small: Any, kernel: Any) -> None:
    memory = small.memory()
    memory.read()
    kernel.refuse("open", "", errno.EMFILE)
    small.cgroup("0::/b")
    small.now += 6
    assert memory.read().source == "cgroup v2 /a"
    memory.survey()
    assert memory.read().source == "cgroup v2 /a"


def test_starting_without_descriptors(small: Any, kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pipe() -> tuple[int, int]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pipe", no_pipe)
    kernel.refuse("open", "", errno.EMFILE)
    memory = small.memory()
    assert memory.read() is None
    memory.wake()
    assert memory.wait(5) == "wake"
    assert "too many open files (EMFILE)" in {state.error for state in memory.survey().sources}
    kernel.allow()
    small.now += 2
    assert memory.read().source == "cgroup v2 /a"


def test_memory_that_runs_out_while_reading_raises_nothing(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = small.memory()

    def no_memory(*_: Any) -> bytes:
        raise MemoryError

    monkeypatch.setattr(files, "_pread", None)
    monkeypatch.setattr(os, "pread", no_memory)
    small.now += 6
    assert memory.read() is None


def test_it_imports_and_reads_without_what_only_linux_has() -> None:
    """As on Windows: no poll, no eventfd, no `resource`, no O_CLOEXEC."""
    code = """
import os, select, sys
import psutil, subprocess, selectors  # have needs of their own
sys.modules["resource"] = None
for module, names in {os: ["eventfd", "EFD_CLOEXEC", "O_CLOEXEC", "O_NONBLOCK", "pread"],
                      select: ["poll", "epoll", "POLLIN", "POLLPRI", "POLLERR", "POLLNVAL",
                      "POLLHUP"]}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
from ebbcache.memory import Memory
memory = Memory(root=sys.argv[1], limit=1 << 44)
reading = memory.read()
assert reading is not None and reading.source == "host", reading
assert memory.wait(0.01) is None
memory.wake()
assert memory.wait(10) == "wake"
assert not [state for state in memory.survey().wakeups if state.armed]
memory.close()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code, "/nonexistent"], check=True)
