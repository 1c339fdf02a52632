"""Caches that need no size: they grow into free memory and ebb when something else wants it."""

from __future__ import annotations

import sys

if sys.implementation.name != "cpython":
    raise ImportError(
        f"ebbcache needs CPython, whose reference counts tell sizes; this is {sys.implementation.name}"
    )

from ebbcache import memory, testing
from ebbcache.adapters import register_clearable, register_lru_cache, register_mapping
from ebbcache.caches import CacheStats, Cause, DensityCache, LFUCache, LRUCache, TTLCache
from ebbcache.deferred import Deferred, deferred
from ebbcache.engine import Gave, Reclaimed
from ebbcache.governor import configure, make_room, reclaim
from ebbcache.memoize import CacheInfo, cache, cached, cachedmethod, lru_cache
from ebbcache.retry import retry_on_memory_error
from ebbcache.shrinkers import Shrinker, register_shrinker
from ebbcache.sizing import register_sizer, sizeof
from ebbcache.status import Status, status

__version__ = "0.1.0"

__all__ = [
    "CacheInfo",
    "CacheStats",
    "Cause",
    "Deferred",
    "DensityCache",
    "Gave",
    "LFUCache",
    "LRUCache",
    "Reclaimed",
    "Shrinker",
    "Status",
    "TTLCache",
    "cache",
    "cached",
    "cachedmethod",
    "configure",
    "deferred",
    "lru_cache",
    "make_room",
    "memory",
    "reclaim",
    "register_clearable",
    "register_lru_cache",
    "register_mapping",
    "register_shrinker",
    "register_sizer",
    "retry_on_memory_error",
    "sizeof",
    "status",
    "testing",
]
