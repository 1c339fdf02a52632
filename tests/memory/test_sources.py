"""What each source makes of the kernel's files: limits, usage without what can be dropped, and headroom."""

from __future__ import annotations

import resource
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from ebbcache.memory import Memory, Reading

MIB = 1 << 20
GIB = 1 << 30
V2 = "30 1 0:29 / /cg rw - cgroup2 cgroup2 rw"
V1 = "31 1 0:30 / /cg rw - cgroup cgroup rw,memory"

Make = Callable[..., Any]


# -- recorded machines ---------------------------------------------------------------------------------


def test_a_hybrid_host_whose_v2_has_no_memory_controller(machine: Make, source_named: Make) -> None:
    m = machine("hybrid")
    memory = m.memory()
    survey = memory.survey()
    assert source_named(survey, "cgroup v2 /").error == "no memory controller on it"
    for group in ("/runner/job-7", "/runner", "/"):
        state = source_named(survey, f"cgroup v1 {group}")
        assert state.limit is None  # 9223372036854771712
        assert state.error is None
    assert memory.read().source == "host"
    assert memory.read().limit == 24684096 * 1024


def test_a_hybrid_host_with_a_limit_on_an_ancestor(machine: Make, source_named: Make) -> None:
    m = machine("hybrid")
    m.v1("/sys/fs/cgroup/memory/runner", limit=200 * MIB, usage=150 * MIB)
    memory = m.memory()
    assert memory.read() == Reading(200 * MIB, 150 * MIB, 50 * MIB, "cgroup v1 /runner")
    assert source_named(memory.survey(), "cgroup v1 /runner").binding
    assert not source_named(memory.survey(), "host").binding


def test_a_unified_host(machine: Make, source_named: Make) -> None:
    m = machine("unified")
    memory = m.memory()
    reading = memory.read()
    group = "/sys/fs/cgroup/system.slice/app.service"
    fields = dict(line.split() for line in m.read(f"{group}/memory.stat").splitlines())
    current = int(m.read(f"{group}/memory.current"))
    assert reading.source == "cgroup v2 /system.slice/app.service"
    assert reading.limit == 128 * MIB
    assert reading.headroom == reading.limit - reading.usage
    assert current - int(fields["file"]) - int(fields["slab_reclaimable"]) <= reading.usage < current
    assert reading.usage >= int(fields["anon"])
    survey = memory.survey()
    assert source_named(survey, "cgroup v2 /system.slice").limit is None
    assert not [state for state in survey.sources if state.name == "cgroup v2 /"]
    assert source_named(survey, "cgroup v1").error == "no cgroup v1 memory hierarchy is mounted"


# -- cgroup v2 -----------------------------------------------------------------------------------------


def v2(machine: Make, path: str = "/a/b") -> Any:
    m = machine()
    m.mount(V2)
    m.cgroup(f"0::{path}")
    for level in ("/a", "/a/b"):
        m.v2(f"/cg{level}")
    return m


def test_v2_takes_the_nearest_of_all_ancestors(machine: Make) -> None:
    m = v2(machine)
    m.v2("/cg/a", max=500 * MIB, current=480 * MIB)
    m.v2("/cg/a/b", max=100 * MIB, current=10 * MIB)
    assert m.memory().read() == Reading(500 * MIB, 480 * MIB, 20 * MIB, "cgroup v2 /a")


def test_v2_max_means_no_limit(machine: Make, source_named: Make) -> None:
    m = v2(machine)
    m.v2("/cg/a/b", max="max", current=10 * MIB)
    memory = m.memory()
    assert memory.read().source == "host"
    state = source_named(memory.survey(), "cgroup v2 /a/b")
    assert (state.limit, state.usage, state.error) == (None, None, None)


def test_v2_limits_above_a_group_that_has_no_controller(machine: Make) -> None:
    """Delegation can end above us: no memory files in our own group, and the ancestor's limit holds."""
    m = v2(machine, "/a/b/c")
    m.write("/cg/a/b/c/cgroup.procs", "")
    m.v2("/cg/a", max=100 * MIB, current=70 * MIB)
    memory = m.memory()
    assert memory.read().headroom == 30 * MIB
    assert not [state for state in memory.survey().sources if state.name.endswith("/c")]


def test_v2_high_is_a_soft_ceiling_and_the_hard_one_is_told_too(machine: Make, source_named: Make) -> None:
    m = v2(machine)
    m.v2("/cg/a/b", max=120 * MIB, high=100 * MIB, current=110 * MIB)
    memory = m.memory()
    reading = memory.read()
    assert reading == Reading(100 * MIB, 110 * MIB, -10 * MIB, "cgroup v2 /a/b (high)", True, 10 * MIB)
    survey = memory.survey()
    assert source_named(survey, "cgroup v2 /a/b (high)").binding
    assert source_named(survey, "cgroup v2 /a/b (high)").soft
    assert not source_named(survey, "cgroup v2 /a/b").binding
    assert source_named(survey, "cgroup v2 /a/b").headroom == 10 * MIB


def test_v2_the_hard_headroom_is_the_least_of_all_sources(machine: Make) -> None:
    m = v2(machine)
    m.v2("/cg/a/b", high=100 * MIB, current=95 * MIB)
    m.v2("/cg/a", max=300 * MIB, current=250 * MIB)
    reading = m.memory().read()
    assert (reading.soft, reading.headroom, reading.hard_headroom) == (True, 5 * MIB, 50 * MIB)


def test_v2_a_high_above_max_never_binds(machine: Make) -> None:
    m = v2(machine)
    m.v2("/cg/a/b", max=100 * MIB, high=100 * MIB, current=90 * MIB)
    reading = m.memory().read()
    assert (reading.soft, reading.hard_headroom) == (False, None)


@pytest.mark.parametrize(
    ("stat", "droppable"),
    [
        ({"inactive_file": 30}, 30),
        ({"active_file": 30}, 30),
        ({"inactive_file": 10, "active_file": 30, "file_mapped": 20}, 20),
        ({"inactive_file": 10, "active_file": 30, "file_mapped": 90}, 10),
        ({"inactive_file": 30, "file_dirty": 10, "file_writeback": 5}, 15),
        ({"inactive_file": 3, "file_dirty": 10}, 0),
        ({"slab_reclaimable": 20}, 10),
        ({"file": 50, "shmem": 50, "inactive_anon": 50}, 0),  # tmpfs
        ({"file": 50, "unevictable": 50}, 0),  # mlocked
        ({}, 0),
    ],
)
def test_v2_what_can_be_dropped_is_not_usage(machine: Make, stat: dict[str, int], droppable: int) -> None:
    m = v2(machine)
    m.v2("/cg/a/b", max=100 * MIB, current=60 * MIB, **{name: value * MIB for name, value in stat.items()})
    assert m.memory().read().usage == (60 - droppable) * MIB


def test_v2_usage_is_never_negative(machine: Make) -> None:
    """current and stat are read one after the other, and stat lags behind."""
    m = v2(machine)
    m.v2("/cg/a/b", max=100 * MIB, current=1 * MIB, inactive_file=5 * MIB)
    assert m.memory().read().usage == 0


# -- cgroup v1 -----------------------------------------------------------------------------------------


def v1(machine: Make, path: str = "/a/b") -> Any:
    m = machine()
    m.mount(V1)
    m.cgroup(f"4:cpu,memory:{path}")
    for level in ("", "/a", "/a/b"):
        m.v1(f"/cg{level}")
    return m


def test_v1_takes_the_nearest_of_all_ancestors(machine: Make) -> None:
    m = v1(machine)
    m.v1("/cg/a", limit=500 * MIB, usage=480 * MIB)
    m.v1("/cg/a/b", limit=100 * MIB, usage=10 * MIB, above=100 * MIB)
    assert m.memory().read() == Reading(500 * MIB, 480 * MIB, 20 * MIB, "cgroup v1 /a")


@pytest.mark.parametrize("limit", [9223372036854771712, 9223372036854710272])  # pages of 4 KiB, of 64 KiB
def test_v1_unlimited(machine: Make, source_named: Make, limit: int) -> None:
    m = v1(machine)
    m.v1("/cg/a/b", limit=limit, usage=10 * MIB)
    memory = m.memory()
    assert memory.read().source == "host"
    assert source_named(memory.survey(), "cgroup v1 /a/b").limit is None


def test_v1_a_limit_on_an_ancestor_that_the_container_cannot_see(machine: Make) -> None:
    m = machine()
    m.mount("31 1 0:30 /docker/x /cg ro - cgroup cgroup rw,memory")
    m.cgroup("4:memory:/docker/x")
    m.v1("/cg", usage=60 * MIB, above=100 * MIB)
    assert m.memory().read() == Reading(100 * MIB, 60 * MIB, 40 * MIB, "cgroup v1 /docker/x")


def test_v1_a_parent_that_is_not_hierarchical_does_not_limit(machine: Make) -> None:
    m = v1(machine)
    m.v1("/cg/a", limit=50 * MIB, usage=49 * MIB)
    m.write("/cg/a/memory.use_hierarchy", "0\n")
    m.v1("/cg/a/b", limit=100 * MIB, usage=60 * MIB)
    assert m.memory().read().headroom == 40 * MIB


@pytest.mark.parametrize(
    ("stat", "droppable"),
    [
        ({"inactive_file": 10, "active_file": 30, "mapped_file": 20}, 20),
        ({"inactive_file": 30, "dirty": 10, "writeback": 5}, 15),
        ({"shmem": 50, "cache": 50}, 0),
        ({}, 0),
    ],
)
def test_v1_what_can_be_dropped_is_not_usage(machine: Make, stat: dict[str, int], droppable: int) -> None:
    m = v1(machine)
    m.v1("/cg/a/b", limit=100 * MIB, usage=60 * MIB, **{name: value * MIB for name, value in stat.items()})
    assert m.memory().read().usage == (60 - droppable) * MIB


# -- the host, the process -----------------------------------------------------------------------------


def test_host(machine: Make) -> None:
    m = machine()
    m.meminfo(8 * GIB, 3 * GIB)
    assert m.memory().read() == Reading(8 * GIB, 5 * GIB, 3 * GIB, "host")


def test_host_available_is_bounded_by_its_total(machine: Make) -> None:
    m = machine()
    m.meminfo(1 * GIB, 3 * GIB)
    assert m.memory().read() == Reading(1 * GIB, 0, 1 * GIB, "host")


def test_host_before_memavailable(machine: Make) -> None:
    m = machine()
    sizes = {"MemTotal": 1000, "MemFree": 300, "Buffers": 50, "Cached": 200, "SwapCached": 9, "Shmem": 40}
    m.write("/proc/meminfo", "".join(f"{name}: {kib} kB\n" for name, kib in sizes.items()))
    assert m.memory().read().headroom == 510 * 1024


@pytest.mark.parametrize(
    "text", ["", "MemTotal: 100 kB\n", "MemFree: 5 kB\n", "MemTotal: many kB\nMemAvailable: 1 kB\n"]
)
def test_host_that_makes_no_sense_is_an_error_and_not_plenty(
    machine: Make, source_named: Make, text: str
) -> None:
    m = machine()
    m.write("/proc/meminfo", text)
    memory = m.memory()
    assert memory.read() is None
    assert "not understood" in source_named(memory.survey(), "host").error


@pytest.mark.parametrize(("name", "usage"), [("RLIMIT_AS", 200 * MIB), ("RLIMIT_DATA", 100 * MIB)])
def test_resource_limits(machine: Make, monkeypatch: pytest.MonkeyPatch, name: str, usage: int) -> None:
    m = machine()
    memory = m.memory()
    assert memory.read().source == "host"
    which = getattr(resource, name)
    limits = {which: (256 * MIB, resource.RLIM_INFINITY)}
    nothing = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda asked: limits.get(asked, nothing))
    m.now += 1
    assert memory.read() == Reading(256 * MIB, usage, 256 * MIB - usage, name)


def test_the_users_own_limit_counts_the_resident_set(machine: Make) -> None:
    m = machine()
    memory = m.memory(limit=64 * MIB)
    assert memory.read() == Reading(64 * MIB, 50 * MIB, 14 * MIB, "limit")
    memory.set_limit(40 * MIB)
    assert memory.read().headroom == -10 * MIB
    memory.set_limit(None)
    assert memory.read().source == "host"


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_must_be_positive(limit: int) -> None:
    with pytest.raises(ValueError, match=f"limit.*{limit}"):
        Memory(limit=limit)


@pytest.mark.parametrize("limit", ["1 GiB", 1.5, True])
def test_a_limit_must_be_an_int(machine: Make, limit: Any) -> None:
    memory = machine().memory()
    with pytest.raises(TypeError, match="limit"):
        memory.set_limit(limit)
    assert memory.read().source == "host"


def test_statm_that_is_cut_short_is_an_error(machine: Make, source_named: Make) -> None:
    m = machine()
    m.write("/proc/self/statm", "1 2\n")
    memory = m.memory(limit=MIB)
    assert memory.read().source == "host"
    assert "not understood" in source_named(memory.survey(), "limit").error


# -- where there is no /proc ---------------------------------------------------------------------------


def test_psutil_stands_in(machine: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    m = machine()
    m.remove("/proc")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=8 * GIB, available=3 * GIB))
    info = SimpleNamespace(rss=70 * MIB, vms=400 * MIB)
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: info))
    memory = m.memory()
    assert memory.read() == Reading(8 * GIB, 5 * GIB, 3 * GIB, "host")
    memory.set_limit(100 * MIB)
    assert memory.read() == Reading(100 * MIB, 70 * MIB, 30 * MIB, "limit")


@pytest.mark.parametrize(
    "error", [psutil.AccessDenied(), NotImplementedError("here"), OSError(5, "broken")]
)
def test_psutil_that_fails_is_an_error(
    machine: Make, source_named: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail() -> None:
        raise error

    m = machine()
    m.remove("/proc")
    monkeypatch.setattr(psutil, "virtual_memory", fail)
    memory = m.memory()
    assert memory.read() is None
    assert source_named(memory.survey(), "host").error
