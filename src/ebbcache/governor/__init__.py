"""The process's one governor: what caches call, and what its users say to it.

Importing this creates the governor but starts nothing; the thread comes with the first cache or shrinker.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from types import EllipsisType

from ebbcache import engine, shrinkers
from ebbcache.governor.deciding import Governor
from ebbcache.governor.shares import Neighbourhood
from ebbcache.governor.watcher import Expiring, Watcher, install
from ebbcache.memory import Memory
from ebbcache.store import Allowance
from ebbcache.units import parse_bytes

__all__ = [
    "allowance",
    "configure",
    "make_room",
    "reclaim",
    "spent",
    "watch_expiry",
]


def _limit(limit: int | str | None, name: str) -> int | None:
    if limit is None:
        return None
    amount = parse_bytes(limit, name)
    if amount == 0:
        raise ValueError(f"{name} must be more than 0 bytes, got {limit!r}")
    return amount


def _neighbours() -> Neighbourhood | None:
    try:
        from ebbcache.governor.neighbours import Neighbours
    except ImportError:  # not every platform has file locks of that kind: other processes are strangers
        return None
    return Neighbours()


_memory = Memory(limit=_limit(os.environ.get("EBBCACHE_LIMIT") or None, "EBBCACHE_LIMIT"))
allowance = Allowance()
the_watcher = Watcher(
    Governor(_memory, allowance=allowance, neighbours=_neighbours(), wake=_memory.wake), _memory
)
the_watcher.governor.sight.reserve = parse_bytes(
    os.environ.get("EBBCACHE_RESERVE") or 0, "EBBCACHE_RESERVE"
)
install(the_watcher)
shrinkers.when_registered(the_watcher.ensure_running)


def spent(size: int) -> bool:
    """Answer whether an insert of `size` bytes is kept, now that `allowance` is used up."""
    try:
        the_watcher.ensure_running()  # in a forked child this is the first use
        return the_watcher.governor.spent(size)
    except Exception as error:
        # Out of memory or stack, or a mistake of ours: an insert never fails for it, its value is not kept.
        the_watcher.failed(error)
        return False


def watch_expiry(cache: Expiring) -> None:
    """Sweep `cache` when its entries are due, for as long as it lives; it is held weakly."""
    the_watcher.watch_expiry(cache)


def configure(
    *,
    limit: int | str | EllipsisType | None = ...,
    reserve: int | str | EllipsisType | None = ...,
) -> None:
    """Have a say in how much memory this process may use; the defaults need none.

    `limit` is a ceiling on this process's resident memory, beside those that the system sets: bytes or text
    such as ``"2 GiB"``; None takes it away. `reserve` is the least headroom in bytes at which caches stop
    growing, for when the default is too little (about 9 % of the nearest limit, more before others showed
    their bursts); None goes back to that. What is not named stays as it is. The environment variables
    ``EBBCACHE_LIMIT`` and ``EBBCACHE_RESERVE`` say the same at start.

    Raises TypeError or ValueError, and changes nothing, if an amount makes no sense.
    """
    new_limit = limit if limit is ... else _limit(limit, "limit")
    new_reserve = reserve if reserve is ... else parse_bytes(reserve or 0, "reserve")
    if new_limit is not ...:
        _memory.set_limit(new_limit)
    if new_reserve is not ...:
        the_watcher.governor.sight.reserve = new_reserve
    allowance.left = 0
    _memory.wake()


def reclaim(target: int | str | None, hard: bool = False) -> engine.Reclaimed:
    """Free about `target` bytes (or text such as ``"64 MiB"``; None: all) and say who freed what.

    Soft by default: shrinkers may defer, floors (`min_bytes`) hold. The time it takes grows with the number
    of entries that go. Raises TypeError or ValueError for a target that makes no sense.
    """
    return the_watcher.governor.reclaim(None if target is None else parse_bytes(target, "target"), hard)


def make_room(amount: int | str) -> AbstractContextManager[engine.Reclaimed]:
    """Free memory ahead of an allocation of `amount` bytes, and keep caches out of that room in the block.

    Whatever the block allocates counts towards the room. Gives what was freed. Does not promise that the
    allocation fits: caches may hold less than is missing.

    >>> with make_room("16 MiB"):
    ...     block = bytearray(16 << 20)
    """
    return the_watcher.governor.make_room(parse_bytes(amount, "amount"))
