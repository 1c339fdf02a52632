"""Every cache and every store on both implementations, side by side in one process.

`ebbcache.caches` has the caches on the implementation that was chosen at import; those on the other one are
made here, of the same two bases. `IMPLEMENTATIONS` holds what there is: "pure", and "native" where the
extension was built. Bound: nothing is copied; what caches do is in `ebbcache.caches`.
"""

from __future__ import annotations

import types
from typing import Any

from ebbcache import caches
from ebbcache._cache import Cache
from ebbcache.gil import is_free_threaded
from ebbcache.store import IMPLEMENTATION, guarded, policies

IMPLEMENTATIONS: dict[str, Any] = {}
"""By name, a namespace with the caches and stores under the names that they have in `ebbcache`."""


def _add(name: str, stores: Any) -> None:
    found: Any = type(name, (), {"__module__": __name__})  # a namespace that pickles by its name
    for policy, store in (("LRU", "LRU"), ("LFU", "LFU"), ("TTL", "LRU"), ("Density", "Density")):
        title = f"{policy}Cache"
        if name == IMPLEMENTATION:
            cls = getattr(caches, title)
        else:
            base = caches.Timed if policy == "TTL" else Cache
            cls = types.new_class(title, (base, getattr(stores, f"{store}Store")))
            cls.__module__, cls.__qualname__ = __name__, f"{name}.{title}"
        setattr(found, title, cls)
        setattr(found, f"{store}Store", getattr(stores, f"{store}Store"))
    IMPLEMENTATIONS[name] = globals()[name] = found


_add("pure", guarded if is_free_threaded() else policies)
try:
    from ebbcache.store import twin
except ImportError:
    pass
else:
    _add("native", twin)
