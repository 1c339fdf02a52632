"""Descriptors: how many are open, whose they are, and what threads and forks do to them."""

from __future__ import annotations

import gc
import os
import subprocess
import threading
from typing import Any

from ebbcache.memory import Memory

MIB = 1 << 20


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


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
