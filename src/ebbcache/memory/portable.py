"""The same questions asked through psutil, for platforms without /proc (macOS, Windows, the BSDs).

psutil's `available` is each system's own estimate of what can be had without swapping. Bound: one psutil
call a reading, some tens of microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psutil

from ebbcache.memory.files import Kept
from ebbcache.memory.reading import Ceiling, Source

_ERRORS = (psutil.Error, RuntimeError, AttributeError)
"""What psutil raises besides OSError; NotImplementedError is a RuntimeError."""


def _as_os_error(error: Exception) -> OSError:
    return OSError(f"psutil: {error or type(error).__name__}")


class PortableHost(Source):
    """The machine as psutil sees it."""

    def __init__(self) -> None:
        super().__init__("host", "psutil.virtual_memory()")

    def ceilings(self, now: float | None = None) -> Sequence[Ceiling]:
        """Return the total against what of it is not available."""
        try:
            memory = psutil.virtual_memory()
        except _ERRORS as error:
            raise _as_os_error(error) from error
        total = int(memory.total)
        if total <= 0:
            raise ValueError(f"a total of {total}")
        return ((total, total - max(0, min(int(memory.available), total)), False),)


class PortableSizes:
    """`Sizes` out of psutil. Without a number for the data segment all of the address space counts."""

    path = "psutil.Process().memory_info()"

    def sizes(self) -> tuple[int, int, int]:
        """Ask psutil; raises OSError."""
        try:
            info = psutil.Process().memory_info()
        except _ERRORS as error:
            raise _as_os_error(error) from error
        return int(info.vms), int(info.rss), int(getattr(info, "data", info.vms))

    def kept(self) -> Iterable[Kept]:
        """Return nothing: psutil keeps no file open."""
        return ()
