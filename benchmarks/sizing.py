"""How true sizes are and what they cost: ebbcache beside sys.getsizeof, dask, objsize and pympler.

``python -m benchmarks.sizing [--only REGEX] [--family NAME]``. For each kind of value, the bytes that the
allocators get back when copies are dropped (`sizing_truth`) stand beside what each estimator says. An
answer counts as right to 5 % if it is off by no more than that, or by 32 bytes. Each family of kinds is
measured in a process of its own. Bound: times are CPU time, the best of five, each estimator
on the same value.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import sizing_truth as truth

Sizer = Callable[[Any], int]
OURS = ("ebbcache in C", "ebbcache")
_ROOT = Path(__file__).resolve().parent.parent


def estimators() -> dict[str, Sizer]:
    """Return the estimators that are installed, ours first."""
    from ebbcache import sizing

    found: dict[str, Sizer] = {}
    if sizing.IMPLEMENTATION == "native":
        found["ebbcache in C"] = sizing.sizeof
    found["ebbcache"] = sizing.python_sizeof
    found["sys.getsizeof"] = sys.getsizeof
    try:
        from dask.sizeof import sizeof

        found["dask.sizeof"] = sizeof
    except ImportError:
        pass
    try:
        from objsize import get_deep_size

        found["objsize"] = get_deep_size
    except ImportError:
        pass
    try:
        from pympler.asizeof import asizeof

        found["pympler"] = asizeof
    except ImportError:
        pass
    return found


def microseconds(size: Sizer, value: Any) -> float:
    """Return the CPU time that one call takes, the best of five rounds of a millisecond or more."""
    size(value)
    loops = 1
    while True:
        best = math.inf
        for _ in range(5):
            rounds = itertools.repeat(None, loops)
            start = time.process_time_ns()
            for _ in rounds:
                size(value)
            best = min(best, (time.process_time_ns() - start) / 1000)
        if best > 1000:
            return best / loops
        loops *= 10 if best < 100 else 3


def makers(family: str) -> dict[str, Callable[[int], Any]]:
    """Return the kinds of a family; ImportError if its package is not installed."""
    if family == "standard":
        from benchmarks.sizing_kinds import STANDARD

        return STANDARD
    if family == "more":
        from benchmarks.sizing_more import MORE

        return MORE
    from benchmarks import sizing_holders, sizing_packages

    return {**sizing_holders.FAMILIES, **sizing_packages.FAMILIES}[family]()


def families() -> list[str]:
    """Return the names of all families."""
    from benchmarks import sizing_holders, sizing_packages

    return ["standard", "more", *sizing_holders.FAMILIES, *sizing_packages.FAMILIES]


def measure_kind(
    family: str, make: Callable[[int], Any], tools: dict[str, Sizer], copies: int, timed: bool
) -> Any:
    """Return the truth of one kind, and what each of `tools` says, adds, takes or fails with."""
    from benchmarks.sizing_holders import RESIDENT, resident

    account = resident if family in RESIDENT else truth.held
    truth.settle(make)
    row: dict[str, Any] = {"truth": truth.freed(make, None, copies, account)[0]}
    for name, size in tools.items():
        try:
            sized, said = truth.freed(make, size, copies, account)
            if sized - row["truth"] > max(64.0, 0.02 * row["truth"]):
                # Once more: an estimator's own tables grow at times, values that grow do so every time.
                sized = min(sized, truth.freed(make, size, copies, account)[0])
            row[name] = {"said": said, "sized": sized, "us": microseconds(size, make(1)) if timed else 0.0}
        except Exception as error:
            row[name] = {"failed": type(error).__name__}
    return row


def _child(family: str, only: str, copies: int, ours: bool) -> None:
    """Print a line of JSON for each kind."""
    problem = truth.why_not()
    if problem is not None:
        sys.exit(problem)
    tools = estimators()
    if ours:
        tools = {name: size for name, size in tools.items() if name in OURS}
    try:
        kinds = makers(family)
    except ImportError:
        return
    for name, make in kinds.items():
        if re.search(only, name):
            try:
                row = measure_kind(family, make, tools, copies, timed=not ours)
            except Exception as error:
                print(f"{name}: {error!r}", file=sys.stderr)
                continue
            print(json.dumps([name, row]), flush=True)


def measure(family: str, only: str = "", copies: int = 40, ours: bool = False) -> Iterator[tuple[str, Any]]:
    """Measure the kinds of `family` whose names match `only`, in a process of its own, one by one."""
    command = [sys.executable, "-m", "benchmarks.sizing", "--child", family, "--only", only]
    command += ["--copies", str(copies), *(["--ours"] if ours else [])]
    environment = {**os.environ, **truth.ENVIRONMENT}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_ROOT, env=environment) as child:
        assert child.stdout is not None
        for line in child.stdout:
            name, row = json.loads(line)
            yield name, row


def within(said: float, real: float, part: float) -> bool:
    """Return whether `said` is right to a `part` of what is `real`, or to 32 bytes."""
    return abs(said - real) <= max(32.0, part * real)


def main() -> None:
    """Measure what the command line says, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="a regular expression that names of kinds match")
    parser.add_argument("--family", action="append", help="one of " + ", ".join(families()))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--ours", action="store_true", help="leave the other estimators out")
    parser.add_argument("--copies", type=int, default=40)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(options.child, options.only, options.copies, options.ours)
        return
    for family in options.family or families():
        for name, row in measure(family, options.only, options.copies, options.ours):
            if options.json:
                print(json.dumps([name, row]))
                continue
            line = f"{name:36}{row['truth']:10.0f}"
            for tool, found in row.items():
                if tool != "truth":
                    if "failed" in found:
                        line += f"{found['failed']:>22}"
                        continue
                    good = within(found["said"], row["truth"], 0.05)
                    grown = " " if within(found["sized"], row["truth"], 0.02) else "g"
                    line += f"{found['said']:11.0f}{' ' if good else '*'}{grown}{found['us']:9.1f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
