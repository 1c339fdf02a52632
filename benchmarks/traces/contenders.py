"""The caches that are measured: ebbcache's, and what one would pick instead.

ebbcache, cachetools and moka-py are given bytes, and sizes as the trace tells them, with nothing added, so
that only the policy is measured. cachebox, theine and functools count entries. On traces whose objects have
one size that is the same; elsewhere they get as many entries as objects of the mean size fit, and their
bytes are nobody's business: an advantage where they keep large objects. Packages that are missing are
left out.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.traces.replay import Pair
from ebbcache.caches import Cache, DensityCache, LFUCache, LRUCache, TTLCache

Make = Callable[[], Pair]


class Room(NamedTuple):
    """What a cache may hold: bytes, or as many entries."""

    nbytes: int
    entries: int


def size_is_value(key: int, value: int) -> int:
    """The sizer of all replays: a value is its own size."""
    return value


def ours(kind: Callable[..., Cache[int, int]], room: Room) -> Pair:
    """Return one of ebbcache's caches, real but for its sizer, outside of any governor's reach."""
    more: dict[str, Any] = {"ttl": 1e18} if kind is TTLCache else {}
    cache = kind(maxbytes=room.nbytes, sizeof=size_is_value, register=False, **more)
    place = cache.set

    def put(key: int, size: int, cost: float) -> None:
        place(key, size, None, cost)

    return Pair(cache.get, put)


OURS: dict[str, Callable[..., Cache[int, int]]] = {
    "DensityCache": DensityCache,
    "LRUCache": LRUCache,
    "LFUCache": LFUCache,
    "TTLCache": TTLCache,
}
BOUND_BY_ENTRIES = {"cachebox LRU", "cachebox LFU", "theine", "functools"}
"""Those that are told entries, not bytes."""


def contenders(room: Room, *, only: set[str] | None = None) -> dict[str, Make]:
    """Return how to make each cache there is, for one size, by name; ebbcache's first."""
    found: dict[str, Make] = {
        name: functools.partial(ours, kind, room) for name, kind in OURS.items()
    } | _peers(room)
    return {name: make for name, make in found.items() if only is None or name in only}


def _peers(room: Room) -> dict[str, Make]:
    found: dict[str, Make] = {"functools": functools.partial(_functools, room)}
    if cachetools := _module("cachetools"):
        for policy in ("LRU", "LFU"):
            found[f"cachetools {policy}"] = functools.partial(
                _cachetools, getattr(cachetools, f"{policy}Cache"), room
            )
    if cachebox := _module("cachebox"):
        for policy in ("LRU", "LFU"):
            found[f"cachebox {policy}"] = functools.partial(
                _cachebox, getattr(cachebox, f"{policy}Cache"), room
            )
    if theine := _module("theine"):
        found["theine"] = functools.partial(_theine, theine.Cache, room)
    if moka := _module("moka_py"):
        found["moka-py"] = functools.partial(_moka, moka.Moka, room)
    return found


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _functools(room: Room) -> Pair:
    missed: list[int] = []

    @functools.lru_cache(maxsize=room.entries)
    def call(key: int) -> int:
        missed.append(key)
        return key

    def get(key: int) -> int | None:
        call(key)
        if missed:
            missed.clear()
            return None
        return key

    return Pair(get, lambda key, size, cost: None)


def _cachetools(kind: Any, room: Room) -> Pair:
    cache = kind(room.nbytes, getsizeof=lambda value: value)

    def put(key: int, size: int, cost: float) -> None:
        if size <= room.nbytes:  # a larger one is a ValueError
            cache[key] = size

    return Pair(cache.get, put)


def _cachebox(kind: Any, room: Room) -> Pair:
    cache = kind(room.entries)
    return Pair(cache.get, lambda key, size, cost: cache.insert(key, size))


def _theine(kind: Any, room: Room) -> Pair:
    cache = kind(room.entries)
    found = cache.get

    def get(key: int) -> int | None:
        value, hit = found(key)
        return value if hit else None

    return Pair(get, lambda key, size, cost: cache.set(key, size))


def _moka(kind: Any, room: Room) -> Pair:
    cache = kind(room.nbytes, weigher=lambda key, value: value)
    settle = cache.run_pending_tasks

    def put(key: int, size: int, cost: float) -> None:
        cache.set(key, size)
        settle()  # else it would hold more than it was told, for a while that depends on the machine

    return Pair(cache.get, put)
