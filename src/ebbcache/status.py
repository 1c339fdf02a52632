"""One snapshot of everything: what limits memory, what caches hold, and what the governor makes of it.

Taken without stopping anything, so figures of different parts may be a moment apart. Bound: one survey of
memory (milliseconds: files are opened, not kept) and one call of each shrinker's `size`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ebbcache import governor
from ebbcache.governor.account import Marks
from ebbcache.memory import Survey
from ebbcache.shrinkers import Record, registered
from ebbcache.store import IMPLEMENTATION, WHY_PURE


@dataclass(frozen=True, slots=True)
class ShrinkerStatus:
    """A registered shrinker: the bytes it states (None: it states none), and its record."""

    name: str
    held: int | None
    record: Record


@dataclass(frozen=True, slots=True)
class GovernorStatus:
    """The governor's view; all amounts in bytes, `interval` in seconds.

    `state` is calm, soft, hard or exhausted; `cached` what caches hold, `others` the rest of usage less
    what the allocator retains, `peak` their recent most, `burst` their recent fastest growth, `expected`
    what they are to find room for again, `unknown` the room left for a burst never seen, `return_rate` the
    share of freed bytes that the kernel got back; `cap` the most that caches may hold; `passes` counts the
    reclaims by kind ("growth": at the cap, caches made room for themselves); `woken_by` what cut a sleep
    short; `neighbours` counts the other processes with caches under the same ceiling, whose bytes are in
    `cached`.
    """

    state: str
    running: bool
    interval: float
    marks: Marks
    reserve: int
    cap: int
    cached: int
    others: int
    peak: int
    burst: int
    expected: int
    unknown: int
    return_rate: float
    retained: int
    in_flight: int
    neighbours: int
    allowance: int
    looks: int
    passes: dict[str, int]
    freed: int
    woken_by: dict[str, int]


@dataclass(frozen=True, slots=True)
class Status:
    """What `status()` found.

    `store` names the store's implementation ("native" or "pure"), and `why_pure` says why it is not the
    native one, None if it is.
    """

    memory: Survey
    governor: GovernorStatus
    shrinkers: tuple[ShrinkerStatus, ...]
    store: str
    why_pure: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the same as plain dicts, lists, numbers and strings, ready for JSON."""
        return asdict(self)


def status() -> Status:
    """Look at memory now and return what stands where; see `Status`.

    >>> found = status()
    >>> found.governor.state
    'calm'
    """
    watcher = governor.the_watcher
    one = watcher.governor
    one.look()
    account = one.sight.account
    return Status(
        memory=watcher.memory.survey(),
        governor=GovernorStatus(
            state=one.state,
            running=watcher.running,
            interval=one.interval(),
            marks=one.sight.marks,
            reserve=one.sight.reserve,
            cap=one.sight.cap,
            cached=account.cached,
            others=account.others,
            peak=account.peak,
            burst=account.burst,
            expected=account.expected,
            unknown=account.unknown(one.sight.reading.limit) if one.sight.reading else 0,
            return_rate=account.return_rate,
            retained=account.retained,
            in_flight=account.in_flight,
            neighbours=len(one.sight.mates),
            allowance=governor.allowance.left,
            looks=one.looks,
            passes=dict(one.passes),
            freed=one.freed,
            woken_by=dict(watcher.woken_by),
        ),
        shrinkers=tuple(ShrinkerStatus(each.name, each.held(), each.record) for each in registered()),
        store=IMPLEMENTATION,
        why_pure=WHY_PURE,
    )
