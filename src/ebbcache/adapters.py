"""Shrinkers out of what people already have: an lru_cache, anything with `clear()`, any mapping.

Nothing is wrapped or copied: the object stays as it is and is held weakly where its type allows that
(a plain dict does not). Sizes are estimates from a sample of at most 64 entries, renewed when a quarter of
the content has changed, so that stating them costs amortised O(1) an insert.
"""

from __future__ import annotations

import functools
import gc
import itertools
import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, MutableMapping
from types import MethodType
from typing import Any, Generic, Protocol, TypeVar, cast

from ebbcache.gil import Lock, trying
from ebbcache.shrinkers import Shrinker, logger, register_shrinker, whole
from ebbcache.sizing import sizeof as measure

__all__ = ["register_clearable", "register_lru_cache", "register_mapping"]

SAMPLE = 64
LRU_WRAPPER: type = type(functools.cache(int))
LOCK_PATIENCE = 0.05  # s: how long a hard request waits for a mapping's lock

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")


class Clearable(Protocol):
    """Anything that `clear()` empties."""

    def clear(self) -> object:
        """Drop everything."""
        ...


AnyClearable = TypeVar("AnyClearable", bound=Clearable)


class _Held(Generic[T]):
    """Holds an object weakly if it can be, and unregisters its shrinker when it dies."""

    __slots__ = ("__weakref__", "get", "handle")

    def __init__(self, obj: T) -> None:
        self.handle: Shrinker | None = None
        me = weakref.ref(self)

        def gone(_: object) -> None:
            held = me()
            if held is not None and held.handle is not None:
                held.handle.unregister()

        self.get: Callable[[], T | None]
        try:
            self.get = weakref.ref(obj, gone)
        except TypeError:
            self.get = lambda: obj


def _name(name: str | None, obj: object) -> str:
    if name is not None:
        return name
    named: Any = obj if hasattr(obj, "__qualname__") else type(obj)
    return f"{named.__module__}.{named.__qualname__}"


def register_clearable(
    obj: AnyClearable, *, size: Callable[[AnyClearable], int], name: str | None = None, soft: bool = False
) -> Shrinker:
    """Register an object that can only be emptied: `obj.clear()` frees all of it.

    `size(obj)` tells the bytes it holds. As it loses everything each time, it is called on hard pressure
    only, unless `soft`. Returns the handle; names and errors as `register_shrinker` has them.

    >>> class Pages:
    ...     def __init__(self):
    ...         self.content = bytearray(1 << 20)
    ...     def clear(self):
    ...         self.content.clear()
    >>> pages = Pages()
    >>> handle = register_clearable(pages, size=lambda pages: len(pages.content), name="pages")
    >>> handle.held()
    1048576
    >>> del pages  # and with it the registration
    >>> handle.registered
    False
    """
    if not callable(getattr(obj, "clear", None)):
        raise TypeError(f"obj must have a clear() method, {obj!r} has none")
    if not callable(size):
        raise TypeError(f"size must be callable, not {size!r}")
    return _register_clearing(obj, lambda obj: obj.clear(), size, _name(name, obj), soft)


def _register_clearing(
    obj: T, clear: Callable[[T], object], size: Callable[[T], int | None], name: str, soft: bool
) -> Shrinker:
    held = _Held(obj)

    def shrink(target: int, hard: bool) -> int:
        obj = held.get()
        if obj is None or not (hard or soft):
            return 0
        before = size(obj) or 0
        clear(obj)
        return max(before - (size(obj) or 0), 0)

    def stated() -> int | None:
        obj = held.get()
        return 0 if obj is None else size(obj)

    def tally(hard: bool) -> dict[int, int] | None:
        # An empty tally has soft passes ask for nothing; None has hard ones divide by size.
        return None if hard else {}

    held.handle = register_shrinker(name, shrink, size=stated, tally=None if soft else tally)
    return held.handle


def register_lru_cache(
    func: Callable[..., object], *, name: str | None = None, soft: bool = False
) -> Shrinker:
    """Register a function that `functools.lru_cache` or `functools.cache` decorated.

    All that can be done to it is `cache_clear()`, so it is cleared on hard pressure only, unless `soft`.
    Its bytes are estimated from a sample of its results and of the keys' own bytes; what arguments refer
    to is taken to be someone else's. A cached method is one cache for all instances. Returns the handle.
    Raises TypeError for anything but functools' own wrapper.

    >>> @functools.lru_cache(maxsize=None)
    ... def page(number):
    ...     return bytes(10_000)
    >>> with register_lru_cache(page) as handle:
    ...     _ = [page(number) for number in range(100)]
    ...     1_000_000 < handle.held() < 1_050_000
    True
    """
    lru: Any = func.__func__ if isinstance(func, MethodType) else func
    if not isinstance(lru, LRU_WRAPPER):
        raise TypeError(f"func must be decorated by functools.lru_cache or functools.cache, not {func!r}")
    sample = _Sample()

    def size(lru: Any) -> int | None:
        info = lru.cache_info()
        return sample.estimate(info.currsize, info.misses, lambda: _lru_entries(lru))

    def clear(lru: Any) -> None:
        lru.cache_clear()

    return _register_clearing(lru, clear, size, _name(name, lru), soft)


class _Sample:
    """The mean bytes of an entry, measured again when a quarter of the entries has been replaced."""

    __slots__ = ("_mean", "_seen")

    def __init__(self) -> None:
        self._mean: float | None = None
        self._seen: int | None = None

    def estimate(self, entries: int, inserts: int, sizes: Callable[[], Iterable[int]]) -> int | None:
        """Return the bytes of `entries` entries, None if unknown; `inserts` tells how much has changed."""
        if not entries:
            return 0
        if self._seen is None or abs(inserts - self._seen) * 4 > entries:
            measured = list(sizes())
            if measured:
                self._mean = sum(measured) / len(measured)
                self._seen = inserts
        return None if self._mean is None else int(self._mean * entries)

    def learn(self, size: int, entries: int) -> None:
        """Take in that `entries` removed entries had `size` bytes, and measure anew where one can."""
        if entries:
            self._mean = size / entries
            self._seen = None


def _lru_entries(lru: Any) -> Iterable[int]:
    """Yield the bytes of a sample of the entries of `lru`."""
    # What CPython's wrapper (3.11 to 3.13 at least) shows to the garbage collector: its type, then for
    # each entry of a bounded cache key, result, link type; then the table, the function and so on. The
    # table maps keys to links, or to results if the cache is unbounded.
    shown: list[Any] = gc.get_referents(lru)
    attributes = lru.__dict__
    at = next(
        (i for i in reversed(range(len(shown))) if type(shown[i]) is dict and shown[i] is not attributes),
        -1,
    )
    if at < 0:
        return
    table: dict[Any, Any] = shown[at]
    slot = sys.getsizeof(table) // max(len(table), 1)
    linked = at > 1
    entries: Iterable[tuple[Any, Any]]
    if linked:
        numbers = range(0, (at - 1) // 3, max((at - 1) // 3 // SAMPLE, 1))
        entries = [(shown[1 + 3 * n], shown[2 + 3 * n]) for n in numbers]
        slot += 64  # a link, as the allocator rounds it
    else:
        entries = _some_items(table)
    del shown
    for key, result in entries:
        yield slot + _key_bytes(key) + measure(result)


def _some_items(table: dict[K, V]) -> list[tuple[K, V]]:
    """Return at most about SAMPLE items, spread evenly; fewer if another thread changes the dict."""
    items: list[tuple[K, V]] = []
    # Not through methods of a subclass, which may be anyone's.
    every: Iterable[tuple[K, V]] = cast("Any", dict).items(table)
    try:
        for item in itertools.islice(every, 0, None, max(len(table) // SAMPLE, 1)):
            items.append(item)  # noqa: PERF402  # what was got before the dict changed is kept
    except RuntimeError:
        pass
    return items


def _key_bytes(key: object) -> int:
    if isinstance(key, tuple):
        parts = cast("tuple[object, ...]", key)
        return sys.getsizeof(parts) + sum(map(_key_bytes, parts))
    return measure(key) if isinstance(key, str | bytes | int | float | complex) else 0


def register_mapping(
    mapping: MutableMapping[K, V],
    *,
    name: str | None = None,
    sizeof: Callable[[K, V], int] | None = None,
    lock: Lock | None = None,
) -> Shrinker:
    """Register a mutable mapping, whose `popitem()` is called until the target is met.

    What goes first is the mapping's own affair: a `cachetools` cache gives up what its policy says, a
    plain dict its newest item; of an OrderedDict the first item is taken. `sizeof(key, value)` tells the
    bytes of an item; the default measures both. Items are removed in the thread that reclaims, so give the
    `lock` that guards the mapping, if there is one: while it is taken, soft requests do without and hard
    ones wait 50 ms at most.

    The mapping is held weakly if its type allows it; a plain dict is kept alive until `unregister()`.
    Returns the handle. Raises TypeError if the mapping has no `popitem()` or no length.

    >>> pages = {number: bytes(1000) for number in range(10)}
    >>> from ebbcache.engine import reclaim
    >>> with register_mapping(pages, name="pages", sizeof=lambda number, page: len(page)):
    ...     reclaim(2500).freed
    3000
    >>> len(pages)
    7
    """
    if not callable(getattr(mapping, "popitem", None)) or not hasattr(mapping, "__len__"):
        raise TypeError(f"mapping must have popitem() and a length, not {mapping!r}")
    if sizeof is not None and not callable(sizeof):
        raise TypeError(f"sizeof must be callable or None, not {sizeof!r}")
    if lock is not None and not (hasattr(lock, "acquire") and hasattr(lock, "release")):
        raise TypeError(f"lock must have acquire() and release(), not {lock!r}")
    held = _Held(mapping)
    sample = _Sample()
    weigh = _weigher(sizeof)
    # An OrderedDict is the classic hand-made LRU cache, oldest first, and its popitem() takes the newest.
    oldest_first = getattr(type(mapping), "popitem", None) is cast("Any", OrderedDict).popitem

    def shrink(target: int, hard: bool) -> int:
        mapping = held.get()
        victims: list[tuple[K, V]] = []  # their destructors run after the lock is given back
        if mapping is None:
            return 0
        if lock is None:
            return pop(mapping, target, victims)
        for free in trying(lock, hard, LOCK_PATIENCE if hard else -1):
            try:
                return pop(mapping, target, victims) if free else 0
            finally:
                if free:
                    lock.release()
        return 0

    def pop(mapping: MutableMapping[K, V], target: int, victims: list[tuple[K, V]]) -> int:
        freed = 0
        try:
            # Counted, because a popitem() may well remove nothing.
            for _ in range(len(mapping)):
                if freed >= target:
                    break
                item: tuple[K, V] = (
                    cast("Any", mapping).popitem(last=False) if oldest_first else mapping.popitem()
                )
                victims.append(item)
                freed += weigh(item[0], item[1])
        except KeyError:
            pass  # empty; another thread was faster
        except Exception:
            if not freed:
                raise
        finally:
            sample.learn(freed, len(victims))
        return freed

    def size() -> int | None:
        mapping = held.get()
        if mapping is None:
            return 0
        entries = len(mapping)
        # Iterating a mapping that is no dict may count as use and change what it evicts next.
        items = mapping if isinstance(mapping, dict) else None
        return sample.estimate(
            entries, entries, lambda: () if items is None else [weigh(k, v) for k, v in _some_items(items)]
        )

    held.handle = register_shrinker(_name(name, mapping), shrink, size=size)
    return held.handle


def _weigher(sizeof: Callable[[K, V], int] | None) -> Callable[[K, V], int]:
    """Return a function that weighs an item by the user's `sizeof`, and by ours where that fails."""
    told: list[object] = []

    def weigh(key: K, value: V) -> int:
        if sizeof is not None:
            try:
                return whole(sizeof(key, value))
            except Exception as exc:
                if not told:
                    told.append(True)
                    logger.warning(
                        "the sizeof of a registered mapping failed, measuring instead", exc_info=exc
                    )
        return measure(key) + measure(value)

    return weigh
