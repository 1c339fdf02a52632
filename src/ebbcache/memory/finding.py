"""Find every source there is on this machine, and say of the others why they are not to be had.

Run at the start, after a fork, when the process moved to another cgroup and when something failed to read.
Bound: opens four files for each cgroup ancestor and a handful more; milliseconds at most.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ebbcache.memory import cgroup1, cgroup2, mounts, portable
from ebbcache.memory.files import Kept, excuse
from ebbcache.memory.host import Host
from ebbcache.memory.process import ProcessLimit, Sizes, Statm
from ebbcache.memory.reading import Missing, Source

# Not inside the function that uses it: a child forked while another thread imports waits for ever.
try:
    from ebbcache.memory import rlimits
except ImportError:  # not every platform has the module behind it
    rlimits = None  # type: ignore[assignment]

_USUAL = (mounts.Mount("/", "/sys/fs/cgroup", False), mounts.Mount("/", "/sys/fs/cgroup/memory", True))
"""Where the hierarchies are on nearly every machine, for when mountinfo cannot be read."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found at one time; replaced as a whole, never changed.

    `identity` is /proc/self/cgroup kept open and `said` what it said; `pressure` the PSI files, nearest
    first; `process` tells this process's own sizes, None if nothing does.
    """

    sources: tuple[Source, ...] = ()
    missing: tuple[Missing, ...] = ()
    identity: Kept | None = None
    said: bytes = b""
    pressure: tuple[str, ...] = ()
    process: Sizes | None = None

    def moved(self) -> bool:
        """Whether the process is in other cgroups now than it was then."""
        if self.identity is None:
            return False
        try:
            return self.identity.read(65536) != self.said
        except OSError:
            return True

    def with_limit(self, limit: int | None) -> Found:
        """Return the same with another limit that the user set on the process."""
        sources = tuple(source for source in self.sources if not isinstance(source, ProcessLimit))
        if limit is not None and self.process is not None:
            sources += (ProcessLimit(limit, self.process),)
        return Found(sources, self.missing, self.identity, self.said, self.pressure, self.process)

    def kept(self) -> Iterable[Kept]:
        """Return every descriptor held open."""
        if self.identity is not None:
            yield self.identity
        if self.process is not None:
            yield from self.process.kept()
        for source in self.sources:
            yield from source.kept()


def _resource_limits(of: Sizes) -> Sequence[Source]:
    return () if rlimits is None else rlimits.find(of)


def find(prefix: str, limit: int | None) -> Found:
    """Look everywhere under `prefix` ('' for the real root); `limit` is the user's own.

    Raises OSError only if the process itself is short of something (descriptors, memory), so that nothing
    can be said about what is there.
    """
    missing: list[Missing] = []

    def attempt(name: str, path: str, make: Callable[[], Source]) -> list[Source]:
        try:
            return [make()]
        except (OSError, ValueError) as error:
            missing.append(Missing(name, path, excuse(error)))
            return []

    identity, said = None, b""
    cgroup_path = f"{prefix}/proc/self/cgroup"
    try:
        identity = Kept(cgroup_path)
        said = identity.read(65536)
    except OSError as error:
        identity = None
        missing.append(Missing("cgroup", cgroup_path, excuse(error)))
    v2_path, v1_path = mounts.parse_cgroup(said)
    mountinfo_path = f"{prefix}/proc/self/mountinfo"
    try:
        mounted = mounts.parse_mountinfo(mounts.read_whole(mountinfo_path))
    except OSError as error:
        missing.append(Missing("cgroup", mountinfo_path, excuse(error)))
        mounted = [mount for mount in _USUAL if os.path.isdir(prefix + mount.point)]

    place2 = mounts.locate(v2_path, [mount for mount in mounted if not mount.v1], prefix)
    place1 = mounts.locate(v1_path, [mount for mount in mounted if mount.v1], prefix)
    levels2, missing2 = cgroup2.find(place2)
    levels1, missing1 = cgroup1.find(place1)
    missing += missing2 + missing1

    host_path, statm_path = f"{prefix}/proc/meminfo", f"{prefix}/proc/self/statm"
    # exists() is also False where it may not be looked at; psutil would not get further there, and says so.
    host = attempt(
        "host", host_path, lambda: Host(host_path) if os.path.exists(host_path) else portable.PortableHost()
    )
    process: Sizes | None = None
    try:
        process = Statm(statm_path) if os.path.exists(statm_path) else portable.PortableSizes()
    except OSError as error:
        missing.append(Missing("process", statm_path, excuse(error)))
    of_process: list[Source] = [] if process is None else [*_resource_limits(process)]

    own = [] if place2 is None else [f"{place2.levels[0][1].rstrip('/')}/memory.pressure"]
    found = Found(
        sources=(*levels2, *levels1, *host, *of_process),
        missing=tuple(missing),
        identity=identity,
        said=said,
        pressure=(*own, f"{prefix}/proc/pressure/memory"),
        process=process,
    )
    return found.with_limit(limit)
