"""Decorators that remember what functions answered: `cached`, `cachedmethod`, `lru_cache`, `cache`.

From the ground up: how a call becomes a key (`callkeys`), calls that many wait for (`singleflight`),
instances that own entries (`owners`), what is hot in a pure cache (`front`), options (`options`), all of it
put together (`wrapping`, with `native` where that was built). On top is what users write: `functions`,
`methods`, `drop_ins`, and `mapped` for mappings that they bring themselves.
"""

from __future__ import annotations

from ebbcache.memoize.drop_ins import cache, lru_cache
from ebbcache.memoize.functions import cached
from ebbcache.memoize.methods import cachedmethod
from ebbcache.memoize.protocols import (
    BoundCached,
    CachedFunction,
    CachedMethod,
    CacheInfo,
    CountedFunction,
    MappedFunction,
)

__all__ = [
    "BoundCached",
    "CacheInfo",
    "CachedFunction",
    "CachedMethod",
    "CountedFunction",
    "MappedFunction",
    "cache",
    "cached",
    "cachedmethod",
    "lru_cache",
]
