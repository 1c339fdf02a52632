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

LONGEST = 86_400.0
"""Seconds; poll's milliseconds are a C int."""


class GoneError(Exception):
    """What a wake-up watched is no more; the message says what happened."""


class Wakeup:
    """One armed descriptor. `fired` is told poll's mask and says whether the event is to be believed."""

    mask = POLLPRI
    detail = ""
    """What was asked of the kernel, where that is known only once it agreed."""

    def __init__(self, file: Kept) -> None:
        self.file = file

    def fired(self, mask: int) -> bool:
        """Consume the event; True if it means something. Raises GoneError or OSError at the end of it."""
        raise NotImplementedError

    def kept(self) -> Iterable[Kept]:
        """Return the descriptors that this wake-up holds open."""
        return (self.file,)


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

    def usable(self) -> bool:
        """Whether nobody else closed it."""
        return self.reader.same() and self._writer.same()

    def wake(self) -> bool:
        """End the wait that runs, or else the next one; False if the pipe is not ours any more."""
        if not self._writer.same():
            return False
        try:
            os.write(self._writer.fd, b"\0")
        except BlockingIOError:
            pass  # full: it is awake already
        return True

    def drain(self) -> bool:
        """Forget the wakes so far; False if the pipe is not ours any more."""
        if not self.reader.same():
            return False
        try:
            while len(os.read(self.reader.fd, 512)) == 512:
                pass
        except BlockingIOError:
            pass
        return True

    def kept(self) -> Iterable[Kept]:
        """Return the descriptors of the pipe."""
        return self.reader, self._writer


class EventWaker:
    """The same where there is no poll, or no descriptor left to make a pipe of."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def usable(self) -> bool:
        """Whether there is nothing better."""
        return not HAVE_POLL

    def wake(self) -> bool:
        """End the wait that runs, or else the next one."""
        self.event.set()
        return True

    def kept(self) -> Iterable[Kept]:
        """Return no descriptor: there is none."""
        return ()


class Wakeups:
    """What is armed, what could not be, and the waker. Nothing is open before the first wait or `arrange`.

    `wake` is for any thread; one at a time may `wait`, and whoever owns this sees to it that one arranges.
    """

    def __init__(self) -> None:
        self._waker: Waker | EventWaker | None = None
        self._woken_early = False
        self.armed: dict[tuple[str, str, str], tuple[Candidate, Wakeup]] = {}
        self.failed: dict[tuple[str, str, str], tuple[Candidate, str]] = {}
        self.died: dict[tuple[str, str, str], str] = {}
        """Why something armed came to its end. It is not armed again: it might end so for ever."""

    def arrange(self, wanted: Sequence[Sequence[Candidate]]) -> None:
        """Arm the first of each group that can be armed; keep what is armed already, let go of the rest."""
        before = self.armed
        armed: dict[tuple[str, str, str], tuple[Candidate, Wakeup]] = {}
        failed: dict[tuple[str, str, str], tuple[Candidate, str]] = {}
        for group in wanted:
            for candidate in group:
                key = candidate.key
                if key in before:
                    armed[key] = before[key]
                    break
                if key in self.died:
                    failed[key] = (candidate, self.died[key])
                    continue
                try:
                    armed[key] = (candidate, candidate.arm())
                    break
                except (OSError, ValueError) as error:
                    failed[key] = (candidate, explain(error))
        # At once, for another thread may be about to wait for what is in there.
        self.armed, self.failed = armed, failed

    def _lose(self, candidate: Candidate, why: str) -> None:
        """Note that an armed one is of no use any more."""
        self.armed.pop(candidate.key, None)
        self.failed[candidate.key] = (candidate, why)
        self.died[candidate.key] = why

    def states(self) -> tuple[WakeupState, ...]:
        """Return what a survey shows."""
        armed = [
            WakeupState(c.name, c.path, True, w.detail or c.detail) for c, w in list(self.armed.values())
        ]
        failed = [
            WakeupState(c.name, c.path, False, c.detail, why) for c, why in list(self.failed.values())
        ]
        return (*armed, *failed)

    def kept(self) -> list[Kept]:
        """Return every descriptor held open."""
        kept = [each for _, wakeup in list(self.armed.values()) for each in wakeup.kept()]
        return kept if self._waker is None else [*kept, *self._waker.kept()]

    def wake(self) -> None:
        """End the wait that runs, or else the next one."""
        waker = self._waker
        if waker is None or not waker.wake():
            self._woken_early = True
            # A wait may have made its waker meanwhile, and looked at the flag before it was set.
            if self._waker is not waker and self._waker is not None:
                self._waker.wake()

    def _ready(self) -> Waker | EventWaker:
        waker = self._waker
        if waker is None or not waker.usable():
            if isinstance(waker, EventWaker) and waker.event.is_set():
                self._woken_early = True
            try:
                waker = Waker() if HAVE_POLL else EventWaker()
            except OSError:  # out of descriptors: it still can be woken, but by nothing from the kernel
                waker = EventWaker()
            self._waker = waker
        return waker

    def wait(self, timeout: float) -> tuple[str | None, bool]:
        """Wait at most `timeout` seconds; return (what ended it, whether a wake-up was lost meanwhile).

        The name is that of the wake-up, "wake" for the waker, None when time ran out. Events that are not
        believed do not end the wait; losing a wake-up does, so that the caller can look for another.
        """
        waker = self._ready()
        if self._woken_early:
            self._woken_early = False
            return "wake", False
        timeout = max(0.0, min(timeout, LONGEST))
        if isinstance(waker, EventWaker):
            woken = waker.event.wait(timeout)
            waker.event.clear()
            return ("wake" if woken else None), False
        if TYPE_CHECKING:
            assert hasattr(select, "poll")
        armed = {wakeup.file.fd: (candidate, wakeup) for candidate, wakeup in list(self.armed.values())}
        poll = select.poll()
        poll.register(waker.reader.fd, POLLIN)
        for fd, (_, wakeup) in armed.items():
            poll.register(fd, wakeup.mask)
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            events = poll.poll(math.ceil(left * 1000) if left > 0 else 0)
            name: str | None = None
            lost = False
            for fd, mask in events:
                if fd == waker.reader.fd:
                    if waker.drain():
                        name = name or "wake"
                        self._woken_early = False
                    else:
                        lost = True
                    continue
                candidate, wakeup = armed[fd]
                if not wakeup.file.same():
                    self.armed.pop(candidate.key, None)  # closed by somebody: it can be had again
                    lost = True
                    continue
                try:
                    if wakeup.fired(mask):
                        name = candidate.name if name in (None, "wake") else name
                except (GoneError, OSError, ValueError) as error:
                    self._lose(candidate, str(error) if isinstance(error, GoneError) else explain(error))
                    lost = True
            if name is not None or lost or left <= 0 or not events:
                return name, lost
