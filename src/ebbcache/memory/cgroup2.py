"""cgroup v2: one source for every ancestor that has a memory.max or memory.high.

After the kernel's Documentation/admin-guide/cgroup-v2.rst. A limit counts wherever it sits above the
process, and what counts against it is that group's whole subtree. Bound: two `pread`s a limited level,
none for an unlimited one between two refreshes.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence

from ebbcache.memory.files import Kept, excuse, identity, number_after
from ebbcache.memory.mounts import Place
from ebbcache.memory.pagecache import PageCache
from ebbcache.memory.reading import Ceiling, Missing, Source


def droppable(stat: bytes) -> int:
    """Return the bytes of memory.current that the kernel gives up before it kills, from v2's memory.stat.

    Counted: `inactive_file` (page cache that nobody came back to), `active_file` as far as it is not mapped
    (`file_mapped`), half of `slab_reclaimable`. Taken off: `file_dirty` and `file_writeback`, which must be
    written before they can go.

    Page cache that is read often is droppable all the same: kubelet's working set (usage less
    `inactive_file`) calls a container full that only read its files twice. Pages that are active *and*
    mapped are the program's code, libraries and mapped data at work; the kernel would drop them and fault
    them straight back, a stall that no cache is worth. `file_mapped` includes mapped shared memory, so this
    errs towards less. Slab pages are freed only when every object on them is, hence the half. Shared memory
    and tmpfs (`shmem`) sit on the anonymous lists and mlocked pages on the unevictable one; neither is in
    the fields above and neither can be dropped.
    """
    active = number_after(stat, b"\nactive_file ") - number_after(stat, b"\nfile_mapped ")
    clean = (
        number_after(stat, b"\ninactive_file ")
        + (active if active > 0 else 0)
        - number_after(stat, b"\nfile_dirty ")
        - number_after(stat, b"\nfile_writeback ")
    )
    return (clean if clean > 0 else 0) + number_after(stat, b"\nslab_reclaimable ") // 2


def _limit(text: bytes) -> int | None:
    return None if text.startswith(b"max") else int(text)


class Level(Source):
    """One v2 cgroup; opening raises FileNotFoundError if it has no limits to set (the root, for one)."""

    def __init__(self, group: str, directory: str) -> None:
        super().__init__(f"cgroup v2 {group}", directory)
        self.directory = directory
        self.shared = identity(directory)
        self._max_file = Kept(f"{directory}/memory.max")
        self._high_file = Kept(f"{directory}/memory.high")
        self._current = Kept(f"{directory}/memory.current")
        self._stat = Kept(f"{directory}/memory.stat")
        self._cache = PageCache(self._stat, droppable)
        self.max: int | None = None
        self.high: int | None = None
        self.refresh()

    @property
    def limited(self) -> bool:
        """Whether there is a ceiling here."""
        return self.max is not None or self.high is not None

    def refresh(self) -> bool:
        """Read memory.max and memory.high again."""
        was = self.max, self.high
        self.max = _limit(self._max_file.read(64))
        self.high = _limit(self._high_file.read(64))
        return was != (self.max, self.high)

    def ceilings(self, now: float | None = None) -> Sequence[Ceiling]:
        """Return max and high, as far as set, against usage less what is droppable."""
        hard, soft = self.max, self.high
        if hard is None and soft is None:
            return ()
        nearest = hard if hard is not None and (soft is None or hard < soft) else soft
        assert nearest is not None
        usage = self._cache.less(int(self._current.read(64)), nearest, now)
        if hard is None:
            assert soft is not None
            return ((soft, usage, True),)
        # A high at or above max never comes into play.
        return (
            ((hard, usage, False),)
            if soft is None or soft >= hard
            else ((hard, usage, False), (soft, usage, True))
        )

    def kept(self) -> Iterable[Kept]:
        """Return the files of the group."""
        return (self._max_file, self._high_file, self._current, self._stat)


def find(place: Place | None) -> tuple[list[Level], list[Missing]]:
    """Return the levels that can have limits, the process's own group first, and what is not to be had."""
    name = "cgroup v2"
    if place is None:
        return [], [Missing(name, "", "no cgroup v2 hierarchy is mounted")]
    levels: list[Level] = []
    missing: list[Missing] = []
    for group, directory in place.levels:
        try:
            level = Level(group, directory)
        except OSError as error:
            # The root has no limits, nor has a group whose parent does not delegate the controller to it.
            if error.errno != errno.ENOENT:
                missing.append(Missing(f"{name} {group}", str(error.filename or directory), excuse(error)))
        except ValueError as error:
            missing.append(Missing(f"{name} {group}", directory, excuse(error)))
        else:
            level.note = place.note
            levels.append(level)
    if not levels and not missing:
        group, directory = place.levels[0]
        why = (
            "no memory controller on it"
            if place.note is None
            else f"no memory controller on it ({place.note})"
        )
        missing.append(Missing(f"{name} {group}", directory, why))
    return levels, missing
