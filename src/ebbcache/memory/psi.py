"""Pressure stall information: wake up when tasks lost a given time waiting for memory.

After the kernel's Documentation/accounting/psi.rst and kernel/sched/psi.c. A trigger is text written to a
memory.pressure file; the descriptor then polls POLLPRI, at most once a window. The file is read when the
trigger is armed and when it fires, never otherwise: readers of it take the lock that the trigger's own
bookkeeping needs.
"""

from __future__ import annotations

import errno
import os

from ebbcache.memory.files import Kept, number_after
from ebbcache.memory.waiting import POLLERR, Candidate, GoneError, Wakeup

WINDOWS = ((50_000, 500_000), (200_000, 2_000_000))
"""(stall, window) in microseconds, first choice first: a tenth of the time lost.

The kernel takes windows from 0.5 to 10 s, and only multiples of 2 s from those without CAP_SYS_RESOURCE.
"""


def trigger(stall: int, window: int) -> bytes:
    """Return the text that arms a trigger.

    It ends in a NUL of its own: the kernel puts one over the *last byte* of what it is given, and would
    else take the last digit with it ("some 150000 1000000" arms a window of 0.1 s, or fails).

    >>> trigger(50_000, 500_000)
    b'some 50000 500000\\x00'
    """
    return b"some %d %d\0" % (stall, window)


def total(text: bytes) -> int:
    """Return the microseconds that some task was stalled since boot; ValueError if the file does not tell.

    >>> total(b"some avg10=0.00 avg60=0.00 avg300=0.00 total=1234\\nfull avg10=0.00 total=7\\n")
    1234
    """
    line = text.partition(b"\n")[0]
    if b"total=" not in line:
        raise ValueError(f"no total in {line!r}")
    return number_after(line, b"total=")


class Trigger(Wakeup):
    """An armed trigger. `stall` 0: whoever chose the trigger did not say, so every event is believed."""

    def __init__(self, path: str, text: bytes, stall: int) -> None:
        super().__init__(Kept(path, (os.O_RDWR if text else os.O_RDONLY) | getattr(os, "O_NONBLOCK", 0)))
        self._stall = stall
        # Before arming: kernels count a new trigger's first growth from what their last look at the group
        # saw, however long ago, and so may report stalls of before as if they had just happened.
        self._total = total(self.file.read(256))
        if text:
            os.write(self.file.fd, text)
            self.detail = text.rstrip(b"\0\n").decode("ascii", "replace")

    def fired(self, mask: int) -> bool:
        """Believe an event if the stalls since the last one believed come to the threshold."""
        if mask & POLLERR:
            # What kernfs answers, for ever and at once, when the cgroup is removed.
            raise GoneError("the cgroup was removed, or pressure information turned off (POLLERR)")
        now = total(self.file.read(256))
        if now - self._total < self._stall:
            return False
        self._total = now
        return True


def _arm(path: str) -> Wakeup:
    for stall, window in WINDOWS[:-1]:
        try:
            return Trigger(path, trigger(stall, window), stall)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
    stall, window = WINDOWS[-1]
    return Trigger(path, trigger(stall, window), stall)


def candidate(path: str) -> Candidate:
    """Return the trigger on one memory.pressure file."""
    return Candidate("psi", path, "a tenth of the time lost in 0.5 s, or in 2 s", lambda: _arm(path))
