"""What the sections' pictures have in common: one look, and files that differ only where the data does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OURS = "#0b6e99"
OTHERS = "#b8bec4"
BASE = "#c0392b"


def figure(width: float = 9.0, height: float = 4.0, columns: int = 1) -> tuple[Any, Any]:
    """Return a new figure and its axes (an array of them for several columns)."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update(
        {"svg.hashsalt": "ebbcache", "svg.fonttype": "none", "font.size": 9.0, "axes.spines.top": False}
    )
    mpl.rcParams.update({"axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25})
    from matplotlib import pyplot

    return pyplot.subplots(1, columns, figsize=(width, height), layout="constrained")


def save(drawn: Any, folder: Path, name: str) -> None:
    """Write ``folder/name``, an SVG without a date, and forget the figure."""
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    drawn.savefig(folder / name, metadata={"Date": None})
    pyplot.close(drawn)


def bars(
    axes: Any,
    values: Mapping[str, float],
    *,
    ours: Sequence[str],
    title: str,
    most: float | None = None,
    base: float | None = None,
) -> None:
    """Draw horizontal bars with their numbers, ebbcache's in colour; `most` is where longer ones end."""
    names = list(values)[::-1]
    lengths = [min(values[name], most) if most else values[name] for name in names]
    drawn = axes.barh(names, lengths, color=[OURS if name in ours else OTHERS for name in names])
    axes.bar_label(drawn, [f"{values[name]:.3g}" for name in names], padding=2)
    axes.set_title(title)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.12)
    if base is not None:
        axes.axvline(base, color=BASE, linewidth=0.8)
