"""Readings over time: limits change, processes move, files fail; threads, forks, descriptors."""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ebbcache.memory import Memory, Reading, files

MIB = 1 << 20
V2 = "30 1 0:29 / /cg rw - cgroup2 cgroup2 rw"
Make = Callable[..., Any]


@pytest.fixture
def small(machine: Make) -> Any:
    """A machine with one limited v2 group, /a."""
    m = machine()
    m.mount(V2)
    m.cgroup("0::/a")
    m.v2("/cg/a", max=100 * MIB, current=60 * MIB)
    return m


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


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


# -- waiting -------------------------------------------------------------------------------------------


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


# -- descriptors, threads, forks -----------------------------------------------------------------------


def test_close_leaves_no_descriptor_and_no_warning(small: Any) -> None:
    gc.collect()
    before = descriptors()
    memory = small.memory()
    memory.survey()
    memory.wait(0)
    assert descriptors() > before
    memory.close()
    assert descriptors() == before
    assert memory.read() is None
    assert memory.survey().sources == ()
    memory.wake()
    memory.set_limit(MIB)
    memory.close()
    assert descriptors() == before


def test_one_that_is_forgotten_closes_itself(small: Any) -> None:
    before = descriptors()
    memory = Memory(root=str(small.root))
    memory.wait(0)
    del memory
    assert descriptors() == before


def test_nothing_is_open_before_somebody_asks(small: Any) -> None:
    """What imports this may yet become a daemon, and close all descriptors it can find."""
    before = descriptors()
    memory = small.memory(limit=MIB)
    memory.set_limit(2 * MIB)
    memory.wake()
    assert descriptors() == before
    assert memory.wait(60) == "wake"
    assert memory.read().limit == 2 * MIB


def test_descriptors_that_somebody_else_closed_and_uses(small: Any) -> None:
    """Daemons close all they find. Nothing of theirs may be eaten, written to or closed; we start over."""
    memory = small.memory()
    mine = set(os.listdir("/proc/self/fd"))
    memory.survey()
    memory.wait(0)
    ours = [
        int(fd) for fd in set(os.listdir("/proc/self/fd")) - mine if os.path.exists(f"/proc/self/fd/{fd}")
    ]
    assert len(ours) > 8
    theirs: dict[int, tuple[int, int]] = {}
    for fd in ours:
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.dup2(read, fd)
        os.close(read)
        os.write(write, b"precious")
        theirs[fd] = (write, os.fstat(fd).st_ino)
    memory.wake()
    for _ in range(3):
        memory.wait(0.01)
        small.now += 2
        assert memory.read().limit == 100 * MIB
    memory.wake()
    assert memory.wait(60) == "wake"
    assert memory.wait(0) is None
    memory.close()
    for fd, (write, inode) in theirs.items():
        assert os.fstat(fd).st_ino == inode
        assert os.read(fd, 100) == b"precious"
        os.close(write)
        os.close(fd)


def test_reopen_after_close(small: Any) -> None:
    memory = small.memory()
    memory.close()
    memory.reopen()
    assert memory.read().limit == 100 * MIB


def test_descriptors_are_not_inherited(small: Any) -> None:
    memory = small.memory()
    memory.survey()
    seen = subprocess.run(
        ["ls", "-l", "/proc/self/fd"], close_fds=False, stdout=subprocess.PIPE, text=True, check=True
    )
    assert " -> " in seen.stdout
    assert str(small.root) not in seen.stdout


def test_nothing_is_left_open_when_resolving_again_and_again(small: Any) -> None:
    memory = small.memory()
    memory.survey()
    memory.wait(0)
    before = descriptors()
    for _ in range(20):
        memory.survey()
        small.now += 10
        small.cgroup("0::/a", "")
        memory.read()
        small.cgroup("0::/a")
        memory.wait(0)
    assert descriptors() == before


def test_many_threads_read_while_everything_changes(small: Any) -> None:
    """Descriptors close and their numbers are reused under the readers: none may read a wrong file."""
    small.v2("/cg/b", max=70 * MIB, current=10 * MIB)
    small.meminfo(1 << 40, 1 << 39)
    memory = small.memory()
    memory.read()
    wanted = {(100 * MIB, 60 * MIB, "cgroup v2 /a"), (70 * MIB, 10 * MIB, "cgroup v2 /b")}
    wrong: list[Any] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            reading = memory.read()
            if reading is None or (reading.limit, reading.usage, reading.source) not in wanted:
                wrong.append(reading)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    other = os.path.join(small.path("/proc"), "other")
    with open(other, "w") as file:
        file.write("123456789\n")
    for turn in range(60):
        small.now += 10
        swap = small.path("/proc/self/cgroup.new")
        with open(swap, "w") as file:
            file.write(f"0::/{'ab'[turn % 2]}\n")
        os.replace(
            swap, small.path("/proc/self/cgroup")
        )  # at once: a half-written file would name no group
        memory.survey()
        with open(other, "rb"):
            memory.wait(0)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_child_has_descriptors_of_its_own(small: Any) -> None:
    memory = small.memory(limit=400 * MIB)
    memory.survey()
    memory.wake()
    before = sorted(os.listdir("/proc/self/fd"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            opened = len(os.listdir("/proc/self/fd"))
            memory.reopen()
            memory.survey()
            same = len(os.listdir("/proc/self/fd")) == opened
            quiet = memory.wait(0) is None  # the wake was the parent's
            memory.wake()
            woken = memory.wait(5) == "wake"
            fine = memory.read().limit == 100 * MIB
            memory.close()
            status = 0 if same and quiet and woken and fine else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert memory.wait(5) == "wake"
    assert memory.wait(0) is None
    assert memory.read().limit == 100 * MIB


def test_a_child_reads_its_own_size_and_not_its_parents() -> None:
    memory = Memory(limit=1 << 44)
    ballast = bytearray(48 * MIB)
    for page in range(0, len(ballast), 4096):
        ballast[page] = 1

    def own() -> int:
        (state,) = [state for state in memory.survey().sources if state.name == "limit"]
        return state.usage or 0

    parent = own()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            memory.reopen()
            del ballast
            gc.collect()
            status = 0 if own() < parent - 24 * MIB else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    memory.close()


def test_a_fork_while_another_thread_holds_the_lock(small: Any) -> None:
    memory = small.memory()
    memory.read()
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with memory._lock:
            held.set()
            let_go.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    small.now += 10
    assert memory.read().limit == 100 * MIB  # a reader waits for nobody
    child = os.fork()
    if child == 0:
        status = 1
        try:
            memory.reopen()
            memory.set_limit(10 * MIB)
            status = 0 if memory.survey().reading.source == "limit" else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    let_go.set()
    thread.join()


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
