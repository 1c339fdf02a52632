"""The pure stores through a fork: nobody in the child will release a lock that another thread held.

With a GIL no fork comes amid a commit (see `table`): the child only gets new locks. Without one it would,
so a thread that forks waits for all stores first; whoever holds one of these locks waits for no other but
an inner one. CPython 3.13 itself may hand a dict's mutex to a thread that the child does not have: a child
that goes on using what other threads were busy with may hang, in this library or any other. Bound: a fork
takes O(stores) longer, a store costs one weak reference.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Any

from ebbcache.forking import in_child
from ebbcache.gil import Lock, is_free_threaded, taking

if TYPE_CHECKING:
    from ebbcache.store.table import Table

# Tables have no hash, so they are remembered by id.
_tables: dict[int, weakref.ref[Table[Any, Any]]] = {}


class _Held(threading.local):
    """What this thread holds on its way through a fork; another may be on its way, too."""

    def __init__(self) -> None:
        self.locks: list[Lock | None] = []


_held = _Held()
_release = methodcaller("release")


def remember(table: Table[Any, Any]) -> None:
    """See to `table` at each fork, for as long as it lives; it is held weakly."""
    ident = id(table)
    _tables[ident] = weakref.ref(table, partial(_forget, _tables, ident))


def _forget(tables: dict[int, weakref.ref[Table[Any, Any]]], ident: int, _: object) -> None:
    # The dict comes as an argument because at interpreter exit a table may outlive this module's globals.
    tables.pop(ident, None)


def _living() -> list[Table[Any, Any]]:
    return [table for ref in list(_tables.values()) if (table := ref()) is not None]


def _renew_locks() -> None:
    for table in _living():
        table._renew_locks()  # pyright: ignore[reportPrivateUsage]


def _hold_all() -> None:
    held = _held.locks
    for table in _living():
        for lock in table._locks():  # pyright: ignore[reportPrivateUsage]
            for _ in taking(lock):
                held += (lock,)  # no call: an interrupt finds it taken and noted, or neither
                break


def _release_all() -> None:
    # All in one call, in which no interrupt comes: nobody goes on after it, and all are to be free again.
    held = _held.locks
    held.insert(0, None)
    deque(map(_release, iter(held.pop, None)), maxlen=0)


def _forget_all() -> None:
    _held.locks = []


in_child(_renew_locks)
if is_free_threaded() and hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_all, after_in_parent=_release_all, after_in_child=_forget_all)
    os.register_at_fork(after_in_parent=_release_all)  # if an interrupt came before the first had begun
