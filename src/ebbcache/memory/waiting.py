"""Waiting for the kernel, a service manager or another thread to say that it is worth looking at memory.

One poll(2) over a handful of descriptors. poll and not epoll: an epoll set is shared across fork, so a
child could change what its parent waits for. A wake-up only says "look"; sizes always come from readings.
Where there is no poll (Windows) nothing is armed and waiting is an Event. Bound: a wait costs one poll, one
read an event.
"""

from __future__ import annotations

import math
import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ebbcache.memory.files import Kept, explain
from ebbcache.memory.reading import WakeupState

HAVE_POLL = hasattr(select, "poll")
POLLIN = getattr(select, "POLLIN", 1)
POLLPRI = getattr(select, "POLLPRI", 2)
POLLERR = getattr(select, "POLLERR", 8)
POLLHUP = getattr(select, "POLLHUP", 16)
POLLNVAL = getattr(select, "POLLNVAL", 32)

LONGEST = 86_400.0
"""Seconds; poll's milliseconds are a C int."""


class GoneError(Exception):
    """What a wake-up watched is no more; the message says what happened."""


class Wakeup:
    """One armed descriptor. `fired` is told poll's mask and says whether the event is to be believed."""

    mask = POLLPRI
    detail = ""
    """What was asked of the kernel, where that is known only once it agreed."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def fired(self, mask: int) -> bool:
        """Consume the event; True if it means something. Raises GoneError or OSError at the end of it."""
        raise NotImplementedError

    def kept(self) -> Iterable[Kept]:
        """Return the descriptors that this wake-up holds open."""
        return ()


@dataclass(frozen=True)
class Candidate:
    """Something that could be armed. Two with equal name, path and detail are the same one."""

    name: str
    path: str
    detail: str
    arm: Callable[[], Wakeup]

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it the same as another."""
        return self.name, self.path, self.detail


class Waker:
    """A pipe that ends a wait from any thread, or from a signal handler."""

    def __init__(self) -> None:
        read, write = os.pipe()
        self.reader = Kept.adopt(read, "wake")
        self._writer = Kept.adopt(write, "wake")
        os.set_blocking(read, False)
        os.set_blocking(write, False)

    def wake(self) -> None:
        """End the wait that runs, or else the next one."""
        try:
            os.write(self._writer.fd, b"\0")
        except OSError:
            pass  # full: it is awake already; closed: nobody waits

    def drain(self) -> None:
        """Forget the wakes so far."""
        try:
            while len(os.read(self.reader.fd, 512)) == 512:
                pass
        except OSError:
            pass

    def kept(self) -> Iterable[Kept]:
        """Return the descriptors of the pipe."""
        return self.reader, self._writer


class EventWaker:
    """The same where there is no poll."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def wake(self) -> None:
        """End the wait that runs, or else the next one."""
        self.event.set()

    def kept(self) -> Iterable[Kept]:
        """Return no descriptor: there is none."""
        return ()


class Wakeups:
    """What is armed, and what could not be. Whoever owns it sees to it that one thread at a time calls."""

    def __init__(self) -> None:
        self.armed: dict[tuple[str, str, str], tuple[Candidate, Wakeup]] = {}
        self.failed: dict[tuple[str, str, str], tuple[Candidate, str]] = {}
        self.died: dict[tuple[str, str, str], str] = {}
        """Why something armed came to its end. It is not armed again: it might end so for ever."""

    def arrange(self, wanted: Sequence[Sequence[Candidate]]) -> None:
        """Arm the first of each group that can be armed; keep what is armed already, let go of the rest."""
        before = self.armed
        self.armed, self.failed = {}, {}
        for group in wanted:
            for candidate in group:
                key = candidate.key
                if key in before:
                    self.armed[key] = before[key]
                    break
                if key in self.died:
                    self.failed[key] = (candidate, self.died[key])
                    continue
                try:
                    self.armed[key] = (candidate, candidate.arm())
                    break
                except (OSError, ValueError) as error:
                    self.failed[key] = (candidate, explain(error))

    def lose(self, candidate: Candidate, why: str) -> None:
        """Note that an armed one is of no use any more."""
        self.armed.pop(candidate.key, None)
        self.failed[candidate.key] = (candidate, why)
        self.died[candidate.key] = why

    def states(self) -> tuple[WakeupState, ...]:
        """Return what a survey shows."""
        armed = [WakeupState(c.name, c.path, True, w.detail or c.detail) for c, w in self.armed.values()]
        failed = [WakeupState(c.name, c.path, False, c.detail, why) for c, why in self.failed.values()]
        return (*armed, *failed)

    def kept(self) -> list[Kept]:
        """Return every descriptor held open."""
        return [kept for _, wakeup in self.armed.values() for kept in wakeup.kept()]


def wait(
    waker: Waker | EventWaker,
    wakeups: Wakeups | None,
    timeout: float,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[str | None, bool]:
    """Wait at most `timeout` seconds; return (what ended it, whether a wake-up was lost meanwhile).

    The name is that of the wake-up, "wake" for the waker, None when time ran out. Events that are not
    believed do not end the wait; losing a wake-up does, with the name None, so that the caller can look for
    another.
    """
    if isinstance(waker, EventWaker):
        woken = waker.event.wait(max(0.0, min(timeout, LONGEST)))
        waker.event.clear()
        return ("wake" if woken else None), False
    if TYPE_CHECKING:
        assert hasattr(select, "poll")
    armed = (
        {}
        if wakeups is None
        else {wakeup.fd: (candidate, wakeup) for candidate, wakeup in wakeups.armed.values()}
    )
    poll = select.poll()
    poll.register(waker.reader.fd, POLLIN)
    for fd, (_, wakeup) in armed.items():
        poll.register(fd, wakeup.mask)
    end = clock() + max(0.0, min(timeout, LONGEST))
    while True:
        left = end - clock()
        events = poll.poll(math.ceil(left * 1000) if left > 0 else 0)
        name: str | None = None
        lost = False
        for fd, mask in events:
            if fd == waker.reader.fd:
                waker.drain()
                name = name or "wake"
                continue
            candidate, wakeup = armed[fd]
            try:
                if wakeup.fired(mask):
                    name = candidate.name if name in (None, "wake") else name
            except (GoneError, OSError, ValueError) as error:
                assert wakeups is not None
                wakeups.lose(candidate, str(error) if isinstance(error, GoneError) else explain(error))
                lost = True
        if name is not None or lost or not events:
            return name, lost
        if clock() >= end:
            return None, False
