"""Where this process's cgroups are: /proc/self/cgroup joined with /proc/self/mountinfo.

Formats after the kernel's Documentation/filesystems/proc.rst (3.5) and cgroups(7). The two files disagree
wherever namespaces or bind mounts are at work, so the path that one states is only believed as far as the
other's mount shows it. Bound: a lookup opens two files and looks at as many directories as the path has
parts.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

_OCTAL = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted cgroup hierarchy: `root` is the cgroup that `point` shows, `v1` tells the version."""

    root: str
    point: str
    v1: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A cgroup as this process can see it, and its ancestors up to the mount's root.

    `levels` are (cgroup path, directory) from the process's own group upwards; `note` says where the lookup
    had to settle for less than what /proc/self/cgroup states.
    """

    levels: tuple[tuple[str, str], ...]
    note: str | None = None


def read_whole(path: str) -> bytes:
    """Return all of a /proc file, however long; raises OSError."""
    with open(path, "rb", buffering=0) as file:
        return file.readall()


def unescape(field: bytes) -> str:
    r"""Return a mountinfo field as a path: the kernel writes space, tab, newline, # and \ in octal.

    >>> unescape(rb"/with\040space")
    '/with space'
    """
    return os.fsdecode(_OCTAL.sub(lambda match: bytes([int(match[1], 8) & 255]), field))


def parse_mountinfo(text: bytes) -> list[Mount]:
    """Return the cgroup2 mounts and those cgroup (v1) mounts that carry the memory controller, in order."""
    mounts: list[Mount] = []
    for line in text.splitlines():
        fields = line.split(b" ")
        try:
            dash = fields.index(b"-", 6)
            root, point, kind, options = fields[3], fields[4], fields[dash + 1], fields[dash + 3]
        except (ValueError, IndexError):
            continue
        if kind == b"cgroup2" or (kind == b"cgroup" and b"memory" in options.split(b",")):
            mounts.append(Mount(unescape(root), unescape(point), kind == b"cgroup"))
    return mounts


def parse_cgroup(text: bytes) -> tuple[str | None, str | None]:
    """Return the process's (v2 path, v1 memory path), None for a hierarchy that the file does not list.

    The path is whatever follows the second colon: it may hold colons of its own.

    >>> parse_cgroup(b"4:cpu,memory:/docker/a:b\\n0::/\\n")
    ('/', '/docker/a:b')
    """
    v2 = v1 = None
    for line in text.split(b"\n"):
        number, _, rest = line.partition(b":")
        controllers, colon, path = rest.partition(b":")
        if not colon:
            continue
        if number == b"0" and not controllers:
            v2 = os.fsdecode(path)
        elif b"memory" in controllers.split(b","):
            v1 = os.fsdecode(path)
    return v2, v1


def _below(path: str, root: str) -> str | None:
    """Return `path` relative to the cgroup `root` ('' for itself), None if it lies outside."""
    if ".." in path.split("/"):
        return None
    path, root = path.rstrip("/"), root.rstrip("/")
    if path == root:
        return ""
    return path[len(root) :] if path.startswith(root + "/") else None


def locate(path: str | None, mounts: list[Mount], prefix: str) -> Place | None:
    """Return where the cgroup `path` shows under one of `mounts`, all of one hierarchy; None without any.

    A path outside every mount (a cgroup namespace, a bind mount of a container's own group) means that the
    mount shows something else than our view of the hierarchy; its root then is the container's own group or
    an ancestor of it, and stands in. A path that does not exist (deleted, or hidden) gives way to its
    nearest visible ancestor. `prefix` goes before every mount point.
    """
    visible = {mount.point: mount for mount in mounts}  # a later mount covers an earlier one
    best: tuple[bool, int, int, Mount, str] | None = None
    for order, mount in enumerate(visible.values()):
        below = None if path is None else _below(path, mount.root)
        there = below is not None and os.path.isdir(prefix + mount.point + below)
        # Of several that show our group, the one that shows most of its ancestors.
        rank = (there, -len(mount.root) if there else int(below is not None), order)
        if best is None or rank > best[:3]:
            best = (*rank, mount, below or "")
    if best is None:
        return None
    there, _, _, mount, below = best
    base = prefix + mount.point
    note = None
    if path is None:
        note = f"/proc/self/cgroup does not say which group: took the root of the mount {mount.point}"
    elif _below(path, mount.root) is None:
        note = f"{path} lies outside the mount {mount.point} of {mount.root}: took the mount's root"
    elif not there:
        wanted = below
        while below and not os.path.isdir(base + below):
            below = below.rpartition("/")[0]
        note = f"{wanted or '/'} is not under {mount.point}: took {below or 'its root'}"
    levels: list[tuple[str, str]] = []
    root = mount.root.rstrip("/") if note is None or below else ""
    while True:
        levels.append((root + below or "/", (base + below).rstrip("/") or "/"))
        if not below:
            break
        below = below.rpartition("/")[0]
    return Place(tuple(levels), note)
