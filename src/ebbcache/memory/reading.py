"""What memory says, as values: one reading of the nearest ceiling, and the survey behind `ebbcache status`.

Everything here is frozen: a reading can be handed to any thread, kept and compared. The words (limit,
usage, headroom) are those of the design. Bound: a `Source` states at most two ceilings, one hard and one
soft.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ebbcache.memory.files import Kept

Ceiling: TypeAlias = tuple[int, int, bool]
"""(limit, usage, soft) in bytes: a plain tuple, because every read makes several and shows only one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Where the process stood under its nearest ceiling; all amounts in bytes.

    `headroom` is `limit - usage` and goes negative where a ceiling can be exceeded (memory.high, or a limit
    that the user set on this process). `soft` says that the ceiling is one that the kernel slows a process
    down at and never kills for; `hard_headroom` then is what is left under the nearest hard one, and None
    otherwise. `shared` names the ceiling alike for all processes under it; None if only this one is.

    >>> Reading(limit=100, usage=60, headroom=40, source="host").headroom
    40
    """

    limit: int
    usage: int
    headroom: int
    source: str
    soft: bool = False
    hard_headroom: int | None = None
    shared: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SourceState:
    """One source as a survey found it. `limit` None: no ceiling here; `error`: why it says nothing.

    A source that also fixed what was looked at (a cgroup taken from the mount's root, say) tells so in
    `note`.
    """

    name: str
    path: str
    limit: int | None = None
    usage: int | None = None
    headroom: int | None = None
    soft: bool = False
    binding: bool = False
    error: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class WakeupState:
    """One thing that could end a `wait()` early: armed, or why not. `detail` is what was asked for."""

    name: str
    path: str
    armed: bool
    detail: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything that was looked for: the reading that binds, each source and wake-up, found or not."""

    reading: Reading | None
    sources: tuple[SourceState, ...]
    wakeups: tuple[WakeupState, ...]


class Source:
    """One place that limits this process. Subclasses read; whoever calls deals with OSError and ValueError.

    `error` is why the last reading failed, `stale` why the last refresh did, None after one that worked.
    `shared` is a name for what limits other processes as well, the same in all of them.
    Reading needs no lock: a source keeps its descriptors for as long as anybody holds the source.
    """

    error: str | None = None
    stale: str | None = None
    note: str | None = None
    shared: str | None = None

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path

    def refresh(self) -> bool:
        """Read the limits again; True if one changed."""
        return False

    @property
    def limited(self) -> bool:
        """Whether there was a ceiling here at the last `refresh()`."""
        return True

    def ceilings(self, now: float | None = None) -> Sequence[Ceiling]:
        """Return the ceilings with the usage of this moment, under the limits of the last `refresh()`.

        With `now` (seconds) given, what changes slowly may be as old as the source says; else nothing is.
        """
        raise NotImplementedError

    def kept(self) -> Iterable[Kept]:
        """Return the descriptors that this source holds open."""
        return ()


@dataclass(frozen=True, slots=True)
class Missing:
    """A source that is not there or cannot be opened, and why; the survey shows it."""

    name: str
    path: str
    why: str
