"""PSI triggers: what is written, what the kernel may answer, and which events are believed."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from ebbcache.memory import psi
from ebbcache.memory.waiting import POLLERR, POLLIN, POLLPRI, GoneError

MIB = 1 << 20
Make = Callable[..., Any]


def stalled(total: int) -> str:
    return (
        f"some avg10=0.00 avg60=0.00 avg300=0.00 total={total}\n"
        f"full avg10=0.00 avg60=0.00 avg300=0.00 total={total // 2}\n"
    )


@pytest.fixture
def host(machine: Make) -> Any:
    m = machine("hybrid")
    m.write("/proc/pressure/memory", stalled(7_000_000))
    m.write("/sys/fs/cgroup/unified/memory.pressure", stalled(7_000_000))
    return m


# -- arming --------------------------------------------------------------------------------------------


def test_the_groups_own_file_comes_before_the_hosts(machine: Make, kernel: Any, wakeup_at: Make) -> None:
    m = machine("unified")
    survey = m.memory().survey()
    armed = [state for state in survey.wakeups if state.name == "psi"]
    assert [state.path for state in armed] == [
        m.path("/sys/fs/cgroup/system.slice/app.service/memory.pressure")
    ]
    assert armed[0].armed
    assert armed[0].detail == "some 50000 500000"
    assert kernel.armed == [(armed[0].path, 50_000, 500_000)]


def test_without_one_of_its_own_the_hosts(machine: Make, kernel: Any) -> None:
    m = machine("unified")
    m.remove("/sys/fs/cgroup/system.slice/app.service/memory.pressure")
    memory = m.memory()
    memory.wait(0)
    assert [path for path, _, _ in kernel.armed] == [m.path("/proc/pressure/memory")]


def test_the_kernel_takes_the_whole_window_although_it_overwrites_the_last_byte(kernel: Any) -> None:
    for stall, window in psi.WINDOWS:
        kernel.psi_write("x", psi.trigger(stall, window))
        assert kernel.armed[-1] == ("x", stall, window)
    with pytest.raises(OSError, match="out of range"):  # what the NUL of our own is for
        kernel.psi_write("x", psi.trigger(50_000, 500_000)[:-1])


def test_windows_are_such_as_the_kernel_takes() -> None:
    for stall, window in psi.WINDOWS:
        assert 500_000 <= window <= 10_000_000
        assert 0 < stall <= window
        assert len(psi.trigger(stall, window)) <= 32
    assert psi.WINDOWS[-1][1] % 2_000_000 == 0  # so that an unprivileged process is left with one


def test_unprivileged_processes_get_a_window_of_two_seconds(
    host: Any, kernel: Any, wakeup_at: Make
) -> None:
    kernel.privileged = False
    state = wakeup_at(host.memory().survey(), "unified/memory.pressure")
    assert state.armed
    assert state.detail == "some 200000 2000000"
    assert [(stall, window) for _, stall, window in kernel.armed] == [(200_000, 2_000_000)]


def test_old_kernels_refuse_the_unprivileged(host: Any, kernel: Any, wakeup_at: Make) -> None:
    kernel.refuse("write", "memory.pressure", errno.EPERM)
    kernel.refuse("write", "pressure/memory", errno.EPERM)
    memory = host.memory()
    for path in ("unified/memory.pressure", "proc/pressure/memory"):
        state = wakeup_at(memory.survey(), path)
        assert not state.armed
        assert state.error == "no permission (EPERM)"


def test_absent(host: Any, kernel: Any, wakeup_at: Make) -> None:
    host.remove("/proc/pressure")
    host.remove("/sys/fs/cgroup/unified/memory.pressure")
    memory = host.memory()
    for path in ("unified/memory.pressure", "proc/pressure/memory"):
        assert wakeup_at(memory.survey(), path).error == "not there (ENOENT)"
    assert memory.wait(0) is None
    assert memory.read().source == "host"


@pytest.mark.parametrize("call", ["open", "pread", "write"])
def test_present_but_not_supported(host: Any, kernel: Any, wakeup_at: Make, call: str) -> None:
    """psi=0 on the kernel's command line: the files are there, and at some point answer EOPNOTSUPP."""
    kernel.refuse(call, "pressure/memory", errno.EOPNOTSUPP)
    kernel.refuse(call, "memory.pressure", errno.EOPNOTSUPP)
    memory = host.memory()
    for path in ("unified/memory.pressure", "proc/pressure/memory"):
        state = wakeup_at(memory.survey(), path)
        assert not state.armed
        assert state.error == "not supported by this kernel, or turned off (EOPNOTSUPP)"
    assert memory.wait(0) is None


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.EACCES, "no permission (EACCES)"), (errno.EROFS, "mounted read-only (EROFS)")],
)
def test_unwritable_falls_back_to_the_hosts(
    machine: Make, kernel: Any, wakeup_at: Make, code: int, words: str
) -> None:
    """Containers see cgroupfs read-only; the host's file often is open to all."""
    m = machine("unified")
    kernel.refuse("open", "app.service/memory.pressure", code)
    survey = m.memory().survey()
    assert wakeup_at(survey, "app.service/memory.pressure").error == words
    assert wakeup_at(survey, "proc/pressure/memory").armed


def test_a_file_that_tells_no_total(host: Any, kernel: Any, wakeup_at: Make) -> None:
    host.write("/sys/fs/cgroup/unified/memory.pressure", "full avg10=0.00\n")
    survey = host.memory().survey()
    assert "not understood" in wakeup_at(survey, "unified/memory.pressure").error
    assert wakeup_at(survey, "proc/pressure/memory").armed


def test_arming_is_not_repeated(host: Any, kernel: Any) -> None:
    memory = host.memory()
    for _ in range(3):
        memory.wait(0)
        memory.survey()
        host.now += 10
        memory.read()
    assert len(kernel.armed) == 1


def test_the_file_is_not_read_but_to_arm(host: Any, kernel: Any) -> None:
    """Its readers hold up the very bookkeeping that fires the trigger."""
    memory = host.memory()
    memory.wait(0)
    kernel.refuse("pread", "memory.pressure", errno.EIO)
    for _ in range(3):
        host.now += 10
        assert memory.read().source == "host"
        assert memory.wait(0) is None
    assert [state.armed for state in memory.survey().wakeups] == [True]


# -- events --------------------------------------------------------------------------------------------


@pytest.fixture
def trigger(host: Any, kernel: Any) -> psi.Trigger:
    path = host.path("/sys/fs/cgroup/unified/memory.pressure")
    return psi.Trigger(path, psi.trigger(50_000, 500_000), 50_000)


def test_a_false_first_event_is_not_believed(host: Any, trigger: psi.Trigger) -> None:
    """The kernel may count a new trigger's growth from before it was armed: old stalls look new."""
    assert not trigger.fired(POLLPRI)
    host.write("/sys/fs/cgroup/unified/memory.pressure", stalled(7_049_999))
    assert not trigger.fired(POLLPRI)


def test_an_event_is_believed_if_the_total_grew_by_the_threshold(host: Any, trigger: psi.Trigger) -> None:
    host.write("/sys/fs/cgroup/unified/memory.pressure", stalled(7_050_000))
    assert trigger.fired(POLLPRI)
    assert not trigger.fired(POLLPRI)
    host.write("/sys/fs/cgroup/unified/memory.pressure", stalled(7_100_000))
    assert trigger.fired(POLLPRI)


def test_only_the_line_of_some_counts(host: Any, trigger: psi.Trigger) -> None:
    host.write("/sys/fs/cgroup/unified/memory.pressure", "some total=7000001\nfull total=99000000\n")
    assert not trigger.fired(POLLPRI)


@pytest.mark.parametrize("mask", [POLLERR, POLLERR | POLLPRI, POLLERR | POLLPRI | POLLIN])
def test_pollerr_means_that_the_group_is_gone(trigger: psi.Trigger, mask: int) -> None:
    with pytest.raises(GoneError, match="POLLERR"):
        trigger.fired(mask)


class Poll:
    """Stands in for select.poll: hands out the events that a test put up, then none."""

    def __init__(self, script: list[Callable[[list[int]], list[tuple[int, int]]]]) -> None:
        self.script = script
        self.fds: list[int] = []

    def register(self, fd: int, mask: int) -> None:
        self.fds.append(fd)

    def poll(self, timeout: int) -> list[tuple[int, int]]:
        return self.script.pop(0)(self.fds[1:]) if self.script else []


@pytest.fixture
def polled(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    import select

    def play(*script: Callable[[list[int]], list[tuple[int, int]]]) -> list[Any]:
        left = list(script)
        monkeypatch.setattr(select, "poll", lambda: Poll(left))
        return left

    return play


def test_a_wait_goes_on_over_an_event_that_is_not_believed(host: Any, kernel: Any, polled: Make) -> None:
    memory = host.memory()
    memory.wait(0)

    def quiet(fds: list[int]) -> list[tuple[int, int]]:
        return [(fds[0], POLLPRI)]

    def stall(fds: list[int]) -> list[tuple[int, int]]:
        host.write("/sys/fs/cgroup/unified/memory.pressure", stalled(8_000_000))
        return [(fds[0], POLLPRI)]

    left = polled(quiet, quiet, stall, quiet)
    assert memory.wait(60) == "psi"
    assert len(left) == 1


def test_when_the_group_vanishes_the_hosts_file_takes_over(
    host: Any, kernel: Any, polled: Make, wakeup_at: Make
) -> None:
    memory = host.memory()
    memory.wait(0)
    asked: list[int] = []

    def vanish(fds: list[int]) -> list[tuple[int, int]]:
        return [(fds[0], POLLERR | POLLPRI)]

    def after(fds: list[int]) -> list[tuple[int, int]]:
        asked.extend(fds)
        return []

    polled(vanish, after)
    assert memory.wait(60) is None
    assert len(asked) == 1
    survey = memory.survey()
    assert "POLLERR" in wakeup_at(survey, "unified/memory.pressure").error
    assert wakeup_at(survey, "proc/pressure/memory").armed
    assert [path for path, _, _ in kernel.armed] == [
        host.path("/sys/fs/cgroup/unified/memory.pressure"),
        host.path("/proc/pressure/memory"),
    ]


def test_when_the_group_vanishes_after_a_move_the_new_ones_file_takes_over(
    machine: Make, kernel: Any, polled: Make
) -> None:
    m = machine("unified")
    memory = m.memory()
    memory.wait(0)
    m.v2("/sys/fs/cgroup/new", max=90 * MIB, current=MIB)
    m.write("/sys/fs/cgroup/new/memory.pressure", stalled(0))

    def vanish(fds: list[int]) -> list[tuple[int, int]]:
        m.cgroup("0::/new")
        return [(fd, POLLERR | POLLPRI) for fd in fds]

    polled(vanish)
    assert memory.wait(60) is None
    assert memory.read().source == "cgroup v2 /new"
    armed = {state.path for state in memory.survey().wakeups if state.armed}
    assert armed == {
        m.path("/sys/fs/cgroup/new/memory.pressure"),
        m.path("/sys/fs/cgroup/new/memory.events"),
    }


def test_an_event_makes_the_next_reading_look_at_the_limit_again(
    machine: Make, kernel: Any, polled: Make
) -> None:
    m = machine("unified")
    memory = m.memory()
    memory.wait(0)
    assert memory.read().limit == 128 * MIB

    def lowered(fds: list[int]) -> list[tuple[int, int]]:
        m.write("/sys/fs/cgroup/system.slice/app.service/memory.max", f"{64 * MIB}\n")
        m.write("/sys/fs/cgroup/system.slice/app.service/memory.events", "low 0\nhigh 0\nmax 1\n")
        return [(fds[1], POLLERR | POLLPRI)]

    polled(lowered)
    assert memory.wait(60) == "memory.events"
    assert memory.read().limit == 64 * MIB
