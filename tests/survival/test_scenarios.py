"""Short runs of the proving ground's scenarios: nobody dies of a cache, no call fails, the control dies.

`python -m benchmarks.survival` plays all of them, longer. Nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.survival import place
from benchmarks.survival.judge import Verdict, judge
from benchmarks.survival.play import play, read
from benchmarks.survival.scenarios import VARIANTS

pytestmark = pytest.mark.cgroup

BY_ID = {variant.id: variant for variant in VARIANTS}
MIB = 1 << 20


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str, str], Verdict]:
    """Play a variant shortly in 128 MiB; skip where no limited memory cgroup can be made."""
    if not place.version():
        pytest.skip("no memory cgroup controller here")
    try:
        place.Group(128 * MIB).remove()
    except OSError as error:
        pytest.skip(f"cannot make a memory-limited cgroup here: {error}")
    if not os.access("/proc/self/cgroup", os.R_OK):
        pytest.skip("no /proc/self/cgroup to find the cgroup by")

    def play_it(name: str, front: str) -> Verdict:
        whole = BY_ID[name]
        short = replace(whole, requests=40_000, seconds=3.0, limit=128 * MIB)
        path = tmp_path / "line.jsonl"
        play(short.spec(front, 1), path)
        return judge(read(path))

    return play_it


@pytest.mark.parametrize("name", ["1-bytes", "4-files", "5-moved", "7-raises", "7-lies"])
def test_it_survives_and_every_call_is_answered(run: Callable[[str, str], Verdict], name: str) -> None:
    verdict = run(name, "ebbcache")
    assert verdict.survived, verdict
    assert verdict.good, verdict
    assert verdict.hit_ratio
    assert verdict.cached_at_end


def test_the_same_program_on_a_dict_is_killed(run: Callable[[str, str], Verdict]) -> None:
    verdict = run("1-bytes", "unbounded")
    assert verdict.kills == 1, verdict
    assert verdict.blamed
