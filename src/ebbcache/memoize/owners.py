"""Instances as the owners of entries: told apart by identity, never kept alive, gone with all they own.

Each instance that a cached method was called on has a record, found by the instance's id and holding it
only weakly; the record stands in the keys in the instance's place. So instances may be equal or unhashable,
and when one dies its record's callback drops its entries from the cache that all instances share. A record
goes also when its last entry is evicted: an idle instance costs nothing.

An instance that cannot be referred to weakly (one of a subclass of int or tuple, say) carries an *anchor*
in its ``__dict__`` that can, and that dies with it. Copying such an instance copies the anchor too; the
copy gets one of its own at its first call, and the entries of the original wait for both to die.

Bound: finding the record is one dict look-up and one call; memory about half a kilobyte for an instance
that owns entries, and 100 bytes for each entry, which the entries' sizes include.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Final

from ebbcache.caches import Cache, Cause
from ebbcache.sizing import register_sizer

ITSELF: Final = object()
"""Stored in place of a value that is the instance itself, which the cache must not keep alive."""


class Owner(weakref.ref[Any]):
    """The record of one instance: a weak reference that knows the keys of the instance's entries."""

    __slots__ = ("keys", "number")

    # As part of a key it stands for itself; a weak reference would ask the instance.
    __hash__ = object.__hash__
    __eq__ = object.__eq__
    __ne__ = object.__ne__

    number: int
    """The instance's id."""
    keys: dict[int, Any]
    """The entries' keys, each under its own id, so that no `__hash__` or `__eq__` of an argument runs."""


RECORD: Final = 470
"""Bytes that an instance's record takes, with its first entry's key noted."""
NOTE: Final = 90
"""Bytes that noting one more key takes."""


# Never walked into from a key: it leads to all other keys.
@register_sizer(Owner)
def _counted_elsewhere(_: Owner) -> int:
    return 0


class _Anchor:
    """Dies with the ``__dict__`` it is in; a pickled or deep-copied one belongs to nobody."""

    __slots__ = ("__weakref__", "number")

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _Anchor, ()


class Owners:
    """The owners of one method's entries, by the ids of the instances; *who* names the method in errors."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._slot = f"_ebbcache anchor of {who}"
        self._by_id: dict[int, Owner] = {}
        self.find: Callable[[int], Owner | None] = self._by_id.get
        """Answers the record under an id; whether it stands for the instance meant, the caller checks."""

    def enter(self, instance: Any) -> Owner:
        """Answer the record of an instance, made now if it has none. TypeError if it cannot have one."""
        try:
            attributes: Any = object.__getattribute__(instance, "__dict__")
            anchor = attributes.get(self._slot)
        except AttributeError:
            attributes = anchor = None
        if anchor is None:
            try:
                return self._enter(instance, instance)
            except TypeError:  # no weak references
                pass
        if not isinstance(attributes, dict):
            kind = type(instance).__qualname__
            raise TypeError(
                f"{self._who} is cached per instance and must see instances die, but {kind!r} objects take "
                f"neither weak references nor attributes; add '__weakref__' to the __slots__ of {kind}"
            )
        if anchor is None or anchor.number != id(instance):
            anchor = attributes[self._slot] = _Anchor(id(instance))
        return self._enter(instance, anchor)

    def _enter(self, instance: Any, referent: Any) -> Owner:
        number = id(instance)
        owner = self._by_id.get(number)
        if owner is None or owner() is not referent:
            owner = Owner(referent, self._died)
            owner.number = number
            owner.keys = {}
            self._by_id[number] = owner
        return owner

    def storing(self, cache: Cache[Any, Any]) -> Callable[[Any, Any, float | None, float], None]:
        """Answer a function ``(key, value, ttl, cost)`` that stores in *cache* and tells the owner."""
        self._drop = cache.pop

        def store(key: Any, value: Any, ttl: float | None, cost: float) -> None:
            owner: Owner = key[0]
            # Noted first: whatever happens to the entry, even while it is stored, `left` hears of it.
            owner.keys[id(key)] = key
            try:
                # The commonest value that would keep its instance alive is the instance itself.
                cache.set(key, ITSELF if value is owner() else value, ttl, cost)
            except BaseException:
                self._forget(owner, key)
                raise

        return store

    def left(self, key: Any, _value: object, _cause: Cause) -> None:
        """Note that an entry has left the cache (its listener)."""
        self._forget(key[0], key)

    def _forget(self, owner: Owner, key: Any) -> None:
        owner.keys.pop(id(key), None)
        # A thread may be storing an entry right now: nobody finds that one then, and it goes with the
        # instance.
        if not owner.keys and self._by_id.get(owner.number) is owner:
            self._by_id.pop(owner.number, None)

    def _died(self, owner: Owner) -> None:
        # Runs before the memory can hold another object, so the id is not anybody else's yet.
        if self._by_id.get(owner.number) is owner:
            self._by_id.pop(owner.number, None)
        for key in list(owner.keys.values()):
            try:
                self._drop(key, None)
            except (
                Exception
            ):  # an argument's __hash__ failed; the entry will be evicted, nobody can find it
                continue
