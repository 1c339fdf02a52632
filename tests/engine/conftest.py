"""A registry of one's own, a clock to turn by hand, and shrinkers that behave exactly as told."""

from __future__ import annotations

import pytest

from ebbcache import shrinkers
from ebbcache.clock import clock
from ebbcache.shrinkers import register_shrinker


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    registry = {}
    monkeypatch.setattr(shrinkers, "_registry", registry)
    monkeypatch.setattr(shrinkers, "_hooks", [])
    return registry


class HandClock:
    """Stands still until a test moves it."""

    def __init__(self):
        self.time = 1000.0

    def __call__(self):
        return self.time

    def advance(self, seconds):
        self.time += seconds


@pytest.fixture
def hand_clock(monkeypatch):
    hand = HandClock()
    monkeypatch.setattr(clock, "timer", hand)
    monkeypatch.setattr(clock, "now", hand.time)
    return hand


class Pool:
    """Holds so many bytes, frees them in pieces of `piece` bytes, and remembers what it was asked."""

    def __init__(self, name, held, *, piece=1, tally=None, stated=True, floor=0, takes=None):
        self.held = held
        self.piece = piece
        self.floor = floor
        self.asked = []
        self.takes = takes or (lambda: None)
        self.handle = register_shrinker(
            name,
            self.shrink,
            size=self.size if stated else None,
            tally=None if tally is None else self.tally,
        )
        self.classes = tally

    def shrink(self, target, hard):
        self.asked.append((target, hard))
        self.takes()
        freed = min(-(-target // self.piece) * self.piece, self.held - (0 if hard else self.floor))
        freed = max(freed, 0)
        self.held -= freed
        return freed

    def size(self):
        return self.held

    def tally(self, hard):
        return self.classes


@pytest.fixture
def pool():
    """Make a Pool; all are kept alive, as registration is weak."""
    made = []

    def make(*args, **kwargs):
        made.append(Pool(*args, **kwargs))
        return made[-1]

    return make
