"""RLIMIT_AS against the address space, RLIMIT_DATA against the data segment; setrlimit(2).

Both make an allocation fail (MemoryError) where a cgroup kills. The soft limit is the one that the kernel
enforces. Bound: one getrlimit a refresh; one `pread` more a reading where a limit is set.
"""

from __future__ import annotations

import resource  # raises ImportError on Windows, which has no such limits
from collections.abc import Sequence

from ebbcache.memory.process import Sizes
from ebbcache.memory.reading import Ceiling, Source


class ResourceLimit(Source):
    """One of the two; `field` is the position in `Sizes.sizes()` of what counts against it."""

    def __init__(self, name: str, field: int, of: Sizes) -> None:
        super().__init__(name, of.path)
        self._which: int = getattr(resource, name)
        self._field = field
        self._of = of
        self.limit: int | None = None
        self.refresh()

    def refresh(self) -> bool:
        """Ask for the soft limit again."""
        was = self.limit
        limit = resource.getrlimit(self._which)[0]
        self.limit = None if limit == resource.RLIM_INFINITY or limit < 0 else limit
        return was != self.limit

    @property
    def limited(self) -> bool:
        """Whether a limit is set."""
        return self.limit is not None

    def ceilings(self, now: float | None = None) -> Sequence[Ceiling]:
        """Return the limit, if there is one, against what it limits."""
        limit = self.limit
        return () if limit is None else ((limit, self._of.sizes()[self._field], False),)


def find(of: Sizes) -> list[ResourceLimit]:
    """Return the resource limits that this platform knows."""
    return [
        ResourceLimit(name, field, of)
        for name, field in (("RLIMIT_AS", 0), ("RLIMIT_DATA", 2))
        if hasattr(resource, name)
    ]
