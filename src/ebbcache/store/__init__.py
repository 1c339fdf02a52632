"""One cache's entries, behind one contract with two implementations.

The readable one is in `reference` and `policies`, and does the work. The other, in `native/`, is written in
C and young: it is built where there is a compiler, and used where ``EBBCACHE_NATIVE=1`` asks for it and
``EBBCACHE_PURE=1`` does not forbid it. `twin` gives it the same names. `IMPLEMENTATION` says which one was
chosen at import: ``"native"`` or ``"pure"``.
"""

from __future__ import annotations

import importlib
import logging
import os
from typing import TYPE_CHECKING, Any


def _choose() -> str:
    def is_set(name: str) -> bool:
        return os.environ.get(name, "0") not in ("", "0")

    if is_set("EBBCACHE_PURE") or not is_set("EBBCACHE_NATIVE"):
        return "pure"
    try:
        importlib.import_module("ebbcache.store._store")
    except ImportError as error:
        logging.getLogger("ebbcache").debug(
            "the pure store does the work, there is no native one: %s", error
        )
        return "pure"
    return "native"


IMPLEMENTATION = _choose()
"""The name of the implementation in use."""

if TYPE_CHECKING or IMPLEMENTATION == "pure":
    from ebbcache.store.entry import Entry
    from ebbcache.store.numbers import Allowance, Counts, trust_leaves
    from ebbcache.store.policies import DensityStore, LFUStore, LRUStore
    from ebbcache.store.reference import Store

    Instance: type[Any] | None = None
    Memo: type[Any] | None = None
else:
    from ebbcache.store.twin import (
        Allowance,
        Counts,
        DensityStore,
        Entry,
        Instance,
        LFUStore,
        LRUStore,
        Memo,
        Store,
        trust_leaves,
    )

__all__ = [
    "IMPLEMENTATION",
    "Allowance",
    "Counts",
    "DensityStore",
    "Entry",
    "Instance",
    "LFUStore",
    "LRUStore",
    "Memo",
    "Store",
    "trust_leaves",
]
