"""Every policy and peer on every trace, at three sizes, between LRU and what knowing the future would give.

Told apart are requests missed, bytes missed, and cost missed (seconds that had to be spent again; where a
trace tells no cost, each miss costs the same). DensityCache is also told to save bytes, by a cost in
proportion to them. A part is one trace at one size. Bound: some seconds a part and policy, mostly peers'.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import plots as drawing
from benchmarks.section import Options, Part, Results, Verdict
from benchmarks.traces import bursts, offline, oracle
from benchmarks.traces.contenders import BOUND_BY_ENTRIES, OURS, Room, contenders, ours
from benchmarks.traces.loading import OWN, load, names
from benchmarks.traces.replay import SIZES, costs_of, replay, tally
from ebbcache.caches import DensityCache, LRUCache

TITLE = "Real traces"
QUICK = 150_000
"""Requests of a trace that `--quick` replays."""
TIMEOUT = 3600.0
"""Seconds for a part. It takes some minutes on a quiet machine; what it answers is the same on any."""
DEFAULT = "DensityCache"
"""The class of the policy that `cached` uses unless told otherwise."""
LESS_THAN_LRU = {"tw52": (0.13, 0.13, 0.13), "bu98-web": (0.05, 0.08, 0.09)}
"""The share of LRU's misses that was to be saved at each size, at the least."""
FEWER_BYTES = {"tw52": (0.04, 0.09, 0.05)}
"""The same in bytes, where bytes are what misses cost."""
AVOIDABLE = {"memo-sympy": (0.35, 0.65, 0.85)}
"""The share of LRU's avoidable cost that was to be saved."""
AT_MOST = {("corda", "0.1 %"): 0.667, ("lirs-loop", "10 %"): 0.92}


def parts(options: Options) -> dict[str, Part]:
    """Return a part for each trace and size; with `quick` the beginning of the own trace alone."""
    found: dict[str, Part] = {}
    for name in [OWN] if options.quick else names(options.traces):
        for size in SIZES:
            run = partial(measure, name, size, options.traces, QUICK if options.quick else None)
            found[f"{name} {size}"] = Part(run, timeout=TIMEOUT)
        run = partial(bursts.measure, name, options.traces, QUICK if options.quick else None)
        found[f"{name} bursts"] = Part(run, timeout=TIMEOUT)
    return found


def measure(name: str, size: str, folder: Path | None, requests: int | None = None) -> dict[str, Any]:
    """Replay one trace at one size through everything there is."""
    trace = load(name, folder)
    if requests is not None:
        trace = trace.head(requests)
    objects = len(set(trace.keys))
    room = Room(int(trace.working_set * SIZES[size]), max(1, int(objects * SIZES[size])))
    costs = costs_of(trace)
    answer: dict[str, Any] = {
        "requests": len(trace.keys),
        "objects": objects,
        "room": room._asdict(),
        "unit_sized": trace.unit_sized,
        "timed": trace.costs is not None,
        "caches": {who: replay(trace, make).as_dict() for who, make in contenders(room).items()},
        "libcachesim": {},
        "offline": {
            "floor": offline.floor(trace),
            "bound": offline.bound(trace, room.nbytes),
            "floor of cost": offline.floor(trace, costs),
            "bound of cost": offline.bound(trace, room.nbytes, costs),
        },
    }
    if trace.unit_sized:
        answer["offline"]["belady"] = offline.belady(trace, room.entries)
    elif trace.costs is None:
        by_bytes = costs_of(trace, "bytes")
        answer["for bytes"] = {
            who: replay(trace, partial(ours, kind, room), by_bytes).as_dict()
            for who, kind in (("DensityCache", DensityCache), ("LRUCache", LRUCache))
        } | {"bound": offline.bound(trace, room.nbytes, by_bytes)}
    if oracle.simulator() is not None:
        for policy in oracle.POLICIES:
            if oracle.can(trace, room.nbytes, policy):
                missed: dict[int, int] = {}
                for at in oracle.misses(trace, room.nbytes, policy):
                    missed[trace.keys[at]] = missed.get(trace.keys[at], 0) + 1
                answer["libcachesim"][policy] = tally(trace, missed, costs).as_dict()
    return answer


def rows(results: Results) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield trace, size and answer of all parts that are there."""
    for part, answer in results.items():
        trace, _, size = part.partition(" ")
        if size in SIZES and answer:
            yield trace, size, answer


def _traces(results: Results) -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for trace, size, answer in rows(results):
        found.setdefault(trace, {})[size] = answer
    return found


def averages(results: Results) -> dict[str, tuple[float, int]]:
    """Return how much less than LRU each cache missed (of cost), on average over traces and sizes.

    With the number of parts that it took part in; libCacheSim's policies have its name.
    """
    less: dict[str, list[float]] = {}
    for _, _, answer in rows(results):
        base = answer["caches"]["LRUCache"]["cost"]
        others = {f"{who} (libCacheSim)": missed for who, missed in answer["libcachesim"].items()}
        for who, missed in (answer["caches"] | others).items():
            less.setdefault(who, []).append(1 - missed["cost"] / base)
    means = {who: (statistics.fmean(found), len(found)) for who, found in less.items()}
    return dict(sorted(means.items(), key=lambda item: -item[1][0]))


def verdicts(results: Results) -> list[Verdict]:
    """Return the default policy beside every peer, and beside what was to be reached."""
    found: list[Verdict] = []
    for name, sizes in _traces(results).items():
        for at, size in enumerate(SIZES):
            if size in sizes:
                found += _verdicts(name, size, at, sizes[size])
    for part, answer in results.items():
        if part.endswith(" bursts") and answer:
            found += bursts.verdicts(part.removesuffix(" bursts"), answer)
    means = averages(results)
    if DEFAULT in means:
        found += [
            Verdict("less cost missed than LRU, mean of traces", means[DEFAULT][0], who, mean, "", "higher")
            for who, (mean, parts) in means.items()
            if who not in OURS and "Belady" not in who and parts == means[DEFAULT][1]
        ]
    return found


def _verdicts(name: str, size: str, at: int, answer: dict[str, Any]) -> list[Verdict]:
    caches, what = answer["caches"], f"{name}, {size}"
    cost = caches[DEFAULT]["cost"]
    lru = caches["LRUCache"]
    found = [
        Verdict(f"{what}: cost missed", cost, who, missed["cost"], "of cost")
        for who, missed in caches.items()
        if who not in OURS
    ]
    found.append(Verdict(f"{what}: 5 % over LRU at most", cost, "target", lru["cost"] * 1.05, "of cost"))
    if answer["requests"] <= QUICK and name == OWN:
        return found  # what was to be reached is said of whole traces
    if name in LESS_THAN_LRU:
        most = lru["objects"] * (1 - LESS_THAN_LRU[name][at])
        found.append(
            Verdict(f"{what}: requests missed", caches[DEFAULT]["objects"], "target", most, "of requests")
        )
    if name in FEWER_BYTES:
        most = answer["for bytes"]["LRUCache"]["bytes"] * (1 - FEWER_BYTES[name][at])
        missed = answer["for bytes"][DEFAULT]["bytes"]
        found.append(Verdict(f"{what}: bytes missed, weighed by bytes", missed, "target", most, "of bytes"))
    if name in AVOIDABLE:
        most = lru["cost"] - AVOIDABLE[name][at] * (lru["cost"] - answer["offline"]["floor of cost"])
        found.append(Verdict(f"{what}: avoidable cost", cost, "target", most, "of cost"))
    if (name, size) in AT_MOST:
        objects = caches[DEFAULT]["objects"]
        found.append(Verdict(f"{what}: at most", objects, "target", AT_MOST[name, size], "of requests"))
    best = answer["libcachesim"].get("Belady, by size")
    if name == "tw52" and size == "1 %" and best:
        most = lru["objects"] - 0.45 * (lru["objects"] - best["objects"])
        found.append(
            Verdict(f"{what}: 45 % of the way to offline", caches[DEFAULT]["objects"], "target", most)
        )
    return found


def report(results: Results) -> str:
    """Return the tables."""
    lines = [
        "What a cache misses of real traces (`benchmarks/traces/README.md` says where they come from), at"
        " 0.1 %, 1 % and 10 % of the bytes of all objects. Lower is better. Sizes are the trace's own, and"
        " nothing is added, so that only the policy counts. Time is the number of the request. Caches with"
        " * are bound by entries: they get as many as objects of the mean size fit. theine and moka-py"
        " decide by chance as well, and miss more or less in each run; all others miss the same.",
        "",
    ]
    judged = [answer for _, _, answer in rows(results) if "LRU" in answer["libcachesim"]]
    if judged:
        same = sum(answer["caches"]["LRUCache"] == answer["libcachesim"]["LRU"] for answer in judged)
        lines += [
            f"LRUCache misses what libCacheSim's LRU misses, in {same} of {len(judged)} traces and sizes.",
            "",
        ]
    for name, sizes in _traces(results).items():
        first = next(iter(sizes.values()))
        lines += [
            f"### {name}",
            "",
            f"{first['requests']:,} requests for {first['objects']:,} objects.",
            "",
        ]
        if first["timed"]:
            lines += _table("cost missed", sizes, "cost", "bound of cost", "floor of cost")
        lines += _table("requests missed", sizes, "objects", "bound", "floor")
        if not first["unit_sized"]:
            lines += _table("bytes missed", sizes, "bytes", None, None)
        if "for bytes" in first:
            lines += ["Told that a miss costs what it weighs, share of bytes missed:", ""]
            lines += [f"| | {' | '.join(sizes)} |", f"| --- |{' ---: |' * len(sizes)}"]
            for who in ("DensityCache", "LRUCache"):
                cells = [f"{answer['for bytes'][who]['bytes']:.3f}" for answer in sizes.values()]
                lines.append(f"| {who} | {' | '.join(cells)} |")
            cells = [f"{answer['for bytes']['bound']:.3f}" for answer in sizes.values()]
            lines += [f"| *nobody misses less* | {' | '.join(cells)} |", ""]
    lines += ["![Cost missed beside LRU](traces-missed.svg)", ""]
    lines += ["### On average", "", "Less cost missed than LRU, mean over these traces and sizes:", ""]
    lines += ["| | less than LRU | traces and sizes |", "| --- | ---: | ---: |"]
    lines += [f"| {who} | {mean:.1%} | {n} |" for who, (mean, n) in averages(results).items()]
    lines += ["", *bursts.report(results)]
    return "\n".join(lines)


def _table(
    title: str, sizes: dict[str, dict[str, Any]], column: str, bound: str | None, floor: str | None
) -> list[str]:
    found: dict[str, dict[str, float]] = {}
    for size, answer in sizes.items():
        for who, missed in answer["caches"].items():
            found.setdefault(f"{who} *" if who in BOUND_BY_ENTRIES else who, {})[size] = missed[column]
        for who, missed in answer["libcachesim"].items():
            found.setdefault(f"*{who} (libCacheSim)*", {})[size] = missed[column]
        for who, key in (
            ("*Belady's MIN*", "belady" if column == "objects" else ""),
            ("*nobody misses less (PFOO-L)*", bound),
            ("*first requests*", floor),
        ):
            if key and key in answer["offline"]:
                found.setdefault(who, {})[size] = answer["offline"][key]
    lines = [f"| {title} | {' | '.join(sizes)} |", f"| --- |{' ---: |' * len(sizes)}"]
    for who, cells in found.items():
        shown = [f"{cells[size]:.3f}" if size in cells else "" for size in sizes]
        lines.append(f"| {who} | {' | '.join(shown)} |")
    return [*lines, ""]


def plots(results: Results, folder: Path) -> None:
    """Draw, for each trace, cost missed in relation to LRU."""
    traces = _traces(results)
    if not traces:
        return
    shown = [DEFAULT, "LFUCache", "cachetools LFU", "cachebox LFU", "theine", "moka-py"]
    figure, each = drawing.figure(3.2 * len(traces), 3.4, columns=len(traces))
    for number, (axes, (name, sizes)) in enumerate(
        zip(each if len(traces) > 1 else [each], traces.items(), strict=True)
    ):
        for who in shown:
            ratios = [
                answer["caches"][who]["cost"] / answer["caches"]["LRUCache"]["cost"]
                if who in answer["caches"]
                else float("nan")
                for answer in sizes.values()
            ]
            axes.plot(list(sizes), ratios, marker="o", linewidth=2.5 if who == DEFAULT else 1, label=who)
        axes.axhline(1.0, color="black", linewidth=0.8)
        axes.set_ylim(top=min(1.6, axes.get_ylim()[1]))
        axes.set_title(name, fontsize=10)
        if number == 0:
            axes.set_ylabel("cost missed, LRU = 1")
    figure.axes[0].legend(fontsize=7)
    drawing.save(figure, folder, "traces-missed.svg")
