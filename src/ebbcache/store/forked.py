"""The pure stores through a fork: nobody in the child will release a lock that another thread held.

With a GIL no fork comes amid a commit (see `table`): the child only gets new locks. Without one it would,
so a thread that forks waits for all stores first; whoever holds one of these locks waits for no other but
an inner one. CPython 3.13 itself may hand a dict's mutex to a thread that the child does not have: a child
that goes on using what other threads were busy with may hang, in this library or any other. Bound: a fork
takes O(stores) longer, a store costs one weak reference.
"""

from __future__ import annotations

import os
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from ebbcache.forking import in_child
from ebbcache.gil import is_free_threaded

if TYPE_CHECKING:
    from ebbcache.store.table import Table

# Tables have no hash, so they are remembered by id.
_tables: dict[int, weakref.ref[Table[Any, Any]]] = {}
_held: list[Any] = []


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
    for table in _living():
        for lock in table._locks():  # pyright: ignore[reportPrivateUsage]
            lock.acquire()
            _held.append(lock)


def _release_all() -> None:
    while _held:
        _held.pop().release()


in_child(_renew_locks)
if is_free_threaded() and hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_all, after_in_parent=_release_all, after_in_child=_held.clear)
