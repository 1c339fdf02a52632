"""The numbers of caches that change all the time: a cache's counters, and the allowance that all share.

They live with the store because an insert into the native one changes them without Python. Each change here
is one straight-line statement, so that threads lose none.
"""

from __future__ import annotations


class Allowance:
    """The bytes that inserts may still add before somebody must look; shared by all caches."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = 0


class Counts:
    """Counters of one cache."""

    __slots__ = ("evictions", "expirations", "inserts", "listener_errors", "refused")

    def __init__(self) -> None:
        self.inserts = 0
        self.evictions = 0
        self.expirations = 0
        self.refused = 0
        self.listener_errors = 0


def apart(yes: bool) -> None:
    """Take note of whether the entries of this moment are shared with another process, since a fork.

    The native LRU store then gives up what came in later first; this one keeps to the order of use.
    """


def trust_leaves(plain: bool) -> None:
    """Take note of whether exact str, bytes, int, float and the like weigh just their block.

    The native store weighs them itself then; this one never does.
    """
