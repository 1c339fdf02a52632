"""This process's own use of memory, and the limit that its user set on it.

From /proc/self/statm, whose fields count pages: total address space, resident set, ..., data and stack. The
user's limit holds for the resident set, the number that people see in `top`. Bound: one `pread`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Protocol

from ebbcache.memory.files import Kept
from ebbcache.memory.reading import Ceiling, Source


class Sizes(Protocol):
    """Tells what the process uses: (address space, resident set, data) in bytes."""

    path: str

    def sizes(self) -> tuple[int, int, int]:
        """Read it now; raises OSError."""
        ...

    def kept(self) -> Iterable[Kept]:
        """Return the descriptors that this holds open."""
        ...


class Statm:
    """`Sizes` out of /proc/self/statm. Its data field holds the stack as well (VmData + VmStk)."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = Kept(path)
        self._page = os.sysconf("SC_PAGE_SIZE")

    def sizes(self) -> tuple[int, int, int]:
        """Read statm; raises OSError, or ValueError if it has too few fields."""
        fields = self._file.read(256).split()
        if len(fields) < 6:
            raise ValueError(f"{len(fields)} fields in statm")
        page = self._page
        return int(fields[0]) * page, int(fields[1]) * page, int(fields[5]) * page

    def kept(self) -> Iterable[Kept]:
        """Return the one file."""
        return (self._file,)


class ProcessLimit(Source):
    """The ceiling that the user configured, against this process's resident set."""

    def __init__(self, limit: int, of: Sizes) -> None:
        super().__init__("limit", of.path)
        self._limit = limit
        self._of = of

    def ceilings(self, now: float | None = None) -> Sequence[Ceiling]:
        """Return the limit against the resident set."""
        return ((self._limit, self._of.sizes()[1], False),)
