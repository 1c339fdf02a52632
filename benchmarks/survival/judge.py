"""From a time line to a verdict: who died, what failed, how much of the free memory was used, who waited.

Pure arithmetic on the records of play.py, so it is tested on time lines made by hand. Definitions, in one
place: what is *free for caches* at a moment is the limit less what the program used before it cached
anything and less what its loads hold. The *share used* is cached bytes over that, averaged over time from
when as much was inserted as is free. *Pressure* is headroom, as read from outside, under 6 % of the limit
(the library's `low` mark); the time to target runs until it is back above.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]

PRESSURE = 2 / 32  # of the limit
DRAINED = 0.03  # of the limit: caches that hold less are out of the way
COLLAPSED = 0.5  # of what they held before: caches that fall below it for nothing collapsed


@dataclass(frozen=True)
class Verdict:
    """What a run came to. Seconds, but pauses in milliseconds; bytes; None: nothing to tell."""

    id: str
    scenario: int
    front: str
    seed: int
    survived: bool
    code: int
    kills: int
    failed: int
    errors: list[str]
    blamed: bool  # killed while caches still held bytes that could be given back
    hung: bool
    seconds: float
    share: float | None  # of what was free for caches that they used
    hit_ratio: float | None
    least_headroom: int | None
    to_target: float | None  # the longest time under pressure
    pressures: int
    regrown: float | None  # seconds from the last drop of a load until 90 % of the former size; inf: never
    lowest: float | None  # least cached bytes after the filling, as a share of what was there before loads
    given: float | None  # bytes that caches gave for one that was needed, worst burst
    hit_p999: float | None
    hit_max: float | None
    insert_p999: float | None
    insert_max: float | None
    insert_cpu: float | None
    exhausted_said: int
    cached_at_end: int | None
    wrong: list[str]

    @property
    def good(self) -> bool:
        """Whether nothing was broken that the library promises in every run."""
        return not (self.kills and self.blamed) and not self.failed and not self.hung and not self.wrong


def judge(records: Sequence[Record]) -> Verdict:
    """Return the verdict on one run's records, sorted by time; ValueError if its end is missing."""
    spec = _one(records, "spec")["spec"]
    end = _one(records, "exit")
    summaries = [r for r in records if r["k"] == "end"]
    samples = [r for r in records if r["k"] == "s"]
    reports = [r for r in records if r["k"] == "r"]
    joined = together(reports)
    base = baseline(records, samples)
    lost = [r for r in records if r["k"] in ("lost", "hung", "garbled")]
    kills = max(int(end["kills"]), int(end["code"] in (-9, 137) and not end["hung"]))
    cached = int(joined[-1]["cached"]) if joined else 0
    survived = end["code"] == 0 and not kills and not lost and not end["hung"]
    wrong = [each for r in records if r["k"] == "checks" for each in r["wrong"]]
    if end["code"] not in (0, -9, 137):
        wrong.append(f"exit code {end['code']}: {end.get('errors', '')[-300:]}")
    wrong += [f"{r['k']}: {r}" for r in lost if not kills]
    checked = any(r["k"] == "checks" for r in records)
    if spec["scenario"] == 10 and spec["front"] == "ebbcache" and not checked and not kills:
        wrong.append("the invariants were not checked")
    said = sum(r["k"] == "log" and r["level"] == "WARNING" and "exhausted" in r["text"] for r in records)
    if spec.get("dies") and spec["front"] == "ebbcache" and said != 1:
        wrong.append(f"that memory was exhausted was said {said} times, not once")
    pressures = under_pressure(samples)
    hits = sum(s["hits"] for s in summaries) or sum(r["hits"] for r in _newest(reports).values())
    misses = sum(s["misses"] for s in summaries) or sum(r["misses"] for r in _newest(reports).values())
    return Verdict(
        id=spec["id"],
        scenario=spec["scenario"],
        front=spec["front"],
        seed=spec["seed"],
        survived=survived,
        code=end["code"],
        kills=kills,
        failed=sum(s["failed"] for s in summaries),
        errors=[e for s in summaries for e in s["errors"]][:5],
        blamed=bool(kills) and cached > DRAINED * spec["limit"],
        hung=bool(end["hung"]),
        seconds=round(records[-1]["t"] - records[0]["t"], 2),
        share=share_used(samples, joined, base),
        hit_ratio=round(hits / (hits + misses), 4) if hits + misses else None,
        least_headroom=min((s["limit"] - s["usage"] for s in samples if s["limit"]), default=None),
        to_target=round(max(pressures), 3) if pressures else None,
        pressures=len(pressures),
        regrown=regrown(records, joined),
        lowest=lowest(records, joined),
        given=given(records, samples, joined, base),
        hit_p999=_worst(summaries, "on_hit", "p999"),
        hit_max=_worst(summaries, "on_hit", "max"),
        insert_p999=_worst(summaries, "on_insert", "p999"),
        insert_max=_worst(summaries, "on_insert", "max"),
        insert_cpu=_worst(summaries, "on_insert", "max_cpu"),
        exhausted_said=said,
        cached_at_end=cached,
        wrong=wrong,
    )


def _one(records: Sequence[Record], kind: str) -> Record:
    for record in records:
        if record["k"] == kind:
            return record
    raise ValueError(f"the time line has no {kind!r}")


def _newest(reports: Sequence[Record]) -> dict[int, Record]:
    return {r["pid"]: r for r in reports}


def _worst(summaries: Sequence[Record], of: str, what: str) -> float | None:
    return max((s[of][what] for s in summaries if of in s and s[of]["count"]), default=None)


def together(reports: Sequence[Record]) -> list[Record]:
    """Return one series out of the reports of all processes: at each report, the sum of everyone's newest.

    A process whose next report is more than a second away counts no longer: it has ended, or died.
    """
    newest: dict[int, Record] = {}
    series: list[Record] = []
    for report in reports:
        newest[report["pid"]] = report
        newest = {pid: r for pid, r in newest.items() if report["t"] - r["t"] <= 1.0}
        sums = {
            name: sum(r.get(name, 0) for r in newest.values()) for name in ("cached", "own", "inserted")
        }
        series.append({"t": report["t"], "processes": len(newest)} | sums)
    return series


def baseline(records: Sequence[Record], samples: Sequence[Record]) -> int:
    """Return what the program used before it cached anything: the last sample before its first report."""
    first = next((r["t"] for r in records if r["k"] == "r"), None)
    started = next((r["t"] for r in records if r["k"] == "start"), None)
    if first is None or started is None:
        return 0
    before = [s["usage"] for s in samples if started <= s["t"] < first]
    return int(before[-1]) if before else 0


def _at(samples: Sequence[Record], times: Sequence[float]) -> list[Record]:
    """Return, for each of `times` (rising), the newest sample not after it (or the first)."""
    found, at = [], 0
    for time in times:
        while at + 1 < len(samples) and samples[at + 1]["t"] <= time:
            at += 1
        found.append(samples[at])
    return found


def share_used(samples: Sequence[Record], joined: Sequence[Record], base: int) -> float | None:
    """Return the mean share of what was free for caches that they held, once they could have filled it."""
    if not samples or not joined:
        return None
    area = time = 0.0
    began = None
    for before, here, sample in zip(
        joined, joined[1:], _at(samples, [r["t"] for r in joined[1:]]), strict=False
    ):
        free = sample["limit"] - base - here["own"]
        if began is None and here["inserted"] >= free:
            began = here["t"]
        if began is None or free <= 0:
            continue
        seconds = here["t"] - before["t"]
        area += seconds * min(1.0, here["cached"] / free)
        time += seconds
    return round(area / time, 4) if time else None


def under_pressure(samples: Sequence[Record]) -> list[float]:
    """Return how long each time of pressure lasted, from the first sample under the mark to one above."""
    spells: list[float] = []
    since = None
    for sample in samples:
        low = sample["limit"] - sample["usage"] < PRESSURE * sample["limit"]
        if low and since is None:
            since = sample["t"]
        elif not low and since is not None:
            spells.append(sample["t"] - since)
            since = None
    if since is not None:
        spells.append(samples[-1]["t"] - since)
    return spells


def _before_loads(records: Sequence[Record], joined: Sequence[Record]) -> tuple[float, int] | None:
    """Return when the first disturbance came, and what caches held just before."""
    first = next((r["t"] for r in records if r["k"] in ("burst", "reading", "move")), None)
    if first is None:
        return None
    held = [r["cached"] for r in joined if r["t"] <= first]
    return (first, held[-1]) if held else None


def lowest(records: Sequence[Record], joined: Sequence[Record]) -> float | None:
    """Return the least held after the first disturbance, as a share of what was held before."""
    before = _before_loads(records, joined)
    if before is None or not before[1]:
        return None
    after = [r["cached"] for r in joined if r["t"] > before[0]]
    return round(min(after) / before[1], 4) if after else None


def regrown(records: Sequence[Record], joined: Sequence[Record]) -> float | None:
    """Return the seconds from the last disturbance's end until 90 % of the former size; inf: never."""
    before = _before_loads(records, joined)
    ends = [r["t"] for r in records if r["k"] in ("dropped", "read") or (r["k"] == "move" and "limit" in r)]
    if before is None or not ends or not before[1]:
        return None
    for report in joined:
        if report["t"] >= ends[-1] and report["cached"] >= 0.9 * before[1]:
            return round(report["t"] - ends[-1], 2)
    return float("inf")


def given(
    records: Sequence[Record], samples: Sequence[Record], joined: Sequence[Record], base: int
) -> float | None:
    """Return how many bytes caches gave for one that was needed: the most of all bursts.

    Needed is what a burst takes beyond the room that there was above the pressure mark when it began.
    """
    found: list[float] = []
    marks = [r for r in records if r["k"] in ("burst", "dropped")]
    for burst, after in itertools.pairwise(marks):
        held = [r["cached"] for r in joined if burst["t"] - 0.5 <= r["t"] <= burst["t"]]
        within = [r["cached"] for r in joined if burst["t"] < r["t"] <= after["t"]]
        if burst["k"] != "burst" or not held or not within:
            continue
        sample = _at(samples, [burst["t"]])[0]
        room = sample["limit"] - sample["usage"] - PRESSURE * sample["limit"]
        needed = burst["size"] - max(0.0, room)
        if needed > 0.05 * sample["limit"]:
            found.append((max(held) - min(within)) / needed)
    return round(max(found), 3) if found else None
