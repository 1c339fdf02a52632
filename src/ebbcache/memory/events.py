"""The cgroups' own notifications: v2's memory.events, v1's eventfds.

v2: memory.events polls POLLPRI whenever a counter (low, high, max, oom, ...) grew, until it is read again.
v1: an eventfd is registered through cgroup.event_control for memory.pressure_level and for crossings of
memory.usage_in_bytes; it is also signalled when the cgroup goes. After cgroup-v2.rst and
cgroup-v1/memory.rst (9, 11). Bound: one read an event; the kernel notifies of memory.events at most every
10 ms.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from ebbcache.memory.files import CLOEXEC, Kept
from ebbcache.memory.waiting import POLLIN, Candidate, Wakeup

FRACTIONS = (12, 14, 15)
"""Sixteenths of the limit at which v1 tells of a crossing. Page cache counts: early rather than late."""


class Events(Wakeup):
    """v2's memory.events of one group. POLLERR comes with each of its events, and so means nothing here."""

    def __init__(self, path: str) -> None:
        super().__init__(Kept(path))
        self._seen = self.file.read(1024)  # or the first poll reports what was before us

    def fired(self, mask: int) -> bool:
        """Believe it if a counter moved; a group that was removed fails to read (ENODEV)."""
        now = self.file.read(1024)
        moved, self._seen = now != self._seen, now
        return moved


class Notification(Wakeup):
    """A v1 eventfd, registered in `directory` for `control` with each of `arguments`."""

    mask = POLLIN

    def __init__(self, directory: str, control: str, arguments: Iterable[str]) -> None:
        eventfd: Callable[[int, int], int] | None = getattr(os, "eventfd", None)
        if eventfd is None:
            raise ValueError("this platform has no eventfd")
        super().__init__(Kept.adopt(eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK), "eventfd"))
        self._usage = Kept(f"{directory}/memory.usage_in_bytes")
        watched = Kept(f"{directory}/{control}")
        registry = os.open(f"{directory}/cgroup.event_control", os.O_WRONLY | CLOEXEC)
        try:
            for argument in arguments:
                os.write(registry, f"{self.file.fd} {watched.fd} {argument}".encode())
        finally:
            os.close(registry)

    def fired(self, mask: int) -> bool:
        """Empty the eventfd. A group that was removed signals it as well, but cannot be read (ENODEV)."""
        try:
            os.read(self.file.fd, 8)
        except BlockingIOError:
            return False
        self._usage.read(64)
        return True

    def kept(self) -> Iterable[Kept]:
        """Return the descriptors in use."""
        return (self.file, self._usage)


def memory_events(directory: str) -> Candidate:
    """Return the wake-up on a v2 group's memory.events."""
    path = f"{directory}/memory.events"
    return Candidate("memory.events", path, "any counter moves", lambda: Events(path))


def pressure_level(directory: str) -> Candidate:
    """Return the wake-up on a v1 group's pressure: "medium", reclaim finds little that is not in use.

    "low" would come with every page cache that is recycled, which costs nobody anything.
    """
    return Candidate(
        "pressure_level",
        f"{directory}/memory.pressure_level",
        "medium",
        lambda: Notification(directory, "memory.pressure_level", ["medium"]),
    )


def usage_thresholds(directory: str, limit: int) -> Candidate:
    """Return the wake-up on a v1 group's usage coming near `limit`, or falling back from there."""
    marks = [limit // 16 * sixteenths for sixteenths in FRACTIONS]
    return Candidate(
        "usage_threshold",
        f"{directory}/memory.usage_in_bytes",
        f"crossing {', '.join(map(str, marks))}",
        lambda: Notification(directory, "memory.usage_in_bytes", [str(mark) for mark in marks]),
    )
