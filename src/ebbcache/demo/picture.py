"""The demo's picture: memory against the limit above, hit ratios below, on one axis of time.

Drawn by matplotlib, which the `demo` extra installs; nothing else in ebbcache needs it, so it is imported
only when a picture is wanted. Bound: shows the samples as they were taken, smoothed by nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ebbcache.demo.record import WINDOW, Sample

MIB = 1024 * 1024
_PROGRAM, _NEIGHBOUR, _CACHED, _LIMIT = "#9aa5b1", "#e8a33d", "#2a9d8f", "#b3261e"
_LRU, _SAME = "#7a4fb5", "#3c6fb0"


def draw(samples: Sequence[Sample], path: Path, *, fixed_bytes: int, seconds: float) -> None:
    """Write the picture of `samples` to `path`, in the format that its suffix names (PNG if none).

    `fixed_bytes` is the size of the fixed caches, `seconds` the end of the time axis. Raises
    ModuleNotFoundError where matplotlib is missing, OSError where `path` cannot be written, ValueError
    for a suffix matplotlib does not know.
    """
    # Typed as Any: matplotlib's own annotations are too loose to be checked against strictly.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(11, 7), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    memory, ratios = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    _memory(memory, samples, fixed_bytes)
    _ratios(ratios, samples, fixed_bytes)
    ratios.set_xlim(0, seconds)
    ratios.set_xlabel("seconds")
    for axes in (memory, ratios):
        axes.grid(axis="y", color="#dddddd", linewidth=0.7)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.savefig(path, format=path.suffix[1:] or "png")


def _memory(axes: Any, samples: Sequence[Sample], fixed_bytes: int) -> None:
    times = [sample.t for sample in samples]
    # Later, what the allocator keeps of ours counts as the program's; a fixed cache would not have that.
    base = samples[0].others if samples else 0
    axes.stackplot(
        times,
        [sample.others / MIB for sample in samples],
        [sample.standing.neighbour / MIB for sample in samples],
        [sample.standing.cached / MIB for sample in samples],
        colors=[_PROGRAM, _NEIGHBOUR, _CACHED],
        labels=["the program, and what malloc keeps", "its neighbour", "cached by ebbcache (no size set)"],
    )
    axes.plot(times, [sample.standing.limit / MIB for sample in samples], color=_LIMIT, lw=2, label="limit")
    axes.plot(
        times,
        [(base + sample.standing.neighbour + sample.standing.fixed) / MIB for sample in samples],
        color=_LRU,
        lw=1.2,
        ls="--",
        label=f"with a cache fixed at {fixed_bytes / MIB:.0f} MiB",
    )
    axes.set_ylim(0, max((sample.standing.limit for sample in samples), default=MIB) / MIB * 1.25)
    axes.set_ylabel("memory (MiB)")
    axes.set_title("A cache that sizes itself, beside one of fixed size", loc="left", fontweight="bold")
    axes.legend(loc="upper left", ncols=3, frameon=False, fontsize=9)


def _ratios(axes: Any, samples: Sequence[Sample], fixed_bytes: int) -> None:
    def line(ratios: list[float | None], color: str, width: float, label: str) -> None:
        points = [(s.t, ratio * 100) for s, ratio in zip(samples, ratios, strict=True) if ratio is not None]
        axes.plot([x for x, _ in points], [y for _, y in points], color=color, lw=width, label=label)

    fixed = f"fixed at {fixed_bytes / MIB:.0f} MiB"
    line([sample.ratio for sample in samples], _CACHED, 2.4, "ebbcache, no size set")
    line([sample.same_ratio for sample in samples], _SAME, 1.3, f"same policy, {fixed}")
    line([sample.lru_ratio for sample in samples], _LRU, 1.3, f"LRU, {fixed}")
    axes.set_ylim(0, 100)
    axes.set_ylabel(f"hits (% of the last {WINDOW:.0f} s)")
    axes.legend(loc="lower right", ncols=3, frameon=False, fontsize=9)
