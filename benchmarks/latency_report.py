"""What is said about latencies: tables of ratios, pictures, and verdicts on targets and peers."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import plots as drawing
from benchmarks.rounds import Ratio
from benchmarks.section import Results, Verdict

TITLE = "Latency"
OURS = ("cached", "lru_cache", "LRUCache", "LFUCache", "TTLCache", "DensityCache")
PEERS = ("cachebox", "lru-dict", "cachetools", "methodtools", "moka-py", "theine", "functools")
ORDER = ("dict", *OURS, "functools", *PEERS[:-1])

CALLS = {"one int": 0.55, "two positional": 0.5, "keyword": 0.3, "none": 0.65, "method": 0.7}
MAPPING = ("get, identical keys", "get, equal keys", "get, miss", "contains", "update")


def rows(results: Results) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield store, title and times of each row."""
    for part, found in results.items():
        store = part.rpartition("(")[2].rstrip(")")
        for title, row in found.items():
            yield store, title, row


def fastest(row: Mapping[str, Any]) -> str | None:
    """Return the peer with the least median time."""
    times = {name: statistics.median(each) for name, each in row["times"].items() if name in PEERS}
    return min(times, key=times.__getitem__) if times else None


def base_of(title: str, row: Mapping[str, Any]) -> str:
    """Return what a row is told in ratios of: inserts are compared with the fastest peer."""
    return (fastest(row) or str(row["base"])) if title.startswith("insert") else str(row["base"])


def targets(title: str) -> Iterator[tuple[str, float]]:
    """Yield contenders of the native store and the ratio to the row's base that each was to reach."""
    kind, _, what = title.partition(", ")
    if kind == "call" and what in CALLS:
        yield "cached", CALLS[what]
    elif title.endswith(" entries") and title.partition(", 1,")[0] in MAPPING:
        yield "LRUCache", 1.1 if title.endswith("1,000,000 entries") else 1.05
    elif title.startswith("insert that evicts"):
        name = {"lru": "LRUCache", "lfu": "LFUCache", "ttl": "TTLCache", "density": "DensityCache"}
        yield name[what.partition(",")[0]], 1.0 if what.endswith("int values") else 2.0


def verdicts(results: Results) -> list[Verdict]:
    found = []
    for store, title, row in rows(results):
        times, base, peer = row["times"], base_of(title, row), fastest(row)
        if store == "native":
            for name, wanted in targets(title):
                if name in times:
                    ours = Ratio.of(times, name, base).middle
                    found.append(Verdict(f"{title}: {name}", ours, "target", wanted, f"of {base}'s time"))
        for name in OURS:
            # A TTLCache has peers where these keep deadlines, too.
            if name not in times or peer is None or (name == "TTLCache" and "ttl" not in title.lower()):
                continue
            ours = Ratio.of(times, name, peer).middle
            found.append(Verdict(f"{title}: {name}", ours, peer, 1.0, "of its time", pure=store == "pure"))
    return found


def cell(times: Mapping[str, list[float]], name: str, base: str) -> str:
    if name not in times:
        return ""
    if name == base:
        return f"1 ({statistics.median(times[name]):.0f} ns)"
    ratio = Ratio.of(times, name, base)
    if name not in OURS:
        return f"{ratio.middle:.2f}"
    return f"**{ratio.middle:.2f}** ({ratio.low:.2f} to {ratio.high:.2f})"


def table(found: Mapping[str, Any]) -> Iterator[str]:
    for title_of_base, those in by_base(found).items():
        names = [name for name in ORDER if any(name in row["times"] for row in those.values())]
        first = "fastest peer" if title_of_base == "insert" else title_of_base
        yield f"| of {first}'s time | " + " | ".join(f"{name}" for name in names) + " |"
        yield "| --- |" + " --- |" * len(names)
        for title, row in those.items():
            base = base_of(title, row)
            yield f"| {title} | " + " | ".join(cell(row["times"], name, base) for name in names) + " |"
        yield ""


def by_base(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    for title, row in found.items():
        groups.setdefault("insert" if title.startswith("insert") else str(row["base"]), {})[title] = row
    return groups


def report(results: Results) -> str:
    lines = [
        "Medians of the ratios of interleaved rounds; the quartiles of ebbcache's in brackets, and the",
        "median time of what the others are divided by. Less is better. Keys are ints unless a row says",
        "otherwise; inserts go into full caches of 1,000 entries. ebbcache has everything on: sizes",
        "measured, registered as shrinker, governor running; the others run as they come. `cached`,",
        "`lru_cache` and the classes with `Cache` in their names are ebbcache's.",
        "",
    ]
    for part, found in results.items():
        name = part.rpartition(" (")[0]
        store = part.rpartition("(")[2].rstrip(")")
        lines += [f"### {name[0].upper()}{name[1:]}, {store} store", ""]
        if picture := PICTURES.get(part):
            lines += [f"![{name}, as in the table]({picture})", ""]
        lines += table(found)
    return "\n".join(lines)


PICTURES = {
    "calls (native)": "latency-calls.svg",
    "1,000 entries (native)": "latency-1000.svg",
    "1,000,000 entries (native)": "latency-1000000.svg",
    "inserts (native)": "latency-inserts.svg",
}


def plots(results: Results, folder: Path) -> None:
    for part, picture in PICTURES.items():
        if found := results.get(part):
            draw(found, folder, picture)


def draw(found: Mapping[str, Any], folder: Path, picture: str) -> None:
    """Draw a part's rows as points on a logarithmic axis of ratios, ebbcache's in colour."""
    drawn, axes = drawing.figure(9.0, 0.34 * len(found) + 1.2)
    titles = list(found)[::-1]
    marks = dict(zip(ORDER, "|oo^sDo|^vsDx+", strict=False))
    seen: set[str] = set()
    for height, title in enumerate(titles):
        row, base = found[title], base_of(title, found[title])
        for name in ORDER:
            if name not in row["times"]:
                continue
            ratio = Ratio.of(row["times"], name, base).middle
            color = (
                drawing.OURS
                if name in OURS
                else drawing.BASE
                if name in ("dict", "functools")
                else "#777777"
            )
            label = None if name in seen else name
            axes.plot(ratio, height, marks[name], color=color, label=label, alpha=0.8, linestyle="none")
            seen.add(name)
    axes.set_xscale("log")
    axes.set_xticks([0.2, 0.5, 1, 2, 5, 10, 20, 50], ["0.2", "0.5", "1", "2", "5", "10", "20", "50"])
    axes.minorticks_off()
    axes.set_yticks(range(len(titles)), titles)
    axes.axvline(1.0, color=drawing.BASE, linewidth=0.8)
    base = "the fastest peer" if "inserts" in picture else found[titles[0]]["base"]
    axes.set_xlabel(f"time, as a multiple of that of {base}")
    drawn.legend(loc="outside right upper", fontsize=8)
    drawing.save(drawn, folder, picture)
