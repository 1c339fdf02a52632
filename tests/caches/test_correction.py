"""Believed sizes against freed ones: victims are measured again, and a factor corrects the account."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import sizing_truth
from ebbcache._correction import EVERY, Correction

ROOT = Path(__file__).resolve().parents[2]
needs_glibc = pytest.mark.skipif(
    not sizing_truth.glibc(), reason="the truth is had from glibc's mallinfo2 (2.33+)"
)


def test_starts_without_one(kind: Any) -> None:
    cache = kind()
    for n in range(100):
        cache[n] = [n / 7]
    assert cache.stats().correction == 1.0
    assert cache.shrink(cache.nbytes // 2) > 0


def test_private_values_need_none(kind: Any) -> None:
    cache = kind()
    for n in range(20 * EVERY):
        cache[f"key {n}"] = [n / 7, f"text {n}"]
    while cache:
        before = cache.nbytes
        assert cache.shrink(2000) == pytest.approx(before - cache.nbytes, rel=0.02)
    assert cache.stats().correction == pytest.approx(1.0, abs=0.02)


def test_values_that_grew_are_learnt_of(kind: Any) -> None:
    cache = kind()
    rows: list[list[float]] = []
    for n in range(20 * EVERY):
        rows.append([])
        cache[n] = rows[-1]
    for row in rows:
        row.extend([0.5] * 100)
    rows.clear()
    believed = cache.nbytes
    said = cache.shrink(believed // 2)
    assert said > believed - cache.nbytes
    assert cache.stats().correction > 1.5
    assert cache._held() == pytest.approx(cache.nbytes * cache.stats().correction, abs=1)
    assert sum(cache.tally(hard=True).values()) == pytest.approx(cache._held(), rel=0.01)


def test_entries_keep_their_sizes(kind: Any) -> None:
    cache = kind()
    shared = [n / 7 for n in range(500)]
    for n in range(10 * EVERY):
        cache[n] = [shared]
    del shared
    cache.shrink(cache.nbytes // 4)
    assert cache.nbytes == sum(entry.size for entry in cache._snapshot())


def test_what_a_user_says_is_believed(kind: Any) -> None:
    cache = kind(sizeof=lambda key, value: 1000)
    for n in range(5 * EVERY):
        cache[n] = n
    assert cache.shrink(20_000) == 20_000
    assert cache.stats().correction == 1.0


def test_only_reclaim_measures_again(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Correction, "drop", lambda *args: pytest.fail("measured again"))
    cache = kind(maxsize=EVERY)
    for n in range(5 * EVERY):
        cache[n] = [n]
        cache.get(n)
    cache.clear()


def test_measures_one_in_so_many_after_the_ones_before_are_gone() -> None:
    gone: list[int] = []

    class Entry:
        def __init__(self, n: int) -> None:
            self.n, self.size = n, 100

        def __del__(self) -> None:
            gone.append(self.n)

    looked: dict[int, int] = {}

    def weigh(entry: Any) -> int:
        looked[entry.n] = len(gone)
        return 50

    correction = Correction()
    victims: list[Any] = [Entry(n) for n in range(4 * EVERY)]
    correction.drop(victims, weigh)
    assert not victims
    assert gone == [*range(4 * EVERY)]
    assert looked == {n: n for n in range(0, 4 * EVERY, EVERY)}
    assert 0.5 < correction.factor < 1


def run(call: str) -> Any:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import json; from benchmarks.sizing_runs import *; print(json.dumps({call}))",
        ],
        cwd=ROOT,
        env={**os.environ, **sizing_truth.ENVIRONMENT},
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    return json.loads(done.stdout)


@needs_glibc
def test_shared_structure_is_learnt_of() -> None:
    """Fields come from a pool that the program keeps: the first dicts to refer to a part are charged."""
    found = run("shared_structure()")
    assert found["freed / counted"] < 0.85
    assert 0.8 < found["freed / believed"] < 1.25


@needs_glibc
def test_a_hard_call_for_100_mib_frees_100_mib() -> None:
    found = run("hundred_mib()")
    assert found["said"] == pytest.approx(100 << 20, rel=0.02)
    assert found["freed"] == pytest.approx(found["said"], rel=0.05)
