"""The section of `python -m benchmarks` about sizes: a part for each family of values, counted over all.

`benchmarks.sizing` measures; this counts how often each estimator is right, what it leaves behind in the
value, and what it costs. Bound: a family whose package is not installed says so and is left out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import plots as drawing
from benchmarks.section import Options, Part, Results, Verdict
from benchmarks.sizing import OURS, families, measure, within

TITLE = "Sizes"
QUICK = "^(str|bytes|int|float|list|dict|tuple|set)"
"""Kinds that `--quick` measures."""
WANTED = {
    "ebbcache in C": {"within 5 %": 0.96, "within 25 %": 0.99, "times as fast as pympler": 30.0},
    "ebbcache": {"within 5 %": 0.92, "within 25 %": 0.98, "times as fast as pympler": 6.0},
}
SCALARS = {"ebbcache in C": 0.1, "ebbcache": 0.4}
"""Microseconds that one str, bytes, float or int may take."""
SIMPLE = ("str ascii", "bytes", "float", "int")


def kinds(family: str, only: str, copies: int) -> dict[str, Any]:
    return dict(measure(family, only, copies))


def parts(options: Options) -> dict[str, Part]:
    if options.quick:
        return {"standard": Part(partial(kinds, "standard", QUICK, 10))}
    return {family: Part(partial(kinds, family, "", 40), timeout=1800.0) for family in families()}


def counted(results: Results) -> dict[str, dict[str, float]]:
    """Return shares and times of each estimator over the kinds of all families, ours first."""
    rows = [row for found in results.values() for row in found.values()]
    names = dict.fromkeys(name for row in rows for name in row if name != "truth")
    return {name: count(name, [row for row in rows if name in row]) for name in names}


def count(name: str, rows: list[Mapping[str, Any]]) -> dict[str, float]:
    right = [(row[name], row["truth"]) for row in rows if "failed" not in row[name]]
    times = [found["us"] for found, _ in right]
    beside = [
        (row[name]["us"], row["pympler"]["us"])
        for row in rows
        if "pympler" in row and "failed" not in row[name] and "failed" not in row["pympler"]
    ]
    answer = {
        "kinds": len(rows),
        "within 5 %": sum(within(found["said"], real, 0.05) for found, real in right) / len(rows),
        "within 25 %": sum(within(found["said"], real, 0.25) for found, real in right) / len(rows),
        "within 2x": sum(real / 2 <= found["said"] <= real * 2 for found, real in right) / len(rows),
        "failed": len(rows) - len(right),
        "grown": sum(not within(found["sized"], real, 0.02) for found, real in right),
        "median us": statistics.median(times) if times else math.nan,
    }
    if beside:
        answer["times as fast as pympler"] = math.exp(
            statistics.fmean(math.log(theirs / ours) for ours, theirs in beside if ours > 0)
        )
    return answer


def verdicts(results: Results) -> list[Verdict]:
    found = counted(results)
    return [verdict for name in OURS if name in found for verdict in judged(name, found, results)]


def judged(name: str, found: Mapping[str, dict[str, float]], results: Results) -> Iterator[Verdict]:
    ours, pure = found[name], name != OURS[0]
    for what, wanted in WANTED[name].items():
        if what in ours:
            yield Verdict(f"{name}, {what}", ours[what], "target", wanted, "", "higher", pure)
    for what in ("failed", "grown"):
        yield Verdict(f"{name}, values {what}", ours[what], "target", 0.0, "kinds", pure=pure)
    for kind in SIMPLE:
        row = results.get("standard", {}).get(kind, {}).get(name, {})
        if "us" in row:
            yield Verdict(f"{name}, {kind}", row["us"], "target", SCALARS[name], "us", pure=pure)
    for peer, theirs in found.items():
        if peer in OURS:
            continue
        for what in ("within 5 %", "within 25 %", "within 2x"):
            yield Verdict(f"{name}, {what}", ours[what], peer, theirs[what], "", "higher", pure)
        for what, unit in (("failed", "kinds"), ("grown", "kinds"), ("median us", "us")):
            yield Verdict(f"{name}, {what}", ours[what], peer, theirs[what], unit, pure=pure)


def report(results: Results) -> str:
    found = counted(results)
    lines = [
        "What estimators say of kinds of values, beside the bytes that the allocators got back when copies",
        "were dropped; right to 5 % is also who is off by at most 32 bytes. *Grown* are values that weigh",
        "more once they have been sized. Times are CPU time; the last column is a geometric mean.",
        "",
        "![Shares of kinds within 5 %](sizing-right.svg)",
        "",
        "| | kinds | within 5 % | within 25 % | within 2x | failed | grown | median us | pympler's speed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, each in found.items():
        cells = [f"{each['kinds']:.0f}", *(f"{each[what]:.1%}" for what in list(each)[1:4])]
        cells += [f"{each['failed']:.0f}", f"{each['grown']:.0f}", f"{each['median us']:.2f}"]
        cells.append(
            f"{each['times as fast as pympler']:.3g}x" if "times as fast as pympler" in each else ""
        )
        lines.append(f"| {f'**{name}**' if name in OURS else name} | " + " | ".join(cells) + " |")
    for name in OURS:
        wrong = [
            f"{kind} ({row[name]['said'] / row['truth']:.2f})"
            for rows in results.values()
            for kind, row in rows.items()
            if "said" in row.get(name, {}) and not within(row[name]["said"], row["truth"], 0.05)
        ]
        if wrong:
            lines += ["", f"What {name} is wrong about by more than 5 % (said / true): {', '.join(wrong)}."]
    missing = [family for family, rows in results.items() if not rows]
    if missing:
        lines += ["", f"Not measured, as their packages are not installed: {', '.join(missing)}."]
    return "\n".join([*lines, ""])


def plots(results: Results, folder: Path) -> None:
    values = {name: round(100 * each["within 5 %"], 1) for name, each in counted(results).items()}
    if values:
        drawn, axes = drawing.figure(8.0, 0.3 * len(values) + 0.8)
        drawing.bars(axes, values, ours=OURS, title="% of kinds of values sized right to 5 %")
        drawing.save(drawn, folder, "sizing-right.svg")
