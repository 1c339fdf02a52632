"""Real places with 256 MiB: a cgroup v1, a cgroup v2, and a guest machine that has nothing but v2.

A place runs one command inside and says how that ended and how often the kernel had to kill there. The
child enters its cgroup before it starts Python, so that every page it ever touches counts.

The guest is a script that `EBBCACHE_GUEST` names, called as

    script -x 256M -m 768 -t SECONDS -d FOLDER -o FOLDER -- command...

which runs the command in a cgroup v2 limited by `-x` in a machine of `-m` MiB, ends with its exit code, and
leaves that cgroup's memory.events in the folder given by `-o`.
"""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

LIMIT = 256 * 1024 * 1024
SECONDS = 100
V1 = Path("/sys/fs/cgroup/memory")
V2 = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Ran:
    """How a command ended; `killed` is by SIGKILL, `kills` counts the kernel's out-of-memory kills."""

    code: int
    output: str
    errors: str
    kills: int

    @property
    def killed(self) -> bool:
        return self.code in (-9, 137)


class Place(Protocol):
    pace: str

    def run(self, command: list[str], environment: dict[str, str]) -> Ran: ...


class Cgroup:
    """A cgroup directory; `counter` is the file in it that counts kills."""

    pace = "machine"

    def __init__(self, path: Path, counter: str) -> None:
        self.path = path
        self._counter = path / counter

    def kills(self) -> int:
        fields = dict(line.split() for line in self._counter.read_text().splitlines())
        return int(fields["oom_kill"])

    def run(self, command: list[str], environment: dict[str, str]) -> Ran:
        before = self.kills()
        done = subprocess.run(
            ["/bin/sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh", *command],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=os.environ | environment,
        )
        return Ran(done.returncode, done.stdout, done.stderr, self.kills() - before)


# In a guest where nothing else runs Python, all pages of its files would be charged to the one program,
# and a kernel that is out of memory would go on for minutes dropping and re-reading those before it kills.
# So, as where programs share files, a first copy of the program stays outside the cgroup, asleep.
SHARE = """
home=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)
echo $$ > /sys/fs/cgroup/cgroup.procs
"$1" -c 'import runpy, sys, time
sys.argv = [*sys.argv[2:], "--seconds", "1"]
runpy.run_path(sys.argv[0], run_name="__main__")
sys.stdout.flush()
time.sleep(1000)' "$@" > /run/shared &
while kill -0 $! && ! [ -s /run/shared ]; do sleep 0.1; done
echo $$ > "$home/cgroup.procs" && exec "$@"
"""


class Guest:
    pace = "guest"

    def __init__(self, script: str) -> None:
        self._script = script

    def run(self, command: list[str], environment: dict[str, str]) -> Ran:
        with tempfile.TemporaryDirectory() as folder:
            options = ["-x", "256M", "-m", "768", "-t", str(SECONDS), "-d", os.getcwd(), "-o", folder]
            settings = [f"{name}={value}" for name, value in environment.items()]
            done = subprocess.run(
                [self._script, *options, "--", "env", *settings, "sh", "-c", SHARE, "sh", *command],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS + 15,
            )
            events = Path(folder, "memory.events")
            lines = events.read_text().splitlines() if events.exists() else []
            fields = dict(line.split() for line in lines)
        return Ran(done.returncode, done.stdout, done.stderr, int(fields.get("oom_kill", 0)))


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """The place that the test's parameter names, or a skip that says why there is none."""
    if request.param == "guest":
        script = os.environ.get("EBBCACHE_GUEST")
        if not script:
            pytest.skip("EBBCACHE_GUEST names no script that runs a command in a guest machine")
        yield Guest(script)
        return
    cgroup = _cgroup1() if request.param == "v1" else _cgroup2()
    try:
        yield cgroup
    finally:
        _remove(cgroup.path)


def _cgroup1() -> Cgroup:
    path = V1 / f"ebb_survival_{os.getpid()}"
    if not (V1 / "memory.limit_in_bytes").exists():
        pytest.skip("no cgroup v1 memory controller here")
    try:
        path.mkdir()
        _write(path / "memory.limit_in_bytes", LIMIT)
    except OSError as error:
        _give_up(path, error)
    # Swap would let the control run live on, slowly; without swap accounting the file is not there.
    if (path / "memory.memsw.limit_in_bytes").exists():
        _write(path / "memory.memsw.limit_in_bytes", LIMIT)
    return Cgroup(path, "memory.oom_control")


def _cgroup2() -> Cgroup:
    if not (V2 / "cgroup.controllers").exists():
        pytest.skip("no cgroup v2 hierarchy at /sys/fs/cgroup")
    if "memory" not in (V2 / "cgroup.controllers").read_text().split():
        pytest.skip("the cgroup v2 hierarchy has no memory controller")
    path = V2 / f"ebb_survival_{os.getpid()}"
    try:
        if "memory" not in (V2 / "cgroup.subtree_control").read_text().split():
            (V2 / "cgroup.subtree_control").write_text("+memory")
        path.mkdir()
        _write(path / "memory.max", LIMIT)
    except OSError as error:
        _give_up(path, error)
    if (path / "memory.swap.max").exists():
        _write(path / "memory.swap.max", 0)
    return Cgroup(path, "memory.events")


def _write(path: Path, number: int) -> None:
    path.write_text(str(number))


def _give_up(path: Path, error: OSError) -> None:
    if path.exists():
        path.rmdir()
    pytest.skip(f"cannot make a memory-limited cgroup here: {error}")


def _remove(path: Path) -> None:
    for _ in range(50):
        try:
            path.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.02)  # the kernel takes a moment to let go of a process that it killed
        else:
            return
