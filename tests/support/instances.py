"""Classes with cached methods: as most are, with slots, without weak references, without either."""

from __future__ import annotations

from ebbcache import cachedmethod


class Plain:
    def __init__(self, value=0):
        self.value = value
        self.calls = []

    @cachedmethod
    def f(self, x, y=2, *, z=3):
        """Add up."""
        self.calls.append(x)
        return [self.value + x + y + z]


class Slotted:
    __slots__ = ("__weakref__", "calls")

    def __init__(self):
        self.calls = []

    @cachedmethod
    def f(self, x):
        self.calls.append(x)
        return [x]


class Hopeless:
    __slots__ = ()

    @cachedmethod
    def f(self, x):
        return [x]


class Number(int):
    """Takes attributes, but no weak references."""

    @cachedmethod
    def plus(self, x):
        return [int(self) + x]
