"""systemd's memory pressure protocol: the service manager says what to watch and what to write to it.

After systemd's "Memory Pressure Handling" (https://systemd.io/MEMORY_PRESSURE): MEMORY_PRESSURE_WATCH holds
a path, to a PSI file (POLLPRI) or to a FIFO or AF_UNIX stream socket (POLLIN, content to be discarded);
MEMORY_PRESSURE_WRITE holds, in base64, what to write there first. /dev/null as the path means: do not watch
pressure at all.
"""

from __future__ import annotations

import base64
import binascii
import os
import socket
import stat
from collections.abc import Mapping

from ebbcache.memory import psi
from ebbcache.memory.files import Kept
from ebbcache.memory.waiting import POLLIN, Candidate, GoneError, Wakeup

WATCH = "MEMORY_PRESSURE_WATCH"
WRITE = "MEMORY_PRESSURE_WRITE"
OFF = "/dev/null"


class Stream(Wakeup):
    """A FIFO or socket that becomes readable under pressure."""

    mask = POLLIN

    def fired(self, mask: int) -> bool:
        """Read away what is there; the end of the stream means that the other side is gone."""
        got = False
        try:
            while chunk := os.read(self.file.fd, 4096):
                got = True
                if len(chunk) < 4096:
                    return True
        except BlockingIOError:
            return got
        raise GoneError("the other side closed it")


def _stall(text: bytes) -> int:
    """Return the threshold in microseconds that a trigger text states, 0 if it is of another form."""
    words = text.rstrip(b"\0\n").split()
    return int(words[1]) if len(words) == 3 and words[1].isdigit() else 0


def _connect(path: str, text: bytes) -> Wakeup:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        connection.connect(path)
        connection.sendall(text)
        connection.setblocking(False)
        return Stream(Kept.adopt(connection.detach(), path))


def _arm(path: str, text: bytes) -> Wakeup:
    mode = os.stat(path).st_mode
    if stat.S_ISSOCK(mode):
        return _connect(path, text)
    if stat.S_ISREG(mode):
        return psi.Trigger(path, text, _stall(text))
    if stat.S_ISFIFO(mode):
        # Read and write even with nothing to write: a FIFO whose last writer goes would poll POLLHUP for
        # ever.
        file = Kept(path, os.O_RDWR | os.O_NONBLOCK)
        if text:
            os.write(file.fd, text)
        return Stream(file)
    raise ValueError(f"{path} is neither a file nor a FIFO nor a socket")


def candidate(environ: Mapping[str, str], prefix: str) -> Candidate | None:
    """Return what the service manager asks to be watched, None if it asks nothing.

    `prefix` goes before the path. One that makes no sense gives a candidate that says so when it is armed.
    """
    path = environ.get(WATCH, "")
    if not path:
        return None

    def arm() -> Wakeup:
        if not path.startswith("/"):
            raise ValueError(f"{WATCH}={path} is not an absolute path")
        try:
            text = base64.b64decode(environ.get(WRITE, ""), validate=True)
        except binascii.Error as error:
            raise ValueError(f"{WRITE} is not base64: {error}") from error
        return _arm(prefix + path, text)

    return Candidate("systemd", path, f"as {WATCH} says", arm)


def off(environ: Mapping[str, str]) -> bool:
    """Whether the service manager asks that pressure not be watched."""
    return environ.get(WATCH) == OFF
