"""Descriptors that stay open, so that a reading is one `pread` each, and closing that cannot hit a reader.

Opening a file of /proc or cgroupfs costs several times what reading it does. A descriptor is closed when
the last reference to its owner goes: a thread that still reads holds one, so its descriptor's number cannot
be given to another file under it. Bound: a read is one system call and never blocks on these file systems.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache
from time import perf_counter

CLOEXEC = getattr(os, "O_CLOEXEC", 0)
"""Absent on Windows, where descriptors are not inherited anyway."""

LONG = 0.0005
"""Seconds: what takes longer `OFTEN` times running is no longer read with the interpreter lock kept."""
OFTEN = 3

_WORDS = {
    errno.ENOENT: "not there",
    errno.ENODEV: "gone (the cgroup was removed)",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.EROFS: "mounted read-only",
    errno.EOPNOTSUPP: "not supported by this kernel, or turned off",
    errno.EMFILE: "too many open files",
}

_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR})
"""Errors that are the process's trouble of the moment: what was found before still holds."""


@cache
def keeping_turn(name: str, *arguments: type) -> Callable[..., int] | None:
    """Return the C library's function `name`, called without giving up the interpreter lock.

    Those of `os` give it up, and beside two busy threads it takes 5 to 20 ms to get it back: too long in
    a burst for each of several files, none of which ever blocks. None where there is no such function.
    """
    try:
        function = getattr(ctypes.PyDLL(None), name)
    except (OSError, AttributeError, TypeError):  # no dlopen(NULL), or another C library
        return None
    function.argtypes, function.restype = arguments, ctypes.c_ssize_t
    found: Callable[..., int] = function
    return found


_pread = keeping_turn("pread", ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_long)


@cache
def _buffer(size: int) -> type[ctypes.Array[ctypes.c_char]]:
    return ctypes.c_char * size


class Kept:
    """A file that is opened once and read many times from its start.

    Programs that become daemons close every descriptor there is, ours too, and the number may then be given
    to something else. So nothing is closed, emptied or written to that is not `same()` as what was opened.
    """

    __slots__ = ("_identity", "_late", "fd", "path")

    def __init__(self, path: str, flags: int = os.O_RDONLY) -> None:
        self.fd = -1
        self.path = path
        self._own(os.open(path, flags | CLOEXEC))

    @classmethod
    def adopt(cls, fd: int, path: str) -> Kept:
        """Return the owner of a descriptor that is open already; `path` is what to call it."""
        kept = cls.__new__(cls)
        kept.path = path
        kept._own(fd)
        return kept

    def _own(self, fd: int) -> None:
        self.fd = fd
        self._late = 0
        status = os.fstat(fd)
        self._identity = status.st_dev, status.st_ino

    def read(self, size: int = 8192) -> bytes:
        """Return the file's content now, at most `size` bytes; raises OSError."""
        if _pread is not None and self._late < OFTEN:
            buffer = _buffer(size)()
            began = perf_counter()
            count = _pread(self.fd, buffer, size, 0)
            # memory.stat of a group with many processors and children is added up while it is read.
            self._late = self._late + 1 if perf_counter() - began > LONG else 0
            if count >= 0:
                return buffer.raw[:count]
        return os.pread(self.fd, size, 0)  # says what is wrong

    def same(self) -> bool:
        """Whether the descriptor still is what it was when this was made."""
        try:
            status = os.fstat(self.fd)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity

    def close(self, _close: Callable[[int], None] = os.close) -> None:
        """Close at once: only where no other thread can be reading."""
        if self.fd >= 0 and self.same():
            try:
                _close(self.fd)
            except OSError:
                pass
        self.fd = -1

    __del__ = close


def identity(path: str) -> str:
    """Return a name for what lies at `path`, the same wherever it is mounted; raises OSError."""
    status = os.stat(path)
    return f"{status.st_dev:x}-{status.st_ino:x}"


def explain(error: OSError | ValueError) -> str:
    """Return in a few words why something could not be read."""
    if isinstance(error, OSError) and error.errno is not None:
        # On Linux ENOTSUP has the same number, and people search for the kernel's name of it.
        code = "EOPNOTSUPP" if error.errno == errno.EOPNOTSUPP else errno.errorcode.get(error.errno, "?")
        return f"{_WORDS.get(error.errno, os.strerror(error.errno))} ({code})"
    return str(error) if isinstance(error, OSError) else f"not understood: {error}"


def excuse(error: OSError | ValueError) -> str:
    """Return why a source is not to be had; raise instead if that says nothing about the source itself."""
    if isinstance(error, OSError) and error.errno in _PASSING:
        raise error
    return explain(error)


def number_after(text: bytes, label: bytes) -> int:
    """Return the decimal number that follows `label` in `text`, 0 if the label is not there.

    >>> number_after(b"anon 5\\nfile 7\\n", b"file ")
    7
    """
    at = text.find(label)
    if at < 0:
        return 0
    at += len(label)
    end = text.find(b"\n", at)
    return int(text[at:end] if end >= 0 else text[at:])
