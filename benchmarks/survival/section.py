"""The section of `python -m benchmarks` about survival: one run of each program, short ones if it is quick.

`python -m benchmarks.survival` plays each many times, with LRU caches of fixed size as controls, too.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.section import Options, Part, Results, Verdict
from benchmarks.survival import MIB, place
from benchmarks.survival.judge import judge
from benchmarks.survival.play import play, read
from benchmarks.survival.scenarios import SMALL, VARIANTS

TITLE = "Survival in a limited cgroup"
QUICK = ("1-bytes", "4-files", "7-raises")


def run(name: str, front: str, quick: bool) -> dict[str, Any]:
    """Play the variant called `name` once and return its verdict and a thinned-out time line."""
    variant = next(variant for variant in VARIANTS if variant.id == name)
    if quick:
        variant = replace(variant, requests=40_000, seconds=3.0, limit=128 * MIB)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "line.jsonl")
        play(variant.spec(front, 1), path)
        records = read(path)
    samples = [r for r in records if r["k"] == "s"]
    reports = [r for r in records if r["k"] == "r"]
    zero = records[0]["t"]
    thin = [(round(s["t"] - zero, 2), s["usage"] >> 20, s["limit"] >> 20) for s in samples]
    held = [(round(r["t"] - zero, 2), r["cached"] >> 20, r["own"] >> 20) for r in reports]
    return {
        "verdict": asdict(judge(records)),
        "usage": list(itertools.islice(thin, 0, None, max(1, len(thin) // 100))),
        "held": list(itertools.islice(held, 0, None, max(1, len(held) // 100))),
    }


def parts(options: Options) -> dict[str, Part]:
    """Return one run of each program and of each on a dict; nothing where no cgroup can be made."""
    try:
        place.Group(64 * MIB).remove()
    except OSError:
        return {}
    # Those in a larger container take half a minute each, and are in docs/survival.md.
    usual = (v.id for v in VARIANTS if not (v.dies or v.beyond or v.limit > 256 * MIB))
    names = QUICK if options.quick else tuple(usual)
    found = {name: Part(partial(run, name, "ebbcache", options.quick), timeout=200) for name in names}
    for name in names[:1] if options.quick else names:
        found[f"{name} on a dict"] = Part(partial(run, name, "unbounded", options.quick), timeout=200)
    return found


def _verdicts(results: Results) -> dict[str, dict[str, Any]]:
    return {name: found["verdict"] for name, found in results.items()}


def report(results: Results) -> str:
    """Return a table of the runs."""

    def show(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    lines = [
        "One run each; `python -m benchmarks.survival` plays many, and docs/survival.md has their table.",
        "",
        "| program | fate | failed calls | share used | hit ratio | 99.9 % of inserts within (ms) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, v in _verdicts(results).items():
        fate = "lives" if v["survived"] else "killed"
        figures = (v["share"], ".0%"), (v["hit_ratio"], ".3f"), (v["insert_p999"], ".2f")
        cells = [show(value, form) for value, form in figures]
        lines.append(f"| {name} | {fate} | {v['failed']} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def plots(results: Results, folder: Path) -> None:
    """Draw usage and cached bytes of each run that lived, side by side."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown: Mapping[str, Any] = {n: f for n, f in results.items() if f["held"] and not n.endswith("dict")}
    if not shown:
        return
    rows = -(-len(shown) // 4)
    figure, axes = plt.subplots(rows, 4, figsize=(14, 2.5 * rows), squeeze=False)
    for (name, found), axis in itertools.zip_longest(shown.items(), axes.flat, fillvalue=("", None)):
        if found is None:
            axis.axis("off")
            continue
        times, usage, limits = zip(*found["usage"], strict=True)
        axis.plot(times, limits, color="black", linewidth=1)
        axis.plot(times, usage, color="tab:red")
        times, cached, own = zip(*found["held"], strict=True)
        axis.fill_between(times, cached, color="tab:blue", alpha=0.5)
        axis.plot(times, own, color="tab:orange")
        axis.set_title(name, fontsize="small")
    figure.tight_layout()
    figure.savefig(folder / "survival-runs.svg")
    plt.close(figure)


def verdicts(results: Results) -> list[Verdict]:
    """Return kills and failed calls beside none, and the share of free memory used beside the promise."""
    found: list[Verdict] = []
    for name, v in _verdicts(results).items():
        if v["front"] != "ebbcache":
            continue
        found.append(Verdict(f"{name}: kills", v["kills"], "target", 0, "kills"))
        found.append(Verdict(f"{name}: failed calls", v["failed"], "target", 0, "calls"))
        if v["scenario"] == 1 and v["share"] is not None:
            target = 0.70 if name in SMALL else 0.85
            found.append(
                Verdict(f"{name}: free memory used", v["share"], "target", target, "of it", better="higher")
            )
    return found
