"""The hog hoards, ignores soft pressure, and gives way when memory is about to run out."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

HOG = Path(__file__).parents[2] / "examples" / "memory_hog.py"
MIB = 1024 * 1024
SQUEAL = re.compile(
    r"Squeal! asked for ([\d.]+) MiB, started with ([\d.]+) MiB, "
    r"finished with ([\d.]+) MiB, freed ([\d.]+) MiB"
)


@pytest.fixture(scope="module")
def hog_class() -> type:
    return runpy.run_path(str(HOG))["Hog"]


def test_soft_pressure_is_ignored(hog_class: type) -> None:
    hog = hog_class()
    hog.oink()
    assert hog.shrink(MIB, False) == 0
    assert hog.nbytes == MIB


def test_hard_pressure_frees_until_the_target_is_met(hog_class: type, capsys) -> None:
    hog = hog_class()
    for _ in range(5):
        hog.oink()
    assert hog.shrink(2 * MIB + 1, True) == 3 * MIB
    assert hog.nbytes == 2 * MIB
    said = SQUEAL.search(capsys.readouterr().out)
    assert said is not None
    assert said.groups() == ("2.0", "5.0", "2.0", "3.0")


def test_it_frees_no_more_than_it_has(hog_class: type) -> None:
    hog = hog_class()
    hog.oink()
    assert hog.shrink(100 * MIB, True) == MIB
    assert hog.shrink(100 * MIB, True) == 0


def test_it_is_squeezed_for_real_and_ends() -> None:
    done = subprocess.run(
        [sys.executable, str(HOG), "--squeezes", "2"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Oink!" in done.stdout
    squeals = SQUEAL.findall(done.stdout)
    assert len(squeals) >= 2, done.stdout
    for asked, started, finished, freed in squeals:
        assert float(freed) >= min(float(asked), float(started))
        assert float(finished) <= float(started)
