"""The tables of docs/survival.md, out of committed results: `python -m benchmarks.survival.table`.

    --collect DIR   first take the verdicts of a folder that `python -m benchmarks.survival` wrote

`results/verdicts.jsonl` has a line for each run, without its time line. The page keeps its words; what lies
between the markers `<!-- name -->` and `<!-- end -->` is put in anew, and a test holds the two together.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.survival.scenarios import VARIANTS

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PAGE = HERE.parents[1] / "docs" / "survival.md"
MIB = 1 << 20
Run = dict[str, Any]


def runs() -> list[Run]:
    """Return all verdicts that are committed."""
    path = RESULTS / "verdicts.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def collect(folder: Path) -> None:
    """Add the verdicts of `folder` to the committed ones."""
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "verdicts.jsonl").open("a", encoding="utf-8") as file:
        for line in (folder / "verdicts.jsonl").read_text("utf-8").splitlines():
            run = json.loads(line)
            run["errors"], run["wrong"] = run["errors"][:2], [each[:200] for each in run["wrong"][:2]]
            file.write(json.dumps(run) + "\n")


def mean(values: Iterable[float | None], form: str) -> str:
    found = [value for value in values if value is not None and value != float("inf")]
    return format(statistics.fmean(found), form) if found else "-"


def most(values: Iterable[float | None], form: str) -> str:
    found = [value for value in values if value is not None]
    return format(max(found), form) if found else "-"


def pauses(of: list[Run], what: str) -> str:
    """Return the mean of the 99.9th percentiles and the longest of all."""
    usual, longest = (run[f"{what}_p999"] for run in of), (run[f"{what}_max"] for run in of)
    return f"{mean(usual, '.2f')}, {most(longest, '.0f')}"


def best_fixed(fixed: list[Run], limit: int) -> str:
    """Return hit ratio and size of the best LRU of fixed size that lived."""
    lived = [run for run in fixed if run["survived"] and run["hit_ratio"] is not None]
    if not lived:
        return "-"
    best = max(lived, key=lambda run: float(run["hit_ratio"]))
    return f"{best['hit_ratio']:.3f} ({int(best['front'].split(':')[1]) / limit:.0%})"


def by_program(all_runs: list[Run]) -> str:
    """Return the table with a row for each program."""
    lines = [
        "| program | runs | kills | failed calls | on a dict | used | hit ratio | best fixed size "
        "| insert: 99.9 %, longest, by CPU (ms) | fixed size | hit: 99.9 %, longest (ms) "
        "| under pressure (s) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for variant in VARIANTS:
        mine = [run for run in all_runs if run["id"] == variant.id]
        ours = [run for run in mine if run["front"] == "ebbcache"]
        dicts = [run for run in mine if run["front"] == "unbounded"]
        fixed = [run for run in mine if run["front"].startswith("lru:")]
        if not ours:
            continue
        died = sum(bool(run["kills"]) for run in dicts)
        cells = [
            variant.id + (" (beyond the promise)" if variant.beyond else ""),
            str(len(ours)),
            str(sum(bool(run["kills"]) for run in ours)) + (" (its own leak)" if variant.dies else ""),
            str(sum(run["failed"] for run in ours)),
            f"killed in {died} of {len(dicts)}" if dicts else "-",
            mean((run["share"] for run in ours), ".0%"),
            mean((run["hit_ratio"] for run in ours if run["survived"]), ".3f"),
            best_fixed(fixed, variant.limit),
            f"{pauses(ours, 'insert')}, {most((run['insert_cpu'] for run in ours), '.0f')}",
            mean((run["insert_p999"] for run in fixed if run["survived"]), ".2f"),
            pauses(ours, "hit"),
            most((run["to_target"] for run in ours), ".2f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def by_scenario(all_runs: list[Run]) -> str:
    """Return the short table: runs, kills and failed calls by scenario, and what became of controls."""
    lines = [
        "| scenario | runs | kills | failed calls | the same on a dict |",
        "| --- | --- | --- | --- | --- |",
    ]
    beyond = {variant.id for variant in VARIANTS if variant.beyond}
    all_runs = [run for run in all_runs if run["id"] not in beyond]
    ours = [run for run in all_runs if run["front"] == "ebbcache"]
    dicts = [run for run in all_runs if run["front"] == "unbounded"]
    total = [0, 0, 0]
    for number in sorted({run["scenario"] for run in ours}):
        here = [run for run in ours if run["scenario"] == number]
        controls = [run for run in dicts if run["scenario"] == number]
        figures = [len(here), sum(bool(run["kills"]) for run in here), sum(run["failed"] for run in here)]
        died = sum(bool(run["kills"]) for run in controls)
        fate = f"killed in {died} of {len(controls)}" if controls else "-"
        leaks = " (of its leak)" if any(v.dies for v in VARIANTS if v.scenario == number) else ""
        lines.append(f"| {number} | {figures[0]} | {figures[1]}{leaks} | {figures[2]} | {fate} |")
        if number in (1, 2, 4, 5, 6, 7):
            total = [a + b for a, b in zip(total, figures, strict=True)]
    lines.append(f"| 1, 2, 4, 5, 6, 7 | {' | '.join(map(str, total))} | |")
    return "\n".join(lines)


def bursts() -> str:
    """Return the table of the largest bursts survived."""
    path = RESULTS / "bursts.json"
    if not path.exists():
        return ""
    rows = json.loads(path.read_text("utf-8"))["rows"]
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    values = list(dict.fromkeys(row["values"] for row in rows))
    share = {(row["kind"], row["values"]): row["share"] for row in rows}
    lines = [f"| burst | {' | '.join(values)} |", "| --- |" + " --- |" * len(values)]
    for kind in kinds:
        cells = [f"{share[kind, value]:.0%}" if (kind, value) in share else "-" for value in values]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def alone() -> str:
    """Return what scenarios 8 and 9 came to, in a list."""
    lines: list[str] = []
    path = RESULTS / "settle.json"
    if path.exists():
        day = json.loads(path.read_text("utf-8"))
        off = max(each["worst"] for each in day["constant"])
        lines += [
            "- Two hours on a played clock: in constant conditions sizes keep within"
            f" {off:.1%} of their mean;"
            f" 90 % of the former size is back {day['back']:.0f} s after a batch job of 200 MiB in 1 GiB;"
            f" reversals in one disturbance: {day['reversals']}.",
        ]
    path = RESULTS / "idle.json"
    if path.exists():
        found = json.loads(path.read_text("utf-8"))
        idle, polite = found["idle"], found["polite"]
        lines += [
            f"- Idle, on a host with {idle['limit'] / 2**30:.0f} GiB: the governor's thread uses"
            f" {idle['share']:.3%} of a core.",
            f"- A neighbour that wants {polite['wanted'] // MIB} of 256 MiB full of cached values got"
            f" {polite['got'] // MIB} MiB in {polite['took']:.1f} s; kills: {polite['kills']}.",
        ]
    return "\n".join(lines)


def filled(page: str) -> str:
    """Return `page` with its tables put in anew."""
    tables = {
        "by scenario": by_scenario(runs()),
        "by program": by_program(runs()),
        "bursts": bursts(),
        "alone": alone(),
    }
    for name, table in tables.items():
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- end -->)"
        page = re.sub(
            pattern, lambda match, table=table: f"{match[1]}\n{table}\n{match[2]}", page, flags=re.DOTALL
        )
    return page


def main() -> int:
    """Collect if asked to, then write the page."""
    parser = argparse.ArgumentParser("python -m benchmarks.survival.table")
    parser.add_argument("--collect", type=Path, action="append", default=[])
    options = parser.parse_args()
    for folder in options.collect:
        collect(folder)
    PAGE.write_text(filled(PAGE.read_text("utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
