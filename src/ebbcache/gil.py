"""Whether threads take turns: free-threaded CPython (PEP 703) runs them side by side.

Such an interpreter brings its GIL back, for the whole process, when an extension is loaded that does not
say that it can do without. Ours do not say so yet; so where there is no GIL they are loaded only if
``EBBCACHE_NATIVE=1`` asks for them, and the pure store with its locks does the work. Bound: asked once.
"""

from __future__ import annotations

import sys


def is_free_threaded() -> bool:
    """Return whether there is no GIL at this moment."""
    asked = getattr(sys, "_is_gil_enabled", None)
    return asked is not None and not asked()
