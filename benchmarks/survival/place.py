"""Memory cgroups of our own, v1 and v2 behind one face: made, limited, sampled, removed.

After the kernel's Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst. A group is made right
under the root of its hierarchy (or under another one of ours) and nothing else is ever written to. Headroom
is the limit less usage, where page cache that the kernel drops first does not count as used.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

V1 = Path("/sys/fs/cgroup/memory")
V2 = Path("/sys/fs/cgroup")
_numbers = itertools.count(1)


def version() -> int:
    """Return which version has the memory controller here: 1, 2, or 0 for neither."""
    if (V1 / "memory.limit_in_bytes").exists():
        return 1
    controllers = V2 / "cgroup.controllers"
    return 2 if controllers.exists() and "memory" in controllers.read_text().split() else 0


def fields(path: Path) -> dict[str, int]:
    """Return what a file of "name number" lines says; nothing where there is no such file."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {name: int(number) for name, number in (line.split()[:2] for line in lines) if number.isdigit()}


class Group:
    """One memory cgroup; `limit` None: none of its own."""

    def __init__(self, limit: int | None, above: Group | None = None) -> None:
        self.version = version()
        if not self.version:
            raise OSError("no memory controller at /sys/fs/cgroup")
        root = above.path if above else (V1 if self.version == 1 else V2)
        if self.version == 2:
            control = root / "cgroup.subtree_control"
            if "memory" not in control.read_text().split():
                control.write_text("+memory")
        self.path = root / f"ebb_surv_{os.getpid()}_{next(_numbers)}"
        self.path.mkdir()
        self.above = above
        self.limit: int | None = None
        if limit is not None:
            try:
                self.set_limit(limit)
            except OSError:
                self.path.rmdir()
                raise

    def set_limit(self, limit: int) -> None:
        """Set the limit, without swap. Raises OSError where v1 will not go below the usage."""
        if self.version == 1:
            names = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
            if self.limit is not None and limit > self.limit:
                names.reverse()  # memory and swap together may never be less than memory
            for name in names:
                if (self.path / name).exists():
                    (self.path / name).write_text(str(limit))
        else:
            (self.path / "memory.max").write_text(str(limit))
            if (self.path / "memory.swap.max").exists():
                (self.path / "memory.swap.max").write_text("0")
        self.limit = limit

    def enter(self, pid: int) -> None:
        (self.path / "cgroup.procs").write_text(str(pid))

    def sample(self) -> dict[str, Any]:
        """Return limit, usage (less droppable page cache), file pages, kills and stalls at this moment."""
        if self.version == 1:
            usage = int((self.path / "memory.usage_in_bytes").read_text())
            stat = fields(self.path / "memory.stat")
            file = stat["total_cache"]
            active = max(0, stat["total_active_file"] - stat["total_mapped_file"])
            clean = stat["total_inactive_file"] + active - stat["total_dirty"] - stat["total_writeback"]
        else:
            usage = int((self.path / "memory.current").read_text())
            stat = fields(self.path / "memory.stat")
            file = stat["file"]
            active = max(0, stat["active_file"] - stat["file_mapped"])
            clean = stat["inactive_file"] + active - stat["file_dirty"] - stat["file_writeback"]
        found = {
            "limit": self.limit or (self.above.limit if self.above else 0),
            "usage": usage - max(0, clean),
            "file": file,
            "kills": self.kills(),
        }
        stalled = self._stalled()
        return found if stalled is None else found | {"stalled": stalled}

    def kills(self) -> int:
        """Return how many processes the kernel killed here for want of memory."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        return fields(self.path / name).get("oom_kill", 0)

    def _stalled(self) -> float | None:
        """Return the seconds in which something here waited for memory (PSI), where that is counted."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int((self.path / "memory.pressure").read_text().split("total=")[1].split()[0]) / 1e6
        return None

    def remove(self) -> None:
        for _ in range(100):
            try:
                self.path.rmdir()
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                time.sleep(0.02)  # the kernel takes a moment to let go of a process that it killed
            else:
                return


@contextlib.contextmanager
def group(limit: int | None, above: Group | None = None) -> Iterator[Group]:
    """A group for as long as the block runs."""
    made = Group(limit, above)
    try:
        yield made
    finally:
        made.remove()
