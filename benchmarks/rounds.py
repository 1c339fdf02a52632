"""Interleaved measurement: all contenders take turns within a round, and each round gives its own ratios.

A loaded or shared machine changes its speed from one second to the next, for all contenders alike. So what
is compared was measured within milliseconds of each other, and the result is the median of the ratios of
many rounds, with their quartiles. pyperf, the usual tool, runs one benchmark to its end before the next
begins, so that what the machine did meanwhile ends up in the ratio of the two.

Single-threaded work is timed in CPU time of the whole process, so that others on the machine do not count,
but the watching thread of ebbcache and the background threads of peers do; threads in wall-clock time.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Keys = list[Any]
Run = Callable[[Keys], float]
"""Does one operation for each key and answers nanoseconds for each of them."""

MAKE = """
def make(now, {names}):
    def run(keys):
        {locals}
        began = now()
        {loop}
        return (now() - began) / ({count})
    return run
"""


def loop(text: str, now: Callable[[], int], count: str = "len(keys)", **names: Any) -> Run:
    """Compile `text` as a timed loop of its own.

    Each contender gets its own code, for since 3.11 the interpreter fits code to the types it meets:
    contenders that shared a loop would each find it fitted to their predecessor.
    """
    lines = "; ".join(f"{name} = {name}_" for name in names) or "pass"
    source = MAKE.format(
        names=", ".join(f"{name}_" for name in names), locals=lines, loop=text, count=count
    )
    space: dict[str, Any] = {}
    exec(source, space)
    run: Run = space["make"](now, *names.values())
    return run


@dataclass
class Row:
    """Contenders of one operation."""

    title: str
    base: str
    """Whose time the others are given in ratios of."""
    runs: dict[str, Run]
    draw: Callable[[], Keys] = field(default=lambda: [None])
    """Gives the keys of a run."""
    fresh: bool = False
    """Whether each run draws anew; otherwise all contenders of a round get the same keys."""
    consumed: bool = False
    """Whether a run on keys of an earlier round would do something else, as they are there by then."""

    def measure(self, rounds: int) -> dict[str, list[float]]:
        """Return each contender's nanoseconds per operation, round by round."""
        times: dict[str, list[float]] = {name: [] for name in self.runs}
        order = list(self.runs)
        keys = self.draw()
        for run in self.runs.values():  # warm up
            run(self.draw() if self.fresh else keys)
        for number in range(rounds):
            keys = self.draw()
            # Nobody follows the same neighbour each time, whose leavings in the processor's caches differ.
            turn = number % len(order)
            for name in order[turn:] + order[:turn]:
                times[name].append(round(self.runs[name](self.draw() if self.fresh else keys), 2))
        return times


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of all rounds, with the quartiles."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, times: Mapping[str, list[float]], name: str, base: str) -> Ratio:
        ratios = [one / other for one, other in zip(times[name], times[base], strict=True) if other]
        return cls.among(ratios)

    @classmethod
    def among(cls, ratios: Iterable[float]) -> Ratio:
        sample = sorted(ratios)
        if len(sample) < 2:
            return cls(sample[0], sample[0], sample[0])
        low, middle, high = statistics.quantiles(sample, n=4, method="inclusive")
        return cls(middle, low, high)
