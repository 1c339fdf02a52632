"""What the demo shows while it runs: a live panel on a terminal, plain lines anywhere else.

The panel is drawn by rich, which the `demo` extra installs; without it, or where output is not a terminal,
a line every other second says the same. Bound: drawing takes a few milliseconds a sample, a few samples a
second, in the recorder's thread; the service does not wait for it.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ebbcache.demo.record import Sample
from ebbcache.units import format_bytes

if TYPE_CHECKING:
    from rich.console import RenderableType

Show = Callable[[Sample], None]
MISSING_RICH = "no live view: rich is not installed (pip install 'ebbcache[demo]')"

_EVERY = 2.0  # seconds between two plain lines
_WIDTH = 60  # columns of the memory bar and of the hit-ratio line
_LEVELS = " ▁▂▃▄▅▆▇█"


@contextmanager
def view(
    live: bool, seconds: float, fixed_bytes: int, say: Callable[[str], None]
) -> Generator[Show, None, None]:
    """Give a function that shows a sample; `live` asks for the panel where the output is a terminal."""
    if not live or not sys.stdout.isatty():
        yield _lines(say)
        return
    try:
        from rich.console import Console
        from rich.live import Live
    except ModuleNotFoundError:
        say(MISSING_RICH)
        yield _lines(say)
        return
    panel = _Panel(seconds, fixed_bytes)
    # A console of its own: rich's global one may have been made when standard output was no terminal.
    with Live(console=Console(), auto_refresh=False, transient=True) as screen:

        def show(sample: Sample) -> None:
            screen.update(panel.drawn(sample), refresh=True)

        yield show


def percent(ratio: float | None) -> str:
    """Return a hit ratio as people read it; a dash where nothing was requested."""
    return "-" if ratio is None else f"{ratio:.1%}"


def _lines(say: Callable[[str], None]) -> Show:
    due = 0.0

    def show(sample: Sample) -> None:
        nonlocal due
        if sample.t < due:
            return
        due = sample.t + _EVERY
        standing = sample.standing
        say(
            f"{sample.t:5.1f} s  limit {format_bytes(standing.limit)}  usage {format_bytes(standing.usage)}"
            f"  neighbour {format_bytes(standing.neighbour)}  cached {format_bytes(standing.cached)}"
            f"  hits {percent(sample.ratio)} (fixed LRU {percent(sample.lru_ratio)})"
            f"  reclaims {standing.soft} soft, {standing.hard} hard"
        )

    return show


class _Panel:
    def __init__(self, seconds: float, fixed_bytes: int) -> None:
        self._seconds = seconds
        self._fixed_bytes = fixed_bytes
        self._ours: deque[float] = deque(maxlen=_WIDTH)
        self._lru: deque[float] = deque(maxlen=_WIDTH)

    def drawn(self, sample: Sample) -> RenderableType:
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        standing = sample.standing
        self._ours.append(sample.ratio or 0.0)
        self._lru.append(sample.lru_ratio or 0.0)
        bar = Text()
        parts = (
            (sample.others, "grey62"),
            (standing.neighbour, "dark_orange"),
            (standing.cached, "green"),
        )
        # Columns are cut at the running total, so that rounding never makes the bar pass its limit.
        total = filled = 0
        for amount, style in parts:
            total += amount
            until = min(_WIDTH, round(total * _WIDTH / max(1, standing.limit)))
            bar.append("█" * max(0, until - filled), style=style)
            filled = max(filled, until)
        bar.append("░" * (_WIDTH - filled), style="grey30")
        bar.append("▏limit", style="red")

        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_row("memory", bar)
        table.add_row("", Text(f"{format_bytes(standing.usage)} used of {format_bytes(standing.limit)}"))
        table.add_row("program", Text(format_bytes(sample.others), style="grey62"))
        table.add_row("neighbour", Text(format_bytes(standing.neighbour), style="dark_orange"))
        table.add_row("cached", Text(f"{format_bytes(standing.cached)}   (no size set)", style="green"))
        table.add_row("", "")
        table.add_row("hits", Text(f"{_spark(self._ours)}  {percent(sample.ratio)}", style="green"))
        fixed = f"{_spark(self._lru)}  {percent(sample.lru_ratio)}   (at {format_bytes(self._fixed_bytes)})"
        table.add_row("fixed LRU", Text(fixed, style="medium_purple"))
        table.add_row("", "")
        table.add_row("requests", Text(f"{sample.counts.requests:,}"))
        table.add_row("reclaims", Text(f"{standing.soft} soft, {standing.hard} hard"))
        return Panel(
            table,
            title="ebbcache: a cache that sizes itself",
            subtitle=f"{sample.t:.0f} of {self._seconds:.0f} s",
            expand=False,
        )


def _spark(ratios: deque[float]) -> str:
    top = len(_LEVELS) - 1
    line = "".join(_LEVELS[min(top, max(0, round(ratio * top)))] for ratio in ratios)
    return line.rjust(_WIDTH)
