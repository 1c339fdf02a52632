"""Sizes in the suite: parts a family, the named speeds, two whole caches; a table, and verdicts by it."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import plots as drawing
from benchmarks import sizing, sizing_truth
from benchmarks.section import Options, Part, Results, Verdict

TITLE = "Sizes"
PREFIX = "kinds: "
NAMED = ("str", "bytes", "float", "int", "dict of 10")
_WANTED = ("5 %", "25 %", "scalar", "dict of 10", "pympler", "json")
TARGETS = {
    "ebbcache in C": dict(zip(_WANTED, (0.96, 0.99, 0.1, 0.8, 30.0, 0.02), strict=True)),
    "ebbcache": dict(zip(_WANTED, (0.92, 0.98, 0.4, 8.0, 6.0, 0.05), strict=True)),
}
"""Shares of kinds, microseconds, times as fast as pympler, error on 10 MB of JSON."""


def _family(name: str, copies: int, only: str) -> dict[str, Any]:
    rows = dict(sizing.measure(name, only, copies))
    return {
        kind: {
            tool: found
            if tool == "truth"
            else {key: value if type(value) is str else round(value, 2) for key, value in found.items()}
            for tool, found in row.items()
        }
        for kind, row in rows.items()
    }


def _speeds() -> dict[str, Any]:
    """Return microseconds a call, with a heap like any program's."""
    values = {
        "str": f"value {os.getpid()}",
        "bytes": b"%d" % os.getpid(),
        "float": os.getpid() / 7,
        "int": os.getpid() + 1000,
        "dict of 10": {f"key {n}": n / 7 for n in range(10)},
        "10 MB of JSON": _json(),
    }
    return {
        tool: {
            name: sizing.microseconds(size, value)
            for name, value in values.items()
            if name != "10 MB of JSON" or tool in sizing.OURS
        }
        for tool, size in sizing.estimators().items()
    }


def _json(nbytes: int = 10_000_000) -> Any:
    rng = random.Random(7)
    rows: list[str] = []
    length = 0
    while length < nbytes:
        n = len(rows)
        tags = [f"tag {rng.randrange(1000)}" for _ in range(rng.randrange(6))]
        row = {"id": n, "name": f"name {n}", "score": rng.random(), "ok": n % 3 == 0, "tags": tags}
        if n % 10 == 0:
            row["address"] = {"street": f"street {rng.random()}", "zip": rng.randrange(10**5)}
        rows.append(json.dumps(row))
        length += len(rows[-1])
    return json.loads("[" + ",".join(rows) + "]")


def json_errors() -> dict[str, float]:
    """Return by how much each of ours is off on 10 MB of parsed JSON at the default budget."""
    value: list[Any] = [_json()]
    said = {name: size(value[0]) for name, size in sizing.estimators().items() if name in sizing.OURS}
    before = sizing_truth.held()
    value.clear()
    real = before - sizing_truth.held()
    return {name: nbytes / real - 1 for name, nbytes in said.items()}


def _in_truth(call: str) -> Any:
    """Answer `call`, an expression, from a process that can ask the allocators."""
    program = f"import json; from benchmarks import sizing_runs, sizing_section; print(json.dumps({call}))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).resolve().parent.parent,
        env={**os.environ, **sizing_truth.ENVIRONMENT},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def parts(options: Options) -> dict[str, Part]:
    if not sizing_truth.glibc():
        return {"speeds": Part(_speeds)}
    found: dict[str, Part] = {"speeds": Part(_speeds)}
    for family in ["standard", "numpy"] if options.quick else sizing.families():
        only = "^(dict|list|str|ndarray) " if options.quick else ""
        found[PREFIX + family] = Part(partial(_family, family, 8 if options.quick else 40, only))
    if not options.quick:
        runs: dict[str, str] = {
            "10 MB of JSON": "sizing_section.json_errors()",
            "fields of a kept pool": "sizing_runs.shared_structure()",
            "fields of a pool renewed slowly": "sizing_runs.shared_structure(100, 0.1)",
            "fields of a pool renewed quickly": "sizing_runs.shared_structure(50, 1.0)",
            "100 MiB, hard": "sizing_runs.hundred_mib()",
        }
        found |= {name: Part(partial(_in_truth, call)) for name, call in runs.items()}
    return found


def _rows(results: Results) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part, rows in results.items():
        if part.startswith(PREFIX) and rows:
            found |= rows
    return found


def summary(rows: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return, for each estimator, how many kinds it gets right, and what it takes."""
    tools = list(dict.fromkeys(tool for row in rows.values() for tool in row if tool != "truth"))
    found: dict[str, dict[str, float]] = {}
    for tool in tools:
        here = [(row["truth"], row[tool]) for row in rows.values() if tool in row]
        good = [(real, each) for real, each in here if "failed" not in each]
        times = sorted(each["us"] for _, each in good) or [0.0]

        def share(right: Callable[[float, Any], bool], good: Any = good) -> int:
            return sum(right(real, each) for real, each in good)

        beside = [
            row["pympler"]["us"] / row[tool]["us"]
            for row in rows.values()
            if row.get(tool, {}).get("us") and row.get("pympler", {}).get("us")
        ]
        found[tool] = {
            "kinds": len(here),
            "5 %": share(lambda real, each: sizing.within(each["said"], real, 0.05)),
            "25 %": share(lambda real, each: sizing.within(each["said"], real, 0.25)),
            "2x": share(lambda real, each: real / 2 - 32 <= each["said"] <= 2 * real + 32),
            "failed": len(here) - len(good),
            "grown": share(lambda real, each: each["sized"] - real > max(64.0, 0.02 * real)),
            "median": statistics.median(times),
            "p90": times[int(len(times) * 0.9)],
            "pympler": statistics.geometric_mean(beside) if beside else 0.0,
        }
    return found


def _table(header: list[str], lines: list[list[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def report(results: Results) -> str:
    rows = _rows(results)
    text = ""
    if rows:
        all_of = summary(rows)
        text += (
            f"What {len(rows)} kinds of values free when copies of them are dropped, as the allocators"
            " tell it, against what\nestimators say. *Grown*: kinds whose values grow by it."
            " *Faster*: than pympler, the geometric mean over kinds.\n\n"
        )
        lines = [
            [f"**{tool}**" if tool in sizing.OURS else tool]
            + [f"{each[key]:.0f}" for key in ("5 %", "25 %", "2x", "failed", "grown")]
            + [f"{each['median']:.1f} / {each['p90']:.0f}", f"{each['pympler']:.1f}x"]
            for tool, each in all_of.items()
        ]
        header = [
            "",
            "within 5 % or 32 bytes",
            "25 %",
            "2x",
            "failed",
            "grown",
            "median / p90, us",
            "faster",
        ]
        text += _table(header, lines)
        missed = []
        for kind, row in rows.items():
            said = [row[tool]["said"] for tool in sizing.OURS if tool in row]
            if any(not sizing.within(each, row["truth"], 0.25) for each in said):
                missed.append([kind, *(f"{each:.0f}" for each in (row["truth"], *said))])
        if missed:
            text += "\nOff by more than a quarter:\n\n" + _table(
                ["", "bytes freed", *[tool for tool in sizing.OURS if tool in all_of]], missed
            )
    speeds = results.get("speeds")
    if speeds:
        lines = [
            [tool, *(f"{each[name]:.3g}" if name in each else "" for name in (*NAMED, "10 MB of JSON"))]
            for tool, each in speeds.items()
        ]
        text += "\nMicroseconds a call:\n\n" + _table(["", *NAMED, "10 MB of JSON"], lines)
    lines = [
        [part, ", ".join(f"{key}: {value:.3g}" for key, value in found.items())]
        for part, found in results.items()
        if found and part != "speeds" and not part.startswith(PREFIX)
    ]
    return text + ("\n" + _table(["whole values and caches", ""], lines) if lines else "")


def verdicts(results: Results) -> list[Verdict]:
    found: list[Verdict] = []
    rows = _rows(results)
    all_of = summary(rows) if rows else {}
    speeds = results.get("speeds") or {}
    for tool, wanted in TARGETS.items():
        pure = tool == "ebbcache" and "ebbcache in C" in (all_of or speeds)
        if tool in all_of:
            ours = all_of[tool]
            for part in ("5 %", "25 %"):
                reached = ours[part] / ours["kinds"]
                found.append(
                    Verdict(
                        f"kinds within {part}", reached, "target", wanted[part], "share", "higher", pure
                    )
                )
                peers = [
                    (peer, each[part] / each["kinds"])
                    for peer, each in all_of.items()
                    if peer not in sizing.OURS
                ]
                found += [
                    Verdict(f"kinds within {part}", reached, peer, share, "share", "higher", pure)
                    for peer, share in peers
                ]
            for what in ("failed", "grown"):
                found.append(Verdict(f"kinds {what}", ours[what], "target", 0.0, "kinds", pure=pure))
            if ours["pympler"]:
                what = "times as fast as pympler"
                found.append(
                    Verdict(what, ours["pympler"], "target", wanted["pympler"], "x", "higher", pure)
                )
        for name in NAMED if tool in speeds else ():
            most = wanted.get(name, wanted["scalar"])
            found.append(Verdict(f"sizing a {name}", speeds[tool][name], "target", most, "us", pure=pure))
        if tool in speeds:
            spent = speeds[tool]["10 MB of JSON"]
            found.append(Verdict("sizing 10 MB of JSON", spent, "target", 2000.0, "us", pure=pure))
        errors = results.get("10 MB of JSON") or {}
        if tool in errors:
            off = abs(errors[tool])
            found.append(
                Verdict("error on 10 MB of JSON", off, "target", wanted["json"], "share", pure=pure)
            )
    runs = [(part, each) for part, each in results.items() if part.startswith("fields") and each]
    pools = [(part, each["freed / believed"]) for part, each in runs]
    found += [
        Verdict(f"freed against believed, {part}", abs(reached - 1), "target", 0.1, "error")
        for part, reached in pools
    ]
    hard = results.get("100 MiB, hard")
    if hard:
        off = abs(hard["freed"] / hard["asked"] - 1)
        found.append(Verdict("freed of 100 MiB asked for hard", off, "target", 0.05, "error"))
    return found


def plots(results: Results, folder: Path) -> None:
    rows = _rows(results)
    if not rows:
        return
    shares = {tool: 100 * each["5 %"] / each["kinds"] for tool, each in summary(rows).items()}
    drawn, axes = drawing.figure(8.0, 0.3 * len(shares) + 0.8)
    drawing.bars(axes, shares, ours=sizing.OURS, title="kinds of values sized within 5 %, percent")
    drawing.save(drawn, folder, "sizing-accuracy.svg")
