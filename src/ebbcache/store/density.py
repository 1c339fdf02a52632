"""Value density: what all caches of a process measure entries by, so that they can share one target.

``density = min(hits, 64) * cost / (bytes * age)``: seconds of work that the entry saves per byte it holds
and second it idles. The idea is Hyperbolic Caching's (Blankstein, Sen, Freedman, USENIX ATC 2017), with the
age running since the last access and the hits saturating, so that old fame does not outlive its use. A
class is the binary exponent of a density; a histogram by class, summed over all caches, is where the engine
draws its waterline. Bound: a few arithmetic operations an entry.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ebbcache.store.entry import Entry

SATURATION = 64.0
"""Hits above this add nothing."""
YOUNGEST = 1e-6
"""Seconds: the least age to divide by."""
UNTIMED = 1e-3
"""Seconds that an entry counts as saving in a store that was never told a cost: a modest guess, or caches
that nobody times would outlive the timed ones."""
LOWEST, HIGHEST = -128, 127
"""The classes; the lowest is also for what is worthless or expired."""


def densities(entries: Iterable[Entry[Any, Any]], now: float, gain: float, mean_cost: float) -> list[float]:
    """Return the density of each entry at `now`; one hit counts `gain`, an unknown cost is `mean_cost`."""
    full = SATURATION * gain
    result: list[float] = []
    add = result.append
    for entry in entries:
        hits = entry.hits
        cost = entry.cost
        age = now - entry.stamp
        add(
            (hits if hits < full else full)
            * (mean_cost if cost is None else cost)
            / ((entry.size or 1) * (age if age > YOUNGEST else YOUNGEST) * gain)
        )
    return result


def density_class(density: float) -> int:
    """Return the class of `density`: its binary exponent, within [-128, 127].

    >>> density_class(1.0), density_class(0.9), density_class(0.0), density_class(1e300)
    (1, 0, -128, 127)
    """
    if density <= 0.0:
        return LOWEST
    return max(LOWEST, min(HIGHEST, math.frexp(density)[1]))
