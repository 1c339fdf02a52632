"""The main job, for real: a program in 256 MiB caches without a size and lives; on functools.cache it dies.

The program is examples/container.py. It takes and frees 60 MiB of its own every few seconds, all of which
nobody tells the cache.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
MIB = 1024 * 1024
ENVIRONMENT = {"PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}

pytestmark = [
    pytest.mark.cgroup,
    pytest.mark.parametrize("place", ["v1", "v2", "guest"], indirect=True),
]


# A page takes a hundred times longer to touch in a guest, so filling 256 MiB takes that much longer.
PACE = {
    "machine": ("--seconds", "20"),
    "guest": ("--seconds", "45", "--every", "11", "--hold", "2"),
}


def command(place, *options: str) -> list[str]:
    return [sys.executable, str(ROOT / "examples" / "container.py"), *PACE[place.pace], *options]


def result(output: str) -> dict[str, Any]:
    lines = [line for line in output.splitlines() if line.startswith("{")]
    assert len(lines) == 1, output
    return json.loads(lines[0])


def test_it_survives_and_keeps_caching(place) -> None:
    ran = place.run(command(place), ENVIRONMENT)
    assert ran.code == 0, (ran.code, ran.kills, ran.output[-2000:], ran.errors[-2000:])
    assert ran.kills == 0
    found = result(ran.output)
    assert found["failed"] == 0, found["errors"]
    assert found["hits"] > 0
    # The first burst may come before a slow machine has filled the cache, the last may not be over; where
    # processors are short, one takes ten seconds.
    bursts = [burst for burst in found["bursts"][1:] if "after" in burst]
    assert bursts, found["bursts"]
    for burst in bursts:
        assert burst["before"] >= 100 * MIB, bursts
        assert burst["after"] >= 100 * MIB, bursts
        # What the burst took comes back, if perhaps not to the last byte.
        assert burst["after"] >= min(burst["during"], 0.8 * burst["before"]), bursts


def test_the_same_program_on_functools_cache_is_killed(place) -> None:
    ran = place.run(command(place, "--cache", "functools"), ENVIRONMENT)
    assert ran.killed, (ran.code, ran.output[-2000:], ran.errors[-2000:])
    assert ran.kills >= 1
