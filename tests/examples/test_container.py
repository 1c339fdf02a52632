"""The container's program gives the right documents and says how it went (survival is tested elsewhere)."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

CONTAINER = Path(__file__).parents[2] / "examples" / "container.py"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    return runpy.run_path(str(CONTAINER))


def test_documents_are_json_from_one_kilobyte_to_one_megabyte(program: dict[str, Any]) -> None:
    texts = [program["fetch"](number) for number in range(150)]
    assert all(json.loads(text)["number"] == number for number, text in enumerate(texts))
    assert 1_000 <= min(map(len, texts)) < 10_000
    assert 300_000 < max(map(len, texts)) <= 1_000_200
    assert program["fetch"](5) == texts[5]


def test_popular_documents_are_asked_for_more_often(program: dict[str, Any]) -> None:
    numbers = list(islice(program["requests"](1), 5_000))
    assert numbers == list(islice(program["requests"](1), 5_000))
    assert numbers.count(0) > numbers.count(5) > numbers.count(500)
    assert len(set(numbers)) > 1_000


@pytest.mark.parametrize("cache", ["ebbcache", "functools"])
def test_it_serves_through_a_burst_and_reports(cache: str) -> None:
    options = ["--seconds", "2", "--every", "0.5", "--hold", "0.3", "--burst", "8", "--cache", cache]
    done = subprocess.run(
        [sys.executable, str(CONTAINER), *options], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["failed"] == 0, found["errors"]
    assert found["served"] == found["hits"] + found["misses"]
    assert found["hits"] > 0
    assert found["bursts"]
    own = {point["own"] for point in found["timeline"]}
    assert own == {0, 8 * MIB}
    assert (found["cached_max_low"] > 0) == (cache == "ebbcache")
