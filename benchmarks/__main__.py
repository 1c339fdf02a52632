"""One command that measures everything and writes the report.

    python -m benchmarks                          all sections, into docs/performance
    python -m benchmarks --quick                  all sections within three minutes, into build/benchmarks
    python -m benchmarks --only latency,memory    some sections
    python -m benchmarks --traces DIR             with the traces that are in this folder
    python -m benchmarks --list                   what there is, what is done

Results are saved part by part: what was interrupted goes on where it was, what failed is tried again, and
`--fresh` starts anew. The report and its pictures are written beside the results, from whatever results are
there.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from benchmarks import suite
from benchmarks.report import write
from benchmarks.results import Saved
from benchmarks.section import Options, Part

ROOT = Path(__file__).parents[1]


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="be done within three minutes")
    parser.add_argument("--only", default="", metavar="SECTION,...", help=", ".join(suite.SECTIONS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep results and report here")
    parser.add_argument("--traces", type=Path, metavar="DIR", help="a folder of traces")
    parser.add_argument("--fresh", action="store_true", help="measure anew what is there already")
    parser.add_argument("--list", action="store_true", help="say what there is and what is done")
    parser.add_argument("--report", action="store_true", help="measure nothing, only write the report")
    parsed = parser.parse_args(given)
    parsed.only = [name for name in parsed.only.split(",") if name]
    if unknown := [name for name in parsed.only if name not in suite.SECTIONS]:
        parser.error(f"there is no section {unknown[0]!r}; there are {', '.join(suite.SECTIONS)}")
    if parsed.traces is not None and not parsed.traces.is_dir():
        parser.error(f"{parsed.traces} is no folder")
    folder = ROOT / "build" / "benchmarks" if parsed.quick else ROOT / "docs" / "performance"
    parsed.json = parsed.json or folder / "results.json"
    return parsed


def main(given: list[str] | None = None) -> int:
    """Run what is asked for; answer 1 if a part failed."""
    asked = arguments(given)
    options = Options(asked.quick, asked.traces)
    saved = Saved.load(asked.json, quick=asked.quick)
    plan = [
        (section, name, part)
        for section, module in suite.sections(asked.only)
        for name, part in module.parts(options).items()
    ]
    if asked.list:
        for section, name, _ in plan:
            print(f"{'done' if saved.done(section, name) else '    '}  {section}: {name}")
        return 0
    if asked.fresh:
        for section, _, _ in plan:
            saved.sections.pop(section, None)
    left = [] if asked.report else [each for each in plan if not saved.done(*each[:2])]
    failed = measure(left, len(plan), options, saved)
    for section, name, error in failed:
        print(f"{section}: {name} failed: {error}", file=sys.stderr)
    if saved.sections:
        print(f"The report is in {write(saved)}")
    return bool(failed)


def measure(
    left: list[tuple[str, str, Part]], total: int, options: Options, saved: Saved
) -> list[tuple[str, str, str]]:
    """Measure what is left, show how far it is, and return what failed."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    failed = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("", total=total, completed=total - len(left))
        for section, name, part in left:
            progress.update(task, description=f"{section}: {name}")
            seconds, outcome = suite.carry_out(suite.SECTIONS[section], name, part, options)
            saved.keep(section, name, seconds, outcome)
            if "error" in outcome:
                failed.append((section, name, outcome["error"]))
            progress.console.print(f"{section}: {name}, {seconds:.0f} s")
            progress.advance(task)
    return failed


if __name__ == "__main__":
    # So that whoever ends this program ends the part that runs, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
