"""The host's memory: MemAvailable under MemTotal, from /proc/meminfo.

MemAvailable is the kernel's own estimate of what can be had without swapping (mm/show_mem.c,
si_mem_available): free pages above the watermarks, plus the page cache and reclaimable slab that can go.
The limit is MemTotal and usage is what is missing from it. Bound: one `pread`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ebbcache.memory.files import Kept, number_after
from ebbcache.memory.reading import Ceiling, Source


def _kib(text: bytes, label: bytes) -> int | None:
    at = text.find(label)
    if at < 0:
        return None
    return number_after(text[at : text.find(b"kB", at)].rstrip(), label) * 1024


class Host(Source):
    """The machine, or what /proc shows as it."""

    shared = "host"

    def __init__(self, path: str) -> None:
        super().__init__("host", path)
        self._file = Kept(path)

    def ceilings(self, now: float | None = None) -> Sequence[Ceiling]:
        """Return MemTotal against what of it is not available."""
        text = self._file.read(4096)
        total, available = _kib(text, b"MemTotal:"), _kib(text, b"MemAvailable:")
        if total is None:
            raise ValueError("no MemTotal in it")
        if available is None:  # before Linux 3.14, and in some emulations
            parts = [_kib(text, label) for label in (b"MemFree:", b"\nBuffers:", b"\nCached:")]
            if parts[0] is None:
                raise ValueError("neither MemAvailable nor MemFree in it")
            available = sum(part or 0 for part in parts) - (_kib(text, b"\nShmem:") or 0)
        return ((total, total - max(0, min(available, total)), False),)

    def kept(self) -> Iterable[Kept]:
        """Return the one file."""
        return (self._file,)
