"""The report: what was reached, where ebbcache loses, then each section; computed from saved results alone.

Nothing in it is written by hand: verdicts come from the sections, and those that were lost are all listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks import suite
from benchmarks.results import Saved
from benchmarks.section import Verdict

Found = dict[str, list[Verdict]]
"""Verdicts by the title of their section."""
LEVEL = 1.02
"""Up to this factor behind a peer counts as level: rounds of the same code differ by as much."""


def write(saved: Saved) -> Path:
    """Write ``report.md`` and the pictures beside the results."""
    folder = saved.file.parent
    told: list[tuple[str, str]] = []
    verdicts: Found = {}
    for name, module in suite.sections():
        if results := saved.results(name):
            module.plots(results, folder)
            told.append((module.TITLE, module.report(results)))
            verdicts[module.TITLE] = module.verdicts(results)
    lines = [*heading(saved), *reached(verdicts), *lost(verdicts)]
    for title, text in told:
        lines += ["", f"## {title}", "", text.strip()]
    lines += ["", *made(saved)]
    page = folder / "report.md"
    page.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return page


def heading(saved: Saved) -> Iterator[str]:
    about = saved.about
    days = sorted({kept["at"][:10] for found in saved.sections.values() for kept in found.values()})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    yield "# Results"
    yield ""
    yield f"Measured on {when}: {about['python']}, {about['system']} {about['machine']},"
    yield f"{about['processor']}, {about['cores']} cores; ebbcache {about['ebbcache']}."
    yield "This page is written by `python -m benchmarks`" + (
        " `--quick`, which measures little." if saved.quick else "."
    )
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    yield f"Beside it: {versions}."
    yield ""


def number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def reached(verdicts: Found) -> Iterator[str]:
    """Tell what was to be reached: how many were, and each that was not."""
    aims = [
        (title, each) for title, found in verdicts.items() for each in found if each.against == "target"
    ]
    if not aims:
        return
    missed = sorted((pair for pair in aims if not pair[1].won), key=lambda pair: -pair[1].behind)
    yield "## What was to be reached"
    yield ""
    yield f"{len(aims) - len(missed)} of {len(aims)} targets are met."
    yield ""
    if missed:
        yield "| missed, worst first | reached | target | by |"
        yield "| --- | --- | --- | --- |"
        for title, each in missed:
            yield f"{aim(title, each)} {by(each.behind)} |"
        yield ""
    if len(missed) < len(aims):
        yield "| met | reached | target |"
        yield "| --- | --- | --- |"
        for title, each in aims:
            if each.won:
                yield aim(title, each)
        yield ""


def aim(title: str, each: Verdict) -> str:
    bound = "≤" if each.better == "lower" else "≥"
    what = f"{title}: {each.what}" + (" (pure)" if each.pure else "")
    return f"| {what} | {number(each.ours)} {each.unit} | {bound} {number(each.theirs)} |"


def by(behind: float) -> str:
    return (
        "beyond measure"
        if behind == float("inf")
        else f"{behind - 1:.0%}"
        if behind < 2
        else f"{behind:.1f}x"
    )


def lost(verdicts: Found) -> Iterator[str]:
    """Tell every comparison with a peer that ebbcache lost, the Python store's apart."""
    rivals = [
        (title, each) for title, found in verdicts.items() for each in found if each.against != "target"
    ]
    if not rivals:
        return
    yield "## Where ebbcache loses"
    yield ""
    yield "All comparisons with peers that it lost, worst first: with the best of those in a row, or with"
    yield f"each of them. What is within {LEVEL - 1:.0%} counts as level."
    yield ""
    for pure in (False, True):
        these = [pair for pair in rivals if pair[1].pure == pure]
        behind = [pair for pair in these if not pair[1].won and pair[1].behind > LEVEL]
        if not these:
            continue
        yield "### " + ("Without the native store, where there is no compiler" if pure else "As installed")
        yield ""
        yield f"{len(behind)} of {len(these)} comparisons."
        yield ""
        if behind:
            yield "| | better is | by |"
            yield "| --- | --- | --- |"
            for title, each in sorted(behind, key=lambda pair: -pair[1].behind):
                yield f"| {title}: {each.what} | {each.against} | {by(each.behind)} |"
            yield ""


def made(saved: Saved) -> Iterator[str]:
    """Tell how the results were made, and what failed."""
    kept = [part for found in saved.sections.values() for part in found.values()]
    minutes = sum(part["seconds"] for part in kept) / 60
    loads = [part["load"] for part in kept]
    commits = ", ".join(sorted({part["commit"] for part in kept if part["commit"]}))
    yield "## How this was made"
    yield ""
    yield f"{len(kept)} parts in {minutes:.0f} minutes, the last at {max(part['at'] for part in kept)} UTC;"
    yield f"load of the machine, this program's included, {min(loads)} to {max(loads)}"
    yield (f"(commits {commits}; a plus says that files differed)." if commits else "(no checkout).")
    yield ""
    if failures := saved.failures():
        yield "Failed:"
        yield ""
        for section, part, error in failures:
            yield f"- {section}, {part}: `{error}`"
    else:
        yield "No part failed."
