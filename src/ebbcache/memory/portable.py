"""The same questions asked through psutil, for platforms without /proc (macOS, Windows, the BSDs).

psutil's `available` is each system's own estimate of what can be had without swapping. Bound: one psutil call a
reading, some tens of microseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import psutil

from ebbcache.memory.files import Kept
from ebbcache.memory.reading import Ceiling, Source


def _checked(error: psutil.Error) -> OSError:
    # Callers know OSError and ValueError only; psutil's errors are neither.
    return OSError(f"psutil: {error}")


class PortableHost(Source):
    """The machine as psutil sees it."""

    def __init__(self) -> None:
        super().__init__("host", "psutil.virtual_memory()")

    def ceilings(self) -> Sequence[Ceiling]:
        try:
            memory = psutil.virtual_memory()
        except psutil.Error as error:
            raise _checked(error) from error
        total = int(memory.total)
        if total <= 0:
            raise ValueError(f"a total of {total}")
        return ((total, total - max(0, min(int(memory.available), total)), False),)


class PortableSizes:
    """`Sizes` out of psutil; a platform that does not tell the data segment apart counts the address space."""

    path = "psutil.Process().memory_info()"

    def sizes(self) -> tuple[int, int, int]:
        try:
            info = psutil.Process().memory_info()
        except psutil.Error as error:
            raise _checked(error) from error
        return int(info.vms), int(info.rss), int(getattr(info, "data", info.vms))

    def kept(self) -> Iterable[Kept]:
        return ()
