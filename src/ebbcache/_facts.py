"""What a cache tells about itself: why an entry left, and how the cache is doing.

Both are frozen, so that they can be handed to anybody. Bound: `stats()` reads a dozen counters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["evicted", "expired", "replaced", "deleted", "cleared", "refused"]


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an entry left its cache (or never got in), as a listener hears it.

    `kind` is evicted, expired, replaced (another value was set for its key), deleted, cleared, or refused
    (not kept at all). `by` says who: ``"user"``, ``"maxsize"``, ``"maxbytes"``, ``"ttl"``, ``"memory"``
    (refused because none is left), ``"soft pressure"``, ``"hard pressure"``, ``"growth"`` (caches made room
    for one another), ``"reclaim"``.
    """

    kind: Kind
    by: str


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What `stats()` found: a cache's size now, in entries and bytes, and what happened to it so far."""

    name: str
    policy: str
    entries: int
    nbytes: int
    hits: int
    misses: int
    inserts: int
    evictions: int
    expirations: int
    refused: int
    listener_errors: int
    correction: float = 1.0
    """Bytes really freed for each byte counted, an average over victims that were measured again as memory
    was reclaimed: pressure and `shrink` count in `nbytes` times this."""

    @property
    def hit_ratio(self) -> float:
        """Hits as a part of all lookups; 0.0 before the first."""
        lookups = self.hits + self.misses
        return self.hits / lookups if lookups else 0.0
