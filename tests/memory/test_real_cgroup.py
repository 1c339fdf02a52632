"""The same on a real kernel: a child in a cgroup of its own, v1 or v2, as the machine permits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ebbcache.memory.mounts import locate, parse_cgroup, parse_mountinfo, read_whole

pytestmark = pytest.mark.cgroup
MIB = 1 << 20


class Group:
    """A real cgroup, removed at the end of its test."""

    def __init__(self, directory: str, v2: bool) -> None:
        self.directory = directory
        self.v2 = v2
        self.name = ""
        os.mkdir(directory)

    def limit(self, amount: int) -> None:
        Path(self.directory, "memory.max" if self.v2 else "memory.limit_in_bytes").write_text(str(amount))

    def high(self, amount: int) -> None:
        Path(self.directory, "memory.high").write_text(str(amount))

    def adopt(self, pid: int) -> None:
        Path(self.directory, "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        for _ in range(100):
            try:
                os.rmdir(self.directory)
                return
            except FileNotFoundError:
                return
            except OSError:  # busy for as long as a process is on its way out
                time.sleep(0.02)


class Child:
    """The inmate's other end."""

    def __init__(self, group: Group) -> None:
        code = str(Path(__file__).with_name("inmate.py"))
        self.process = subprocess.Popen(
            [sys.executable, code, group.directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __getattr__(self, command: str) -> Callable[..., Any]:
        def ask(*arguments: Any) -> Any:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.write(json.dumps([command, *arguments]) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())

        return ask


def home(v2: bool) -> str:
    """Return a directory to make groups in that can be limited; skips the test if there is none."""
    paths = parse_cgroup(read_whole("/proc/self/cgroup"))
    mounts = [m for m in parse_mountinfo(read_whole("/proc/self/mountinfo")) if m.v1 is not v2]
    place = locate(paths[0 if v2 else 1], mounts, "")
    if place is None:
        pytest.skip(f"no cgroup {'v2' if v2 else 'v1 memory'} hierarchy here")
    for _, directory in reversed(
        place.levels
    ):  # the top: a group with processes cannot have limited children
        if v2:
            with open(f"{directory}/cgroup.subtree_control") as file:
                if "memory" not in file.read().split():
                    continue
        if os.access(f"{directory}/cgroup.procs", os.W_OK):
            return directory
    pytest.skip(f"no cgroup {'v2 with the memory controller' if v2 else 'v1'} that may be written to")


@pytest.fixture(params=["v1", "v2"])
def new_group(request: pytest.FixtureRequest) -> Iterator[Callable[[], Group]]:
    v2 = request.param == "v2"
    top = home(v2)
    groups: list[Group] = []

    def make() -> Group:
        try:
            group = Group(f"{top}/ebbcache_test_{os.getpid()}_{len(groups)}", v2)
        except OSError as error:
            pytest.skip(f"cannot make a cgroup in {top}: {error}")
        groups.append(group)
        return group

    yield make
    for group in groups:
        group.remove()


@pytest.fixture
def group(new_group: Callable[[], Group]) -> Group:
    group = new_group()
    group.limit(96 * MIB)
    return group


@pytest.fixture
def child(group: Group) -> Iterator[Child]:
    child = Child(group)
    yield child
    child.process.kill()
    child.process.communicate()


def test_a_reading_sees_the_limit_and_what_is_used(group: Group, child: Child) -> None:
    before = child.read()
    assert before["limit"] == 96 * MIB
    assert os.path.basename(group.directory) in before["source"]
    assert before["source"].startswith("cgroup v2" if group.v2 else "cgroup v1")
    child.take(32)
    during = child.read()
    assert 30 * MIB <= during["usage"] - before["usage"] <= 36 * MIB
    assert during["headroom"] == during["limit"] - during["usage"]
    child.give()
    assert child.read()["usage"] <= before["usage"] + 4 * MIB


@pytest.fixture
def big_file(tmp_path: Path) -> str:
    """A file of 20 MiB or more whose page cache is clean, on a file system that has one."""
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", tmp_path], capture_output=True, text=True
    ).stdout.strip()
    if kind != "tmpfs":
        path = tmp_path / "big"
        with open(path, "wb") as file:
            for _ in range(32):
                file.write(os.urandom(MIB))
            file.flush()
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return str(path)
    # Some big file of the installation that nobody maps: what another group has in memory is not charged to
    # ours.
    mapped = Path("/proc/self/maps").read_text()
    for root in (sys.base_prefix, sys.prefix):
        for found in Path(root, "lib").rglob("*"):
            if found.is_file() and found.stat().st_size > 20 * MIB and str(found) not in mapped:
                return str(found)
    pytest.skip("nothing but tmpfs to write to and no big file to read")


@pytest.mark.parametrize("times", [1, 4])
def test_page_cache_is_not_usage(group: Group, child: Child, big_file: str, times: int) -> None:
    """Read once it is inactive, read again and again it is active: the kernel can drop it either way."""
    before = child.read()["usage"]
    child.cache(big_file, times)
    file = "memory.current" if group.v2 else "memory.usage_in_bytes"
    assert int(Path(group.directory, file).read_text()) > before + 16 * MIB
    assert child.read()["usage"] <= before + 6 * MIB


def test_shared_memory_is_usage(group: Group, child: Child) -> None:
    before = child.read()["usage"]
    child.shared(24)
    assert child.read()["usage"] >= before + 22 * MIB


def test_a_limit_that_is_lowered_is_seen(group: Group, child: Child) -> None:
    assert child.read()["limit"] == 96 * MIB
    group.limit(64 * MIB)
    deadline = time.monotonic() + 20
    while child.read()["limit"] != 64 * MIB:
        assert time.monotonic() < deadline
        child.wait(0.05)


def test_a_limit_on_an_ancestor(group: Group, new_group: Callable[[], Group]) -> None:
    if group.v2:
        Path(group.directory, "cgroup.subtree_control").write_text("+memory")
    inner = Group(f"{group.directory}/inner", group.v2)
    child = Child(inner)
    try:
        reading = child.read()
        assert reading["limit"] == 96 * MIB
        assert reading["source"].endswith(os.path.basename(group.directory))
        names = [state["name"] for state in child.survey()["sources"] if state["name"].endswith("/inner")]
        assert len(names) == 1
    finally:
        child.process.kill()
        child.process.communicate()
        inner.remove()


def test_a_process_whose_group_vanishes_is_followed(
    group: Group, child: Child, new_group: Callable[[], Group]
) -> None:
    """Moved and its group removed: files answer ENODEV, PSI and eventfds report it."""
    before = {state["path"] for state in child.survey()["wakeups"] if state["armed"]}
    assert any(path.startswith(group.directory) for path in before)
    other = new_group()
    other.limit(80 * MIB)
    other.adopt(child.process.pid)
    group.remove()
    assert not os.path.exists(group.directory)
    assert child.read()["limit"] == 80 * MIB
    child.wait(0.3)
    survey = child.survey()
    armed = {state["path"] for state in survey["wakeups"] if state["armed"]}
    assert any(path.startswith(other.directory) for path in armed)
    assert not any(path.startswith(group.directory) for path in armed)
    assert survey["reading"]["source"].endswith(os.path.basename(other.directory))


def test_the_wait_itself_notices_that_the_group_vanished(
    group: Group, child: Child, new_group: Callable[[], Group]
) -> None:
    """Nobody reads: what is waited for must give it away (POLLERR, or the eventfd's signal)."""
    child.wait(0)
    other = new_group()
    other.limit(80 * MIB)
    other.adopt(child.process.pid)
    group.remove()
    child.wait(0.2)
    armed = {state["path"] for state in child.survey()["wakeups"] if state["armed"]}
    assert any(path.startswith(other.directory) for path in armed)
    assert child.read()["limit"] == 80 * MIB


def test_coming_near_the_limit_ends_a_wait(group: Group, child: Child) -> None:
    """v1 has thresholds on usage; v2 tells when memory.high is crossed."""
    if group.v2:
        group.high(64 * MIB)
        assert child.wait_taking(20, 66, ["memory.events"]) == "memory.events"
    else:
        assert child.wait_taking(20, 80, ["usage_threshold"]) == "usage_threshold"


def test_stalls_end_a_wait(group: Group, child: Child) -> None:
    """Above memory.high the kernel makes a process wait, which is what PSI measures."""
    if not group.v2:
        pytest.skip("v1 has no memory.high to be stalled by")
    group.high(48 * MIB)
    assert child.wait_taking(30, 70, ["psi"]) == "psi"


def test_a_soft_ceiling(group: Group, child: Child) -> None:
    if not group.v2:
        pytest.skip("v1 has no memory.high")
    group.high(60 * MIB)
    child.wait(0.6)
    reading = child.read()
    assert (reading["soft"], reading["limit"]) == (True, 60 * MIB)
    assert reading["hard_headroom"] == reading["headroom"] + 36 * MIB
