"""What a store knows about one key: a record that a reader may use without a lock.

The key and the value are fixed once an entry is linked: a new value for a key is a new entry, so whoever
found an entry can return its value no matter what happens to the store meanwhile. The other fields are
numbers; a store changes each with a single store instruction. Bound: 112 bytes an entry beside the numbers
it holds.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

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
