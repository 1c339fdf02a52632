"""Finding the process's cgroups in what /proc says, in every shape of container."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ebbcache.memory.mounts import Mount, locate, parse_cgroup, parse_mountinfo, unescape

MIB = 1 << 20


def test_cgroup_lines_of_every_kind() -> None:
    text = b"12:cpuset:/\n4:cpu,memory:/a\n1:name=systemd:/user\n0::/b\n"
    assert parse_cgroup(text) == ("/b", "/a")


def test_a_path_may_hold_colons() -> None:
    assert parse_cgroup(b"4:memory:/lxc/a:b::c\n0::/x:y\n") == ("/x:y", "/lxc/a:b::c")


def test_a_controller_whose_name_only_resembles_memory_is_none() -> None:
    assert parse_cgroup(b"5:memory_extra:/a\n1:name=memory:/b\n") == (None, None)


@pytest.mark.parametrize("text", [b"", b"\n", b"nonsense", b"4:memory", b"\xff\xfe:\n"])
def test_nonsense_lists_no_hierarchy(text: bytes) -> None:
    assert parse_cgroup(text) == (None, None)


@pytest.mark.parametrize(
    ("field", "path"),
    [
        (rb"/a\040b", "/a b"),
        (rb"/tab\011new\012line", "/tab\tnew\nline"),
        (rb"/back\134slash", "/back\\slash"),
        (rb"/back\134040slash", "/back\\040slash"),
        (rb"/hash\043", "/hash#"),
        (rb"/plain\0", "/plain\\0"),
        (b"/\xc3\xa4", "/ä"),
    ],
)
def test_mountinfo_writes_odd_characters_in_octal(field: bytes, path: str) -> None:
    assert unescape(field) == path


def test_mountinfo_with_optional_fields_and_without() -> None:
    text = (
        b"35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 master:2 - cgroup cgroup rw,memory\n"
        b"36 31 0:33 /a\\040- /mnt/c\\040d rw - cgroup2 none rw,nsdelegate\n"
        b"37 31 0:34 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        b"38 31 0:35 / /broken rw -\n"
        b"39 broken\n"
    )
    assert parse_mountinfo(text) == [
        Mount("/", "/sys/fs/cgroup/memory", True),
        Mount("/a -", "/mnt/c d", False),
    ]


def folders(root: Path, *paths: str) -> str:
    for path in paths:
        (root / path.lstrip("/")).mkdir(parents=True)
    return str(root)


def test_levels_go_from_the_process_to_the_mount(tmp_path: Path) -> None:
    prefix = folders(tmp_path, "/cg/a/b")
    place = locate("/a/b", [Mount("/", "/cg", False)], prefix)
    assert place is not None
    assert place.note is None
    assert place.levels == (("/a/b", f"{prefix}/cg/a/b"), ("/a", f"{prefix}/cg/a"), ("/", f"{prefix}/cg"))


def test_a_bind_mount_of_the_containers_own_group(tmp_path: Path) -> None:
    prefix = folders(tmp_path, "/cg/inner")
    place = locate("/docker/abc/inner", [Mount("/docker/abc", "/cg", True)], prefix)
    assert place is not None
    assert place.note is None
    assert place.levels == (("/docker/abc/inner", f"{prefix}/cg/inner"), ("/docker/abc", f"{prefix}/cg"))


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("/kubepods/pod1/c", "/docker/abc"),  # another branch
        ("/docker/abcdef", "/docker/abc"),  # the prefix of a name is not an ancestor
        ("/../sibling", "/"),  # moved out of its cgroup namespace
        ("/", "/../.."),  # mounted before the namespace was entered
    ],
)
def test_a_path_outside_the_mount_takes_the_mounts_root(tmp_path: Path, path: str, root: str) -> None:
    prefix = folders(tmp_path, "/cg/kubepods", "/sibling")
    place = locate(path, [Mount(root, "/cg", False)], prefix)
    assert place is not None
    assert [directory for _, directory in place.levels] == [f"{prefix}/cg"]
    assert place.note is not None
    assert "outside" in place.note
    assert path in place.note


def test_a_path_that_is_not_there_takes_its_nearest_ancestor(tmp_path: Path) -> None:
    prefix = folders(tmp_path, "/cg/a")
    place = locate("/a/gone (deleted)", [Mount("/", "/cg", False)], prefix)
    assert place is not None
    assert [directory for _, directory in place.levels] == [f"{prefix}/cg/a", f"{prefix}/cg"]
    assert place.note is not None
    assert "/a/gone (deleted)" in place.note


def test_a_path_of_the_host_in_a_mount_that_shows_only_the_container(tmp_path: Path) -> None:
    """Some runtimes show / as the mount's root though it is the container's group."""
    prefix = folders(tmp_path, "/cg")
    place = locate("/ecs/task/container", [Mount("/", "/cg", True)], prefix)
    assert place is not None
    assert [directory for _, directory in place.levels] == [f"{prefix}/cg"]


def test_of_two_mounts_the_one_that_shows_more_ancestors_wins(tmp_path: Path) -> None:
    prefix = folders(tmp_path, "/narrow/c", "/wide/a/b/c")
    mounts = [Mount("/", "/wide", False), Mount("/a/b", "/narrow", False)]
    for order in (mounts, mounts[::-1]):
        place = locate("/a/b/c", order, prefix)
        assert place is not None
        assert len(place.levels) == 4


def test_of_two_mounts_the_one_that_shows_us_at_all_wins(tmp_path: Path) -> None:
    prefix = folders(tmp_path, "/mine/c", "/theirs")
    mounts = [Mount("/a", "/mine", False), Mount("/other", "/theirs", False)]
    for order in (mounts, mounts[::-1]):
        place = locate("/a/c", order, prefix)
        assert place is not None
        assert place.levels[0] == ("/a/c", f"{prefix}/mine/c")


def test_a_later_mount_covers_an_earlier_one(tmp_path: Path) -> None:
    prefix = folders(tmp_path, "/cg/c")
    place = locate("/b/c", [Mount("/a", "/cg", False), Mount("/b", "/cg", False)], prefix)
    assert place is not None
    assert place.levels[0][0] == "/b/c"


def test_nothing_mounted() -> None:
    assert locate("/", [], "") is None


def test_names_with_spaces_and_colons_end_to_end(machine: Callable[..., Any]) -> None:
    m = machine()
    m.mount(r"30 1 0:29 / /my\040mounts/c:g rw - cgroup2 cgroup2 rw")
    m.cgroup("0::/a:b/c d")
    m.v2("/my mounts/c:g/a:b/c d", max=100 * MIB, current=40 * MIB)
    reading = m.memory().read()
    assert (reading.limit, reading.usage, reading.source) == (100 * MIB, 40 * MIB, "cgroup v2 /a:b/c d")


def test_without_mountinfo_the_usual_places_are_tried(machine: Callable[..., Any], kernel: Any) -> None:
    m = machine()
    m.cgroup("0::/a")
    m.v2("/sys/fs/cgroup/a", max=100 * MIB, current=40 * MIB)
    m.remove("/proc/self/mountinfo")
    memory = m.memory()
    assert memory.read().limit == 100 * MIB
    assert any(state.path.endswith("mountinfo") and state.error for state in memory.survey().sources)


def test_without_proc_self_cgroup_the_mounts_root_stands_in(
    machine: Callable[..., Any], source_named: Callable[..., Any]
) -> None:
    m = machine()
    m.remove("/proc/self/cgroup")
    m.mount("30 1 0:29 / /cg rw - cgroup2 cgroup2 rw")
    m.v2("/cg", max=100 * MIB, current=40 * MIB)
    memory = m.memory()
    assert memory.read().headroom == 60 * MIB
    assert "does not say" in source_named(memory.survey(), "cgroup v2 /").note
