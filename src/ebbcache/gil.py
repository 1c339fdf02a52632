"""Whether threads take turns: free-threaded CPython (PEP 703) runs them side by side.

The native store says that it can do without a GIL and does the work there, too; the pure one brings locks
along, of which it has no need elsewhere. Bound: asked once.
"""

from __future__ import annotations

import sys


def is_free_threaded() -> bool:
    """Return whether there is no GIL at this moment."""
    asked = getattr(sys, "_is_gil_enabled", None)
    return asked is not None and not asked()
