"""The views of a cache: dict's, except that they iterate over a snapshot.

Other threads and memory pressure change a cache at any time, so no iteration may fail for a change, and
none may count hits or disturb the order of eviction. Bound: O(n) in C for the snapshot, then O(1) a step;
what has expired by the time its turn comes is left out.
"""

# The views are a part of the cache that was moved to a file of its own.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import Any, cast

from ebbcache.store import Store
from ebbcache.store.entry import K, V


class CacheKeys(KeysView[K]):
    """The keys of a cache, each looked at as of the moment the iteration began."""

    __slots__ = ()
    _mapping: Store[K, object]


class CacheValues(ValuesView[V]):
    """The values of a cache, each looked at as of the moment the iteration began."""

    __slots__ = ()
    _mapping: Store[object, V]

    def __iter__(self) -> Iterator[V]:
        for entry in self._mapping._living():
            yield entry.value

    def __contains__(self, value: object) -> bool:
        return any(each is value or each == value for each in self)


class CacheItems(ItemsView[K, V]):
    """The ``(key, value)`` pairs of a cache, as of the moment the iteration began."""

    __slots__ = ()
    _mapping: Store[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        for entry in self._mapping._living():
            yield entry.key, entry.value

    def __contains__(self, item: object) -> bool:
        try:
            key, value = cast("tuple[Any, Any]", item)
        except (TypeError, ValueError):
            return False
        entry = self._mapping._seek(key, hash(key))
        return entry is not None and bool(entry.value is value or entry.value == value)
