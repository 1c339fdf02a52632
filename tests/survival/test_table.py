"""The tables of docs/survival.md are those that the committed results give, and count what is there."""

from __future__ import annotations

from typing import Any

from benchmarks.survival import table
from benchmarks.survival.bursts import SHARES, largest


def run(**fields: Any) -> dict[str, Any]:
    usual = {
        "id": "1-bytes",
        "scenario": 1,
        "front": "ebbcache",
        "survived": True,
        "kills": 0,
        "failed": 0,
        "share": 0.8,
        "hit_ratio": 0.5,
        "to_target": None,
        "insert_p999": 1.0,
        "insert_max": 2.0,
        "hit_p999": 0.1,
        "hit_max": 0.2,
    }
    return usual | fields


def test_the_page_has_the_tables_that_the_results_give() -> None:
    page = table.PAGE.read_text("utf-8")
    assert table.filled(page) == page


def test_runs_kills_and_failed_calls_are_counted() -> None:
    runs = [
        run(),
        run(kills=2, survived=False),
        run(failed=3),
        run(front="unbounded", kills=1, survived=False),
    ]
    assert table.by_scenario(runs).splitlines()[-2:] == [
        "| 1 | 3 | 1 | 3 | killed in 1 of 1 |",
        "| 1, 2, 4, 5, 6, 7 | 3 | 1 | 3 | |",
    ]


def test_the_best_fixed_size_is_the_best_that_lived() -> None:
    limit = 100
    fixed = [
        run(front="lru:90", hit_ratio=0.9, survived=False),
        run(front="lru:60", hit_ratio=0.6),
        run(front="lru:50", hit_ratio=0.5),
    ]
    assert table.best_fixed(fixed, limit) == "0.600 (60%)"
    assert table.best_fixed(fixed[:1], limit) == "-"


def test_the_largest_burst_is_found_in_few_questions() -> None:
    asked: list[float] = []

    def survives(share: float) -> bool:
        asked.append(share)
        return share <= 0.35

    assert largest(survives, SHARES) == 0.35
    assert len(asked) <= 4
