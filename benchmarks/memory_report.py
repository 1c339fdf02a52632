"""What is said about memory: a table of bytes and collections, a picture, and verdicts."""

from __future__ import annotations

from pathlib import Path

from benchmarks import plots as drawing
from benchmarks.section import Results, Verdict

TITLE = "Memory per entry"
WANTED = 52.0
"""Bytes an entry: what LRUCache in C was to stay within."""
LEAST = 2.0
"""Milliseconds under which collections cannot be told apart from what else there is to collect."""


def store_of(part: str) -> str | None:
    return part.rpartition("(")[2].rstrip(")") if part.endswith(")") else None


def present(results: Results) -> dict[str, dict[str, float]]:
    return {part: found for part, found in results.items() if found}


def verdicts(results: Results) -> list[Verdict]:
    found = present(results)
    answer = []
    peers = {
        name: each["bytes"] for name, each in found.items() if store_of(name) is None and name != "dict"
    }
    for part, each in found.items():
        store = store_of(part)
        if store is None:
            continue
        if part == "LRUCache (native)":
            answer.append(Verdict(f"{part}, an entry", each["bytes"], "target", WANTED, "bytes"))
        if peers:
            least = min(peers, key=peers.__getitem__)
            answer.append(
                Verdict(
                    f"{part}, an entry", each["bytes"], least, peers[least], "bytes", pure=store == "pure"
                )
            )
        for kind in ("gc", "gc, lists"):
            if "dict" in found and kind in each:
                what = f"{part}, gc.collect()" + (" with lists as values" if "lists" in kind else "")
                ours, theirs = (max(one[kind], LEAST) for one in (each, found["dict"]))
                answer.append(Verdict(what, ours, "dict", theirs, "ms", pure=store == "pure"))
    return answer


def collecting(milliseconds: float | None) -> str:
    if milliseconds is None:
        return ""
    return f"{milliseconds:.0f}" if milliseconds >= LEAST else f"under {LEAST:.0f}"


def report(results: Results) -> str:
    found = present(results)
    lines = [
        "Bytes that an entry takes beyond its key and value, by how much the resident memory of a process",
        "grew while the entries went in; and CPU milliseconds that they add to `gc.collect()`: with None",
        "as values, and with a list in each entry (less what the lists take alone). A process each.",
        "`functools` is `lru_cache` with a bound that is not reached, `functools.cache` has no bound and",
        "keeps no order.",
        "",
        "![Bytes an entry](memory-bytes.svg)",
        "",
        "| | bytes an entry | gc.collect(), ms | the same with lists, ms |",
        "| --- | --- | --- | --- |",
    ]
    for part, each in sorted(found.items(), key=lambda pair: pair[1]["bytes"]):
        cells = [f"{each['bytes']:.0f}", *(collecting(each.get(kind)) for kind in ("gc", "gc, lists"))]
        name = f"**{part}**" if store_of(part) else part
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def plots(results: Results, folder: Path) -> None:
    found = sorted(present(results).items(), key=lambda pair: pair[1]["bytes"])
    values = {part: each["bytes"] for part, each in found}
    if values:
        drawn, axes = drawing.figure(8.0, 0.26 * len(values) + 0.8)
        ours = [part for part in values if store_of(part)]
        drawing.bars(axes, values, ours=ours, title="bytes an entry beyond key and value", base=WANTED)
        drawing.save(drawn, folder, "memory-bytes.svg")
