"""A picture of one time line: memory above, with what filled it; hit ratio and reclaims below."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.survival import MIB
from benchmarks.survival.judge import together


def draw(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a picture of the run to `path`; what kind is told by its ending. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    zero = records[0]["t"]
    spec = next(r["spec"] for r in records if r["k"] == "spec")
    samples = [r for r in records if r["k"] == "s"]
    reports = [r for r in records if r["k"] == "r"]
    joined = together(reports)
    figure, (memory, below) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, height_ratios=[3, 1])
    times = [s["t"] - zero for s in samples]
    memory.plot(times, [s["limit"] / MIB for s in samples], color="black", linewidth=1, label="limit")
    memory.plot(times, [s["usage"] / MIB for s in samples], color="tab:red", label="usage, from outside")
    at = [r["t"] - zero for r in joined]
    memory.fill_between(
        at, [r["cached"] / MIB for r in joined], color="tab:blue", alpha=0.5, label="cached"
    )
    memory.plot(at, [r["own"] / MIB for r in joined], color="tab:orange", label="taken by loads")
    for record in records:
        if record["k"] == "exit":
            memory.axvline(
                record["t"] - zero, color="black" if record["kills"] else "lightgrey", linewidth=2
            )
    memory.set_ylabel("MiB")
    memory.legend(loc="upper left", fontsize="small")
    end = next(r for r in records if r["k"] == "exit")
    fate = f"killed ({end['kills']})" if end["kills"] else f"ended with {end['code']}"
    memory.set_title(f"{spec['id']} on {spec['front']}: {fate}")
    window = max(1, len(reports) // 60)
    pairs = [(b, a) for b, a in zip(reports, reports[window:], strict=False) if b["pid"] == a["pid"]]
    asked = [(a["t"] - zero, a["hits"] - b["hits"], a["misses"] - b["misses"]) for b, a in pairs]
    ratio = [(t, h / (h + m)) for t, h, m in asked if h + m > 0]
    below.plot([t for t, _ in ratio], [r for _, r in ratio], color="tab:green", label="hit ratio")
    for at_kind, (name, colour) in enumerate((("soft", "tab:olive"), ("hard", "tab:red"))):
        hits = [
            a["t"] - zero
            for b, a in itertools.pairwise(reports)
            if "passes" in a
            and "passes" in b
            and a["pid"] == b["pid"]
            and a["passes"][at_kind] > b["passes"][at_kind]
        ]
        below.plot(hits, [-0.05 - 0.05 * at_kind] * len(hits), "|", color=colour, label=f"{name} reclaim")
    below.set_ylim(-0.15, 1.0)
    below.set_xlabel("seconds")
    below.legend(loc="upper left", fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)
