"""One cache's entries, behind one contract with two implementations.

The readable one is in `reference` and `policies`, and is the specification. The other, in `native/`, is
written in C, and does the work wherever a compiler was there to build it; `twin` gives it the same names.
Where there is no GIL, `guarded` adds locks to the pure one. ``EBBCACHE_PURE=1`` forbids the native one;
``EBBCACHE_NATIVE=1`` makes its absence an ImportError. `IMPLEMENTATION`
says which one was chosen at import: ``"native"`` or ``"pure"``; `WHY_PURE` says why the latter.
"""

from __future__ import annotations

import importlib
import logging
import os
from typing import TYPE_CHECKING, Any

from ebbcache.gil import is_free_threaded


def _choose() -> str | None:
    """Return None for the native store, else why the pure one must do."""

    def is_set(name: str) -> bool:
        return os.environ.get(name, "0") not in ("", "0")

    required = is_set("EBBCACHE_NATIVE")
    if is_set("EBBCACHE_PURE"):
        if required:
            raise ImportError("EBBCACHE_NATIVE requires the native store, and EBBCACHE_PURE forbids it")
        return "EBBCACHE_PURE is set"
    try:
        importlib.import_module("ebbcache.store._store")
    except ImportError as error:
        if required:
            raise ImportError(f"EBBCACHE_NATIVE requires the native store: {error}") from error
        why = f"no native store: {error}"
        logging.getLogger("ebbcache").debug("the pure store does the work: %s", why)
        return why
    return None


WHY_PURE = _choose()
"""Why the pure store does the work; None where the native one does."""
IMPLEMENTATION = "native" if WHY_PURE is None else "pure"
"""The name of the implementation in use."""

if TYPE_CHECKING or IMPLEMENTATION == "pure":
    from ebbcache.store.entry import Entry
    from ebbcache.store.numbers import Allowance, Counts, apart, trust_leaves
    from ebbcache.store.reference import Store

    if TYPE_CHECKING or not is_free_threaded():
        from ebbcache.store.policies import DensityStore, LFUStore, LRUStore
    else:
        from ebbcache.store.guarded import DensityStore, LFUStore, LRUStore

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
        apart,
        trust_leaves,
    )

__all__ = [
    "IMPLEMENTATION",
    "WHY_PURE",
    "Allowance",
    "Counts",
    "DensityStore",
    "Entry",
    "Instance",
    "LFUStore",
    "LRUStore",
    "Memo",
    "Store",
    "apart",
    "trust_leaves",
]
