"""What ebbcache is compared with: each peer as a mapping and as a decorator, built as its own pages say.

A peer that is not installed is left out. `pip install -e ".[bench]"` installs them all.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ebbcache

DISTRIBUTIONS = ("cachebox", "cachetools", "lru-dict", "methodtools", "moka-py", "theine")
COMPILED = frozenset({"dict", "functools", "cachebox", "lru-dict", "moka-py", "theine"})
POLICIES = ("lru", "lfu", "ttl", "density")
UNLIMITED = 1 << 21
"""A size that no benchmark reaches, for peers that must be given one."""


def module(name: str) -> Any:
    """Return the module, or None where its package is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def versions(distributions: tuple[str, ...] = DISTRIBUTIONS) -> dict[str, str]:
    """Return the versions of what is installed."""
    found = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Contender:
    """A mapping, and how its operations are called where they are no operators."""

    mapping: Any
    get: Callable[[Any], Any]
    set: Callable[[Any, Any], Any] | None = None
    """None: ``mapping[key] = value``."""
    has: bool = True
    """Whether there is ``key in mapping``."""
    delete: Callable[[Any], Any] | None = None
    """None: ``del mapping[key]``."""

    def fill(self, keys: Iterable[Any], values: Iterable[Any]) -> None:
        """Set each key to its value."""
        if self.set is not None:
            for key, value in zip(keys, values, strict=False):
                self.set(key, value)
        else:
            for key, value in zip(keys, values, strict=False):
                self.mapping[key] = value


def mapped(mapping: Any) -> Contender:
    return Contender(mapping, mapping.get)


def through_methods(cache: Any, delete: str, ttl: timedelta | None = None) -> Contender:
    put = cache.set if ttl is None else functools.partial(cache.set, ttl=ttl)
    return Contender(cache, cache.get, put, has=False, delete=getattr(cache, delete))


def memoised(decorate: Callable[[Any], Any]) -> Contender:
    """Return a memoised identity function, whose call is its `get`: what it has not got it computes."""
    call = decorate(lambda key: key)
    return Contender(call, call, lambda key, _: call(key), has=False)


def builders(policy: str, size: int | None = None) -> dict[str, Callable[[], Contender]]:
    """Return what makes empty caches with a policy of `POLICIES`, ebbcache's first, to hold `size` entries.

    No peer has value density; beside it stand the W-TinyLFU of theine and moka-py, which also decide whom
    to admit. None as size: as many as come.
    """
    most, hour = size or UNLIMITED, 3600.0
    cachebox, cachetools = module("cachebox"), module("cachetools")
    lru, moka, theine = module("lru"), module("moka_py"), module("theine")
    found: dict[str, Callable[[], Contender]] = {}
    if policy == "lru":
        found["LRUCache"] = lambda: mapped(ebbcache.LRUCache(size))
        if cachebox:
            found["cachebox"] = lambda: mapped(cachebox.LRUCache(size or 0))
        if lru:
            found["lru-dict"] = lambda: mapped(lru.LRU(most))
        if cachetools:
            found["cachetools"] = lambda: mapped(cachetools.LRUCache(most))
        if moka:
            found["moka-py"] = lambda: through_methods(moka.Moka(most, policy="lru"), "remove")
    elif policy == "ttl":
        found["TTLCache"] = lambda: mapped(ebbcache.TTLCache(size, ttl=hour))
        if cachebox:
            found["cachebox"] = lambda: mapped(cachebox.TTLCache(size or 0, hour))
        if cachetools:
            found["cachetools"] = lambda: mapped(cachetools.TTLCache(most, hour))
        if moka:
            found["moka-py"] = lambda: through_methods(moka.Moka(most, ttl=hour), "remove")
        if theine:
            found["theine"] = lambda: through_methods(theine.Cache(most), "delete", timedelta(seconds=hour))
    elif policy in ("lfu", "density"):
        name = {"lfu": "LFUCache", "density": "DensityCache"}[policy]
        found[name] = lambda: mapped(getattr(ebbcache, name)(size))
        if cachebox and policy == "lfu":
            found["cachebox"] = lambda: mapped(cachebox.LFUCache(size or 0))
        if cachetools and policy == "lfu":
            found["cachetools"] = lambda: mapped(cachetools.LFUCache(most))
        if moka:
            found["moka-py"] = lambda: through_methods(moka.Moka(most, policy="tiny_lfu"), "remove")
        if theine:
            found["theine"] = lambda: through_methods(theine.Cache(most), "delete")
    else:
        raise ValueError(f"policy must be lru, lfu, ttl or density, not {policy!r}")
    return found


def mappings(policy: str, size: int | None = None) -> dict[str, Contender]:
    """Return what `builders` makes."""
    return {name: build() for name, build in builders(policy, size).items()}


def decorators(size: int | None = None) -> dict[str, Callable[[Any], Any]]:
    """Return what makes a function remember its results, functools' first; None as size: all of them."""
    most = size or UNLIMITED
    cachebox, cachetools = module("cachebox"), module("cachetools")
    methodtools, moka, theine = module("methodtools"), module("moka_py"), module("theine")
    found: dict[str, Callable[[Any], Any]] = {
        "functools": functools.lru_cache(maxsize=size),
        "cached": ebbcache.cached if size is None else ebbcache.cached(maxsize=size),
        "lru_cache": ebbcache.lru_cache(maxsize=size),
    }
    if methodtools:
        found["methodtools"] = methodtools.lru_cache(maxsize=size)
    if cachebox:
        found["cachebox"] = lambda function: cachebox.cached(cachebox.LRUCache(size or 0))(function)
    if cachetools:
        found["cachetools"] = lambda function: cachetools.cached(cachetools.LRUCache(most))(function)
    if moka:
        found["moka-py"] = moka.cached(maxsize=most)
    if theine:
        found["theine"] = theine.Memoize(most, None)
    return found
