"""What a forked child renews: locks that a thread it does not have may hold, and descriptors it shares.

A thin cover over `os.register_at_fork`, which platforms without fork do not have.
"""

from __future__ import annotations

import os
from collections.abc import Callable


def in_parent(told: Callable[[], object]) -> None:
    """Call `told()` after every fork of this process, in it."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_parent=told)


def in_child(renew: Callable[[], object]) -> None:
    """Call `renew()` in every child that this process forks, before anything else runs there."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)
