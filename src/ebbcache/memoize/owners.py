"""Instances as the owners of entries: told apart by identity, never kept alive, gone with all they own.

Each instance that a cached method was called on has a record, found by the instance's id and holding it
only weakly; the record's serial (with the native store, an object that native code can compare with the
instance) stands in the keys in the instance's place. So instances may be equal or unhashable, and when one
dies its record's callback drops its entries from the cache that all instances share. A record goes also
when its last entry is evicted: an idle instance costs nothing.

An instance that cannot be referred to weakly (one of a subclass of int or tuple, say) carries an *anchor*
in its ``__dict__`` that can, and that dies with it. Copying such an instance copies the anchor too; the
copy gets one of its own at its first call, and the entries of the original wait for both to die.

Bound: finding the record is one dict look-up and one call; memory half a kilobyte for an instance that owns
entries, and 100 bytes for each further entry, which the entries' sizes include.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Final, Never

from ebbcache.caches import Cache, Cause
from ebbcache.store import Instance

ITSELF: Final = object()
"""Stored in place of a value that is the instance itself, which the cache must not keep alive."""

_RECORD: Final = 600
"""Bytes that an instance's record takes, with its first entry's key noted."""
_NOTE: Final = 90
"""Bytes that noting one more key takes."""


class Owner(weakref.ref[Any]):
    """The record of one instance: a weak reference that knows the keys of the instance's entries."""

    __slots__ = ("keys", "number", "serial")

    number: int
    """The instance's id."""
    serial: Hashable
    """Stands in keys for the instance; never used again for another."""
    keys: dict[int, Any]
    """The entries' keys, each under its own id, so that no `__hash__` or `__eq__` of an argument runs."""


@functools.cache
def refusing(kind: type[Cache[Any, Any]]) -> type[Cache[Any, Any]]:
    """Return a *kind* of cache that is neither copied nor pickled.

    Its keys stand for instances that live here, and what a copy gives up would be taken for given up here.
    """

    def refuse(cache: Cache[Any, Any]) -> Never:
        raise TypeError(
            f"the entries of {cache.name} belong to instances; a method's cache cannot be copied or pickled"
        )

    own = {"__module__": kind.__module__, "__doc__": kind.__doc__, "_twin": refuse, "__getstate__": refuse}
    return type(kind.__name__, (kind,), own)


class _Anchor:
    """Dies with the ``__dict__`` it is in; a pickled or deep-copied one belongs to nobody."""

    __slots__ = ("__weakref__", "number")

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _Anchor, ()


class Owners:
    """The owners of one method's entries; *who* names the method in errors.

    Changes are straight-line code from the test to the last store, with no call in between where another
    thread could come in (see `ebbcache.store.reference`).
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._slot = f"_ebbcache anchor of {who}"
        self._serials = itertools.count(1)
        self._by_id: dict[int, Owner] = {}
        self._by_serial: dict[Hashable, Owner] = {}  # those that own entries
        self._drop: Callable[[Any, None], object] | None = None
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
        if owner is not None and owner() is referent:
            return owner
        fresh = Owner(referent, self._died)
        fresh.number = number
        # Not of an anchor, which may be in two hands.
        native = Instance if referent is instance else None
        fresh.serial = next(self._serials) if native is None else native(instance)
        fresh.keys = {}
        if owner is not None:  # of an object that is no more
            self._by_id.pop(number, None)
        return self._by_id.setdefault(number, fresh)  # another thread's, if it was quicker

    def storing(self, cache: Cache[Any, Any]) -> Callable[[Any, Any, float | None, float, Owner], None]:
        """Answer a function ``(key, value, ttl, cost, owner)`` that stores in *cache* and notes the key."""
        self._drop = cache.pop
        by_id, by_serial = self._by_id, self._by_serial
        insert = cache._insert  # pyright: ignore[reportPrivateUsage] - `set` checks what is known to be right

        def store(key: Any, value: Any, ttl: float | None, cost: float, owner: Owner) -> None:
            # Noted first: whatever happens to the entry, even while it is being stored, `left` hears of it.
            # Entered again, for the owner may have lost its last entry since it was found. If the instance
            # has got another record meanwhile, that is the one whose entries can be invalidated.
            owner.keys[id(key)] = key
            by_serial[owner.serial] = owner
            if by_id.setdefault(owner.number, owner) is not owner:
                self._forget(owner, key)
                return
            try:
                # The commonest value that would keep its instance alive is the instance itself.
                insert(key, hash(key), ITSELF if value is owner() else value, ttl, cost)
            except BaseException:
                self._forget(owner, key)
                raise

        return store

    def left(self, key: Any, _value: object, _cause: Cause) -> None:
        """Note that an entry has left the cache (its listener)."""
        owner = self._by_serial.get(key[0])
        if owner is not None:
            self._forget(owner, key)

    def cost(self, key: Any) -> int:
        """Answer the bytes that a key which is being stored takes on its owner's side."""
        owner = self._by_serial.get(key[0])
        return _RECORD if owner is not None and len(owner.keys) == 1 else _NOTE

    def _forget(self, owner: Owner, key: Any) -> None:
        by_id, by_serial, keys = self._by_id, self._by_serial, owner.keys
        number, serial = owner.number, owner.serial
        keys.pop(id(key), None)
        if not keys:
            if serial in by_serial:
                del by_serial[serial]
            if number in by_id and by_id[number] is owner:
                del by_id[number]

    def _died(self, owner: Owner) -> None:
        # Runs before the memory can hold another object, so the id is not anybody else's yet.
        by_id, number = self._by_id, owner.number
        if number in by_id and by_id[number] is owner:
            del by_id[number]
        self._by_serial.pop(owner.serial, None)
        for key in list(owner.keys.values()):
            # If an argument's __hash__ fails, the entry, which nobody can find, stays until it is evicted.
            try:
                if self._drop is not None:
                    self._drop(key, None)
            except Exception:
                continue
