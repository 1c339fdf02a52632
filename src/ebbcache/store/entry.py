"""What a store knows about one key: a record that a reader may use without a lock.

The key and the value are fixed once an entry is linked: a new value for a key is a new entry, so whoever
found an entry can return its value no matter what happens to the store meanwhile. The other fields are
numbers; a store changes each with a single store instruction. Entries whose keys have the same hash share a
*bucket*: the entry itself where it is alone, else a tuple of them. Bound: 112 bytes an entry beside the
numbers it holds.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar, cast

K = TypeVar("K")
V = TypeVar("V")


class Entry(Generic[K, V]):
    """One key, its value, and what the eviction policies need to know about them."""

    __slots__ = ("cost", "deadline", "hash", "hits", "key", "serial", "size", "stamp", "value", "weight")

    key: K
    value: V
    hash: int
    """The key's hash, an exact int, asked for once."""
    serial: int
    """Unique in its store, rising: the entry's name in every order that a store keeps."""
    size: int
    """Bytes."""
    weight: int | float
    """What counts against ``maxsize``: 1, or what ``getsizeof`` said."""
    cost: float | None
    """Seconds that making the value took; None where nobody measured."""
    stamp: float
    """`clock.now` at the last access."""
    hits: float
    """Accesses, each counted as the store's gain at that time (1 where the policy does not age)."""
    deadline: Any
    """The value of the store's timer from which on the entry is expired; None: never."""

    def __repr__(self) -> str:
        return f"<Entry {self.serial}: {self.key!r}, {self.size} bytes>"


def chain_of(bucket: Any) -> tuple[Entry[Any, Any], ...]:
    """Return a bucket's entries as a tuple."""
    if isinstance(bucket, Entry):
        return (cast("Any", bucket),)
    chain: tuple[Entry[Any, Any], ...] = bucket
    return chain


def match(bucket: Any, key: object) -> Entry[Any, Any] | None:
    """Return the entry of `key` in a bucket. Runs the keys' ``==``, as a dict would: stored key first."""
    for entry in chain_of(bucket):
        if entry.key is key or entry.key == key:
            return entry
    return None
