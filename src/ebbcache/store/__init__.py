"""One cache's entries, behind one contract with more than one implementation.

`IMPLEMENTATION` says which one was chosen at import. The readable one is in `reference` and `policies`.
"""

from __future__ import annotations

from ebbcache.store.entry import Entry
from ebbcache.store.policies import DensityStore, LFUStore, LRUStore
from ebbcache.store.reference import Store

IMPLEMENTATION = "pure"
"""The name of the implementation in use."""

__all__ = ["IMPLEMENTATION", "DensityStore", "Entry", "LFUStore", "LRUStore", "Store"]
