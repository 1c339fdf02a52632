"""cgroup v1: one source for every ancestor whose limit holds for this process.

After the kernel's Documentation/admin-guide/cgroup-v1/memory.rst. Usage is fuzzy by some pages a CPU
(charges are taken in batches), always towards more. `hierarchical_memory_limit` also tells of limits on
ancestors that a container cannot see. Bound: two `pread`s a limited level, none for an unlimited one
between two refreshes.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence

from ebbcache.memory.files import Kept, excuse, identity, number_after
from ebbcache.memory.mounts import Place
from ebbcache.memory.pagecache import PageCache
from ebbcache.memory.reading import Ceiling, Missing, Source

UNLIMITED = 1 << 60
"""From here on a v1 limit means none: the kernel prints LONG_MAX rounded to a page, 9223372036854771712."""


def droppable(stat: bytes) -> int:
    """Return the bytes of usage_in_bytes that the kernel gives up before it kills, from v1's memory.stat.

    Counted: `total_inactive_file` and `total_active_file` as far as it is not mapped (`total_mapped_file`).
    Taken off: `total_dirty` and `total_writeback`. `total_` because usage counts the whole subtree. Why
    these: see `ebbcache.memory.cgroup2.droppable`; v1's memory.stat says nothing of slab, so none is
    counted.
    """
    active = number_after(stat, b"\ntotal_active_file ") - number_after(stat, b"\ntotal_mapped_file ")
    clean = (
        number_after(stat, b"\ntotal_inactive_file ")
        + (active if active > 0 else 0)
        - number_after(stat, b"\ntotal_dirty ")
        - number_after(stat, b"\ntotal_writeback ")
    )
    return clean if clean > 0 else 0


class Level(Source):
    """One v1 memory cgroup. `topmost`: what is above cannot be seen, so its limits count as this one's."""

    def __init__(self, group: str, directory: str, topmost: bool) -> None:
        super().__init__(f"cgroup v1 {group}", directory)
        self.directory = directory
        self.shared = identity(directory)
        self._topmost = topmost
        self._limit_file = Kept(f"{directory}/memory.limit_in_bytes")
        self._usage = Kept(f"{directory}/memory.usage_in_bytes")
        self._stat = Kept(f"{directory}/memory.stat")
        self._cache = PageCache(self._stat, droppable)
        self.limit: int | None = None
        self.refresh()

    @property
    def limited(self) -> bool:
        """Whether there is a ceiling here."""
        return self.limit is not None

    def refresh(self) -> bool:
        """Read the limit again, and at the top what holds above it."""
        was = self.limit
        limit = int(self._limit_file.read(64))
        if self._topmost:
            above = number_after(self._stat.read(), b"\nhierarchical_memory_limit ")
            limit = min(limit, above or limit)
        self.limit = limit if 0 <= limit < UNLIMITED else None
        return was != self.limit

    def ceilings(self, now: float | None = None) -> Sequence[Ceiling]:
        """Return the limit against usage less what is droppable."""
        limit = self.limit
        if limit is None:
            return ()
        usage = self._cache.less(int(self._usage.read(64)), limit, now)
        return ((limit, usage, False),)

    def kept(self) -> Iterable[Kept]:
        """Return the files of the group."""
        return (self._limit_file, self._usage, self._stat)


def _hierarchical(directory: str) -> bool:
    """Whether the group's limit holds for its children: always since Linux 5.11, by choice before."""
    try:
        with open(f"{directory}/memory.use_hierarchy", "rb") as file:
            return file.read(8).strip() != b"0"
    except OSError:
        return True


def find(place: Place | None) -> tuple[list[Level], list[Missing]]:
    """Return the levels whose limit holds, the process's own group first, and what is not to be had."""
    name = "cgroup v1"
    if place is None:
        return [], [Missing(name, "", "no cgroup v1 memory hierarchy is mounted")]
    reach = [place.levels[0]]
    for group, directory in place.levels[1:]:
        if not _hierarchical(directory):
            break
        reach.append((group, directory))
    levels: list[Level] = []
    missing: list[Missing] = []
    for group, directory in reversed(reach):
        try:
            level = Level(group, directory, topmost=not levels)
        except OSError as error:
            gone = error.errno == errno.ENOENT
            why = "no memory controller on it" if gone else excuse(error)
            missing.append(Missing(f"{name} {group}", str(error.filename or directory), why))
        except ValueError as error:
            missing.append(Missing(f"{name} {group}", directory, excuse(error)))
        else:
            level.note = place.note
            levels.append(level)
    return levels[::-1], missing
