"""Machines made of files: recorded /proc and /sys trees that a test changes as it likes.

`recorded/hybrid` was taken on a host with cgroup v1 and an empty v2 beside it, `recorded/unified` on one
with v2 alone. `machine` copies one; what tests add to it has the kernel's formats. No real ceiling leaks
in: paths are looked up under the tree, resource limits are unlimited, and the systemd variables unset.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ebbcache.memory import Memory, SourceState, Survey, WakeupState, files

RECORDED = Path(__file__).parent / "recorded"
MIB = 1 << 20
V1_UNLIMITED = 9223372036854771712


class Machine:
    """A tree of files with a clock beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 1000.0
        self.opened: list[Memory] = []

    def path(self, path: str) -> str:
        return f"{self.root}{path}"

    def write(self, path: str, text: str | bytes) -> None:
        """Change a file in place, so that descriptors kept open see it."""
        file = Path(self.path(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)

    def read(self, path: str) -> str:
        return Path(self.path(path)).read_text()

    def remove(self, path: str) -> None:
        file = Path(self.path(path))
        shutil.rmtree(file) if file.is_dir() else file.unlink()

    def meminfo(self, total: int, available: int) -> None:
        kib = (
            f"{name}: {amount >> 10} kB\n"
            for name, amount in (("MemTotal", total), ("MemAvailable", available))
        )
        self.write("/proc/meminfo", "".join(kib))

    def statm(self, vms: int, rss: int, data: int) -> None:
        page = os.sysconf("SC_PAGE_SIZE")
        self.write("/proc/self/statm", f"{vms // page} {rss // page} 100 1 0 {data // page} 0\n")

    def mount(self, *lines: str) -> None:
        self.write("/proc/self/mountinfo", "".join(f"{line}\n" for line in lines))

    def cgroup(self, *lines: str) -> None:
        self.write("/proc/self/cgroup", "".join(f"{line}\n" for line in lines))

    def v2(
        self,
        directory: str,
        *,
        max: int | str = "max",
        high: int | str = "max",
        current: int = 0,
        **stat: int,
    ) -> None:
        fields = {"anon": current, "file": 0, **stat}
        self.write(f"{directory}/memory.max", f"{max}\n")
        self.write(f"{directory}/memory.high", f"{high}\n")
        self.write(f"{directory}/memory.current", f"{current}\n")
        self.write(
            f"{directory}/memory.stat", "".join(f"{name} {value}\n" for name, value in fields.items())
        )
        self.write(f"{directory}/memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n")

    def v1(
        self,
        directory: str,
        *,
        limit: int = V1_UNLIMITED,
        usage: int = 0,
        above: int | None = None,
        **stat: int,
    ) -> None:
        fields = {"cache": 0, "hierarchical_memory_limit": limit if above is None else above}
        fields |= {f"total_{name}": value for name, value in stat.items()}
        self.write(f"{directory}/memory.limit_in_bytes", f"{limit}\n")
        self.write(f"{directory}/memory.usage_in_bytes", f"{usage}\n")
        self.write(
            f"{directory}/memory.stat", "".join(f"{name} {value}\n" for name, value in fields.items())
        )
        self.write(f"{directory}/cgroup.event_control", "")
        self.write(f"{directory}/memory.pressure_level", "")

    def memory(self, limit: int | None = None) -> Memory:
        memory = Memory(limit=limit, root=str(self.root), timer=lambda: self.now)
        self.opened.append(memory)
        return memory


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Machine]]:
    """Return a function that gives a machine out of a recorded tree, "" for one with nothing but a host."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda which: unlimited)
    monkeypatch.delenv("MEMORY_PRESSURE_WATCH", raising=False)
    monkeypatch.delenv("MEMORY_PRESSURE_WRITE", raising=False)
    made: list[Machine] = []

    def make(name: str = "") -> Machine:
        root = tmp_path / f"machine{len(made)}"
        if name:
            shutil.copytree(RECORDED / name, root)
            for file in root.rglob("*"):
                file.chmod(0o755 if file.is_dir() else 0o644)
        made.append(Machine(root))
        if not name:
            made[-1].meminfo(1 << 40, 1 << 40)
            made[-1].statm(200 * MIB, 50 * MIB, 100 * MIB)
            made[-1].mount("22 1 0:21 / /proc rw - proc proc rw")
            made[-1].cgroup()
        return made[-1]

    yield make
    for each in made:
        for memory in each.opened:
            memory.close()


@pytest.fixture
def small(machine: Callable[..., Machine]) -> Machine:
    """A machine with one limited v2 group, /a."""
    m = machine()
    m.mount("30 1 0:29 / /cg rw - cgroup2 cgroup2 rw")
    m.cgroup("0::/a")
    m.v2("/cg/a", max=100 * MIB, current=60 * MIB)
    return m


class Kernel:
    """Makes system calls on chosen files fail, as a kernel or a container would."""

    def __init__(self) -> None:
        self.rules: dict[tuple[str, str], int] = {}
        self.armed: list[tuple[str, int, int]] = []
        self.privileged = True
        self.window_step = 2_000_000

    def refuse(self, call: str, ending: str, code: int) -> None:
        """From now on `call` ("open", "pread", "write") fails with `code` on paths that end in `ending`."""
        self.rules[call, ending] = code

    def allow(self) -> None:
        self.rules.clear()

    def check(self, call: str, path: str) -> None:
        for (which, ending), code in self.rules.items():
            if which == call and path.endswith(ending):
                raise OSError(code, os.strerror(code), path)

    def psi_write(self, path: str, given: bytes) -> None:
        """Arm as psi_write() and psi_trigger_create() in kernel/sched/psi.c do."""
        buffer = bytearray(given[:32])
        buffer[-1] = 0
        words = bytes(buffer).split(b"\0")[0].split()
        if len(words) != 3 or words[0] not in (b"some", b"full"):
            raise OSError(errno.EINVAL, "unintelligible", path)
        stall, window = int(words[1]), int(words[2])
        if not 500_000 <= window <= 10_000_000 or not 0 < stall <= window:
            raise OSError(errno.EINVAL, "out of range", path)
        if not self.privileged and window % self.window_step:
            raise OSError(errno.EINVAL, "not a multiple of 2 s", path)
        self.armed.append((path, stall, window))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    real_open, real_pread, real_write = os.open, os.pread, os.write

    def path_of(fd: int) -> str:
        try:
            return os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            return ""

    def fake_open(path: str, flags: int, *rest: int, **keywords: int) -> int:
        kernel.check("open", str(path))
        return real_open(path, flags, *rest, **keywords)

    def fake_pread(fd: int, size: int, at: int) -> bytes:
        kernel.check("pread", path_of(fd))
        return real_pread(fd, size, at)

    def fake_write(fd: int, data: bytes) -> int:
        path = path_of(fd)
        kernel.check("write", path)
        if path.endswith(("memory.pressure", "pressure/memory")):
            kernel.psi_write(path, bytes(data))
            return len(data)  # and leave the file's text, as the kernel does
        return real_write(fd, data)

    monkeypatch.setattr(os, "open", fake_open)
    monkeypatch.setattr(files, "_pread", None)  # which a test cannot stand in for
    monkeypatch.setattr(os, "pread", fake_pread)
    monkeypatch.setattr(os, "write", fake_write)
    return kernel


def source(survey: Survey, name: str) -> SourceState:
    """Return the one state of that name."""
    (found,) = [state for state in survey.sources if state.name == name]
    return found


def wakeup(survey: Survey, ending: str) -> WakeupState:
    """Return the one wake-up whose path ends so."""
    (found,) = [state for state in survey.wakeups if state.path.endswith(ending)]
    return found


@pytest.fixture
def source_named() -> Callable[[Survey, str], SourceState]:
    return source


@pytest.fixture
def wakeup_at() -> Callable[[Survey, str], WakeupState]:
    return wakeup
