"""Wake-ups other than PSI: v2's memory.events, v1's eventfds, systemd's protocol."""

from __future__ import annotations

import base64
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ebbcache.memory import events
from ebbcache.memory.waiting import POLLERR, POLLIN, POLLPRI

MIB = 1 << 20
Make = Callable[..., Any]

needs_eventfd = pytest.mark.skipif(not hasattr(os, "eventfd"), reason="no eventfd on this platform")


# -- v2 ------------------------------------------------------------------------------------------------


def test_memory_events_of_every_limited_level_are_watched(machine: Make, wakeup_at: Make) -> None:
    m = machine("unified")
    m.write("/sys/fs/cgroup/system.slice/memory.high", f"{500 * MIB}\n")
    survey = m.memory().survey()
    assert wakeup_at(survey, "app.service/memory.events").armed
    assert wakeup_at(survey, "system.slice/memory.events").armed


def test_levels_without_limit_are_not_watched_until_they_have_one(machine: Make) -> None:
    m = machine("unified")
    memory = m.memory()

    def watched() -> set[str]:
        return {state.path for state in memory.survey().wakeups if state.name == "memory.events"}

    assert len(watched()) == 1
    m.write("/sys/fs/cgroup/system.slice/memory.max", f"{500 * MIB}\n")
    assert len(watched()) == 2


def test_memory_events_are_believed_when_a_counter_moved(machine: Make, kernel: Any) -> None:
    m = machine("unified")
    path = "/sys/fs/cgroup/system.slice/app.service/memory.events"
    m.write(path, "low 0\nhigh 3\nmax 0\n")
    watched = events.Events(m.path(path))
    assert not watched.fired(POLLPRI | POLLERR)
    m.write(path, "low 0\nhigh 4\nmax 0\n")
    assert watched.fired(POLLPRI | POLLERR)
    assert not watched.fired(POLLPRI | POLLERR)
    kernel.refuse("pread", path, errno.ENODEV)
    with pytest.raises(OSError, match="No such device"):
        watched.fired(POLLPRI | POLLERR)


# -- v1 ------------------------------------------------------------------------------------------------


@needs_eventfd
def test_v1_registers_what_the_kernel_wants_to_read(
    machine: Make, wakeup_at: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    m = machine("hybrid")
    group = "/sys/fs/cgroup/memory/runner"
    m.v1(group, limit=160 * MIB, usage=50 * MIB)
    written: list[tuple[str, str]] = []
    plain_write = os.write

    def write(fd: int, data: bytes) -> int:
        where = os.readlink(f"/proc/self/fd/{fd}")
        if where.endswith("event_control"):
            event, watched, argument = data.decode().split(" ", 2)
            assert "eventfd" in os.readlink(f"/proc/self/fd/{event}")
            written.append((os.path.basename(os.readlink(f"/proc/self/fd/{watched}")), argument))
        return plain_write(fd, data)

    monkeypatch.setattr(os, "write", write)
    survey = m.memory().survey()
    assert written == [
        ("memory.pressure_level", "medium"),
        ("memory.usage_in_bytes", str(120 * MIB)),
        ("memory.usage_in_bytes", str(140 * MIB)),
        ("memory.usage_in_bytes", str(150 * MIB)),
    ]
    assert wakeup_at(survey, "runner/memory.pressure_level").armed
    assert wakeup_at(survey, "runner/memory.usage_in_bytes").armed


@needs_eventfd
def test_v1_thresholds_follow_the_limit(machine: Make, wakeup_at: Make) -> None:
    m = machine("hybrid")
    group = "/sys/fs/cgroup/memory/runner"
    m.v1(group, limit=160 * MIB, usage=50 * MIB)
    memory = m.memory()
    before = wakeup_at(memory.survey(), "memory.usage_in_bytes").detail
    m.v1(group, limit=80 * MIB, usage=50 * MIB)
    m.now += 1
    memory.read()
    memory.wait(0)
    after = wakeup_at(memory.survey(), "memory.usage_in_bytes").detail
    assert before == f"crossing {120 * MIB}, {140 * MIB}, {150 * MIB}"
    assert after == f"crossing {60 * MIB}, {70 * MIB}, {75 * MIB}"


@needs_eventfd
def test_v1_without_permission_to_register(machine: Make, wakeup_at: Make, kernel: Any) -> None:
    m = machine("hybrid")
    m.v1("/sys/fs/cgroup/memory/runner", limit=160 * MIB, usage=50 * MIB)
    kernel.refuse("open", "cgroup.event_control", errno.EACCES)
    memory = m.memory()
    memory.read()
    fds = len(os.listdir("/proc/self/fd"))
    survey = memory.survey()
    assert wakeup_at(survey, "runner/memory.pressure_level").error == "no permission (EACCES)"
    assert wakeup_at(survey, "runner/memory.usage_in_bytes").error == "no permission (EACCES)"
    assert len(os.listdir("/proc/self/fd")) == fds + 1  # PSI's
    assert memory.read().source == "cgroup v1 /runner"


@needs_eventfd
def test_v1_signals_end_a_wait_and_a_group_that_goes_is_let_go(
    machine: Make, kernel: Any, wakeup_at: Make
) -> None:
    m = machine("hybrid")
    group = "/sys/fs/cgroup/memory/runner"
    m.v1(group, limit=160 * MIB, usage=50 * MIB)
    memory = m.memory()
    memory.wait(0)
    fds = {c.name: w.file.fd for c, w in memory._wakeups.armed.values()}
    os.eventfd_write(fds["usage_threshold"], 1)
    assert memory.wait(60) == "usage_threshold"
    assert memory.wait(0) is None
    os.eventfd_write(fds["pressure_level"], 1)
    assert memory.wait(60) == "pressure_level"
    kernel.refuse("pread", "runner/memory.usage_in_bytes", errno.ENODEV)
    os.eventfd_write(fds["pressure_level"], 1)
    assert memory.wait(0.01) is None
    assert "ENODEV" in wakeup_at(memory.survey(), "runner/memory.pressure_level").error


# -- systemd -------------------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, bytes], None]:
    """Set the two variables as a service manager does."""

    def tell(path: str, text: bytes = b"") -> None:
        monkeypatch.setenv("MEMORY_PRESSURE_WATCH", path)
        if text:
            monkeypatch.setenv("MEMORY_PRESSURE_WRITE", base64.b64encode(text).decode())

    return tell


def test_systemd_names_a_pressure_file(machine: Make, kernel: Any, told: Make, wakeup_at: Make) -> None:
    m = machine("unified")
    told("/sys/fs/cgroup/system.slice/memory.pressure", b"some 200000 2000000\0")
    survey = m.memory().survey()
    state = wakeup_at(survey, "system.slice/memory.pressure")
    assert (state.name, state.armed, state.detail) == ("systemd", True, "some 200000 2000000")
    assert kernel.armed == [(m.path("/sys/fs/cgroup/system.slice/memory.pressure"), 200_000, 2_000_000)]
    assert not [
        each for each in survey.wakeups if each.name == "psi"
    ]  # the manager's choice instead of ours


def test_systemd_turns_it_off(machine: Make, kernel: Any, told: Make) -> None:
    m = machine("unified")
    told("/dev/null")
    memory = m.memory()
    survey = memory.survey()
    assert kernel.armed == []
    stalls = [state for state in survey.wakeups if state.name == "psi"]
    assert stalls
    assert all(
        not state.armed and "MEMORY_PRESSURE_WATCH=/dev/null" in (state.error or "") for state in stalls
    )
    assert memory.read().limit == 128 * MIB


def test_systemd_fifo(machine: Make, told: Make, wakeup_at: Make) -> None:
    m = machine("unified")
    os.mkfifo(m.path("/pressure"))
    told("/pressure")
    memory = m.memory()
    assert memory.wait(0) is None
    for message in (b"x", b"y" * 4096, b"z" * 10_000):
        writer = os.open(m.path("/pressure"), os.O_WRONLY)
        os.write(writer, message)
        os.close(writer)
        assert memory.wait(60) == "systemd"
        assert memory.wait(0) is None  # what came was read away, and a writer that left is no event
    assert wakeup_at(memory.survey(), "/pressure").armed


@pytest.fixture
def listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A listening AF_UNIX socket at `pressure.sock`; the path is kept short by standing beside it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "pressure.sock"))
        server.listen()
        server.settimeout(10)
        yield server


def test_systemd_socket(machine: Make, told: Make, listener: Any, wakeup_at: Make) -> None:
    m = machine("unified")
    os.link(listener.getsockname(), m.path("/pressure"))
    told("/pressure", b"hello")
    memory = m.memory()
    assert memory.wait(0) is None
    peer, _ = listener.accept()
    with peer:
        assert peer.recv(100) == b"hello"
        peer.sendall(b"!")
        assert memory.wait(60) == "systemd"
        assert memory.wait(0) is None
    # The other side hung up: no event, no spinning, and our own trigger instead.
    assert memory.wait(0.01) is None
    survey = memory.survey()
    assert wakeup_at(survey, "/pressure").error == "the other side closed it"
    assert [state.name for state in survey.wakeups if state.armed] == ["psi", "memory.events"]


@pytest.mark.parametrize(
    ("path", "text", "why"),
    [
        ("/nowhere", b"", "not there (ENOENT)"),
        ("relative/path", b"", "not an absolute path"),
        ("/proc", b"", "neither a file nor a FIFO nor a socket"),
        ("/proc/meminfo", b"some 200000 2000000\0", "no total"),
    ],
)
def test_systemd_names_something_of_no_use(
    machine: Make, told: Make, path: str, text: bytes, why: str
) -> None:
    m = machine("unified")
    told(path, text)
    survey = m.memory().survey()
    (state,) = [state for state in survey.wakeups if state.name == "systemd"]
    assert not state.armed
    assert why in (state.error or "")
    assert [each.name for each in survey.wakeups if each.armed] == ["psi", "memory.events"]


def test_systemd_writes_nonsense(machine: Make, told: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    m = machine("unified")
    told("/sys/fs/cgroup/system.slice/memory.pressure")
    monkeypatch.setenv("MEMORY_PRESSURE_WRITE", "%%%")
    (state,) = [state for state in m.memory().survey().wakeups if state.name == "systemd"]
    assert "not base64" in (state.error or "")


def test_poll_flags_are_the_platforms() -> None:
    import select

    assert (POLLIN, POLLPRI, POLLERR) == (select.POLLIN, select.POLLPRI, select.POLLERR)
