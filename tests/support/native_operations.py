"""Operations on native caches: one of each kind, for tests that have each of them fail, or repeat it."""

from __future__ import annotations

import gc
import itertools
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest
from both_stores import IMPLEMENTATIONS

from ebbcache.gil import is_free_threaded

CACHES = IMPLEMENTATIONS.get("native")
KINDS: dict[str, Callable[..., Any]] = {}
if CACHES is not None:
    KINDS = {
        "LRU": CACHES.LRUCache,
        "LFU": CACHES.LFUCache,
        "Density": CACHES.DensityCache,
        "TTL": lambda *args, **kwargs: CACHES.TTLCache(*args, ttl=3600.0, **kwargs),
    }


REPEAT = int(os.environ.get("EBBCACHE_REPEAT", "200"))


def stands_still(once: Callable[[int], object], watched: list[Any]) -> None:
    """Have `once` done again and again; assert that references to `watched` and blocks of memory stay."""
    for n in range(20):
        once(n)
    gc.collect()
    before = [sys.getrefcount(each) for each in watched]
    batch, growths = REPEAT // 4, []
    while len(growths) < 4 or (len(growths) < 40 and min(growths) >= batch / 4):
        # Threads that are just starting may allocate meanwhile, and the interpreter keeps some blocks for
        # next time; neither is so in each of many batches.
        blocks = sys.getallocatedblocks()
        for n in range(batch):
            once(n)
        gc.collect()
        growths.append(sys.getallocatedblocks() - blocks)
    assert [sys.getrefcount(each) for each in watched] == before
    assert min(growths) < batch / 4


def allocations() -> Any:
    """Return the module that can have any one allocation fail; skip where that is no use."""
    if is_free_threaded():
        pytest.skip("a list that gets no memory crashes a CPython 3.13 without a GIL (PyList_New)")
    return pytest.importorskip("_testcapi", reason="needs CPython's own test module")


class Awkward:
    """A key whose `==` is Python code and raises if it is told to.

    It has slots because CPython may need memory to drop an instance's dict, and complains without.
    """

    __slots__ = ("name",)
    angry = False

    def __init__(self, name: object) -> None:
        self.name = name

    def __hash__(self) -> int:
        return hash(self.name) % 7

    def __eq__(self, other: object) -> bool:
        if Awkward.angry:
            raise ArithmeticError("angry")
        return isinstance(other, Awkward) and self.name == other.name


def _set(cache: Any) -> None:
    cache["new"] = "value"


def _set_many(cache: Any) -> None:
    for n in range(100):
        cache[n + 1000] = n


def _replace_dated(cache: Any) -> None:
    cache.set(5, "a", ttl=10.0)
    cache.set(5, "b", ttl=None)
    cache.set(5, "c", ttl=5.0)


FRESH = itertools.count(10**6)


def _churn(cache: Any) -> None:
    for _ in range(5):
        cache[next(FRESH)] = "value"
        cache.shrink(1)


class Sized:
    """A value whose size is somebody's Python code, which raises."""

    def __sizeof__(self) -> int:
        raise ArithmeticError("no size")


OPERATIONS: dict[str, Callable[[Any], object]] = {
    "hit": lambda cache: cache.get(3),
    "miss": lambda cache: cache.get(-3),
    "missing": lambda cache: cache["nobody"],
    "in": lambda cache: 3 in cache,
    "set": _set,
    "set many": _set_many,
    "set more": lambda cache: cache.set("b", "c", ttl=60, cost=1.5),
    "huge": lambda cache: cache.set("b", "c", ttl=None, cost=2),
    "replace": lambda cache: cache.__setitem__(3, "other"),
    "delete": lambda cache: cache.__delitem__(3),
    "pop": lambda cache: cache.pop(4),
    "popitem": lambda cache: cache.popitem(),
    "setdefault": lambda cache: cache.setdefault("d", 1),
    "clear": lambda cache: cache.clear(),
    "shrink": lambda cache: cache.shrink(500),
    "shrink much": lambda cache: cache.shrink(cache.nbytes - 300),
    "shrink all": lambda cache: cache.shrink(cache.nbytes),
    "items": lambda cache: list(cache.items()),
    "keys": lambda cache: list(cache),
    "ranks": lambda cache: (cache.coldest(3), cache.hottest(3)),
    "tally": lambda cache: cache.tally(),
    "copy": lambda cache: cache.copy(),
    "resize": lambda cache: cache.resize(3),
    "expire": lambda cache: cache.expire(),
    "len": len,
    "sample": lambda cache: cache._sample(5),
    "unhashable": lambda cache: cache.get([]),
    "unhashable set": lambda cache: cache.__setitem__([], 1),
    "sized": lambda cache: cache.__setitem__("sized", Sized()),
    "odd ttl": lambda cache: cache.set("odd", 1, ttl=7),
    "replace dated": _replace_dated,
    "churn": _churn,
    "update": lambda cache: cache.update({3: 4, "three": (3, "x")}),
    "pickle": lambda cache: cache.__getstate__(),
    "seek": lambda cache: cache._unlink(cache._seek(3, hash(3))),
    "foreign": lambda cache: cache.get(Awkward("y")),
}
