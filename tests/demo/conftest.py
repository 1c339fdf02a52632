"""A made-up run of the demo, so that its displays can be tested without running it."""

from __future__ import annotations

import pytest

from ebbcache.demo.record import Counts, Recorder, Standing

MIB = 1024 * 1024


@pytest.fixture
def recorder() -> Recorder:
    recorder = Recorder()
    for tick in range(150):
        t = (tick + 1) * 0.2
        neighbour = 100 * MIB if 12 < t < 18 else 0
        cached = min(200 * MIB - neighbour, int(t * 30 * MIB))
        usage = 50 * MIB + neighbour + cached
        standing = Standing(300 * MIB, usage, cached, neighbour, 80 * MIB, tick // 10, tick // 50)
        recorder.add(t, standing, Counts(tick * 100, tick * 70, tick * 50, tick * 55))
    return recorder
