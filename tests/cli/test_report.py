"""`ebbcache status` names what binds, what wakes, and what could not be read and why."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from ebbcache.__main__ import main
from ebbcache.governor.account import Marks
from ebbcache.memory import Survey
from ebbcache.memory.reading import Reading, SourceState, WakeupState
from ebbcache.report import lines
from ebbcache.shrinkers import Record
from ebbcache.status import GovernorStatus, ShrinkerStatus, Status

MIB = 1024 * 1024


@pytest.fixture
def found() -> Status:
    return Status(
        memory=Survey(
            Reading(256 * MIB, 156 * MIB, 100 * MIB, "cgroup v2 /app"),
            (
                SourceState("cgroup v2 /app", "/cg/app", 256 * MIB, 156 * MIB, 100 * MIB, binding=True),
                SourceState("cgroup v2 /", "/cg"),
                SourceState("memory.high /app", "/cg/app", 300 * MIB, 156 * MIB, 144 * MIB, soft=True),
                SourceState("cgroup v1", "/cg/memory", error="Permission denied"),
            ),
            (
                WakeupState("psi", "/cg/app/memory.pressure", True, "some 200000 2000000"),
                WakeupState("systemd", "/run/none", False, None, "No such file or directory"),
            ),
        ),
        governor=GovernorStatus(
            state="soft",
            running=True,
            interval=0.25,
            marks=Marks(8 * MIB, 16 * MIB, 24 * MIB),
            reserve=32 * MIB,
            cap=120 * MIB,
            cached=90 * MIB,
            others=60 * MIB,
            peak=70 * MIB,
            burst=20 * MIB,
            expected=75 * MIB,
            unknown=30 * MIB,
            return_rate=0.5,
            retained=6 * MIB,
            in_flight=0,
            neighbours=2,
            allowance=MIB,
            looks=1234,
            passes={"soft": 5, "hard": 2, "growth": 40},
            freed=77 * MIB,
            woken_by={"psi": 3},
        ),
        shrinkers=(
            ShrinkerStatus("pages", 90 * MIB, Record(7, 80 * MIB, 77 * MIB, 0, 0.001, None)),
            ShrinkerStatus("broken", None, Record(2, MIB, 0, 2, 0.0, "ValueError: no")),
        ),
        store="pure",
        why_pure="no native store: not built",
    )


def line_with(found: Status, *words: str) -> str:
    matches = [line for line in lines(found) if all(word in line for word in words)]
    assert len(matches) == 1, (words, matches)
    return matches[0]


def test_the_first_line_says_how_close_what_is(found: Status) -> None:
    first = next(lines(found))
    assert first == "156.0 MiB used of 256.0 MiB, 100.0 MiB left; the ceiling is cgroup v2 /app."


def test_the_source_that_binds_is_marked_and_no_other(found: Status) -> None:
    assert line_with(found, "  * ").split()[1:4] == ["cgroup", "v2", "/app"]


def test_a_source_without_limit_says_none(found: Status) -> None:
    assert "none" in line_with(found, "cgroup v2 /  ")


def test_a_soft_ceiling_is_called_so(found: Status) -> None:
    assert line_with(found, "memory.high").endswith("(soft)")


def test_what_was_not_read_tells_why(found: Status) -> None:
    line = line_with(found, "Permission denied")
    assert line.lstrip().startswith("! ")
    assert "not read" in line


def test_wakeups_are_armed_or_say_why_not(found: Status) -> None:
    assert line_with(found, "memory.pressure").lstrip().startswith("+ ")
    assert "not armed: No such file" in line_with(found, "systemd")


def test_the_governor_gives_its_marks_and_figures(found: Status) -> None:
    assert "soft under 16.0 MiB left, hard under 8.0 MiB, until 24.0 MiB" in line_with(found, "watermarks")
    assert "90.0 MiB held, at most 120.0 MiB, 1.0 MiB more before" in line_with(found, "caches  ")
    assert "grow to 75.0 MiB again, and for a first burst of 30.0 MiB" in line_with(found, "room  ")
    assert "5 soft, 2 hard, 40 growth; 77.0 MiB" in line_with(found, "reclaims")
    assert "3 by psi" in line_with(found, "woken")
    assert "32.0 MiB" in line_with(found, "reserve")


def test_shrinkers_show_what_they_hold_and_whether_they_failed(found: Status) -> None:
    assert "90.0 MiB" in line_with(found, "pages")
    assert line_with(found, "broken").lstrip().startswith("! ")


def test_the_store_in_use_is_named_with_the_reason(found: Status) -> None:
    assert "pure store: no native store: not built" in line_with(found, "Shrinkers")
    native = dataclasses.replace(found, store="native", why_pure=None)
    assert line_with(native, "Shrinkers") == "Shrinkers (native store)"


def test_neighbours_are_counted_where_there_are_any(found: Status) -> None:
    assert "2 more processes" in line_with(found, "neighbours")
    alone = dataclasses.replace(found, governor=dataclasses.replace(found.governor, neighbours=0))
    assert not any("neighbours" in line for line in lines(alone))


def test_nothing_found_is_said_plainly(found: Status) -> None:
    bare = dataclasses.replace(found, memory=Survey(None, (), ()), shrinkers=())
    report = list(lines(bare))
    assert "Nothing was found that limits" in report[0]
    assert report.count("  none") == 2
    assert report[-1].strip().startswith("none")


def test_json_holds_the_same_and_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"]) == 0
    parsed = json.loads(capsys.readouterr().out)
    assert set(parsed) == {"memory", "governor", "shrinkers", "store", "why_pure"}
    assert parsed["memory"]["sources"]


def test_the_command_runs_here() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ebbcache", "status"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "Sources" in done.stdout
    assert not done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_reads_is_no_failure(unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)  # as with `ebbcache status | true`, only that the reader is surely gone
    try:
        done = subprocess.run(
            [sys.executable, "-m", "ebbcache", "status"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [[], ["unknown"], *(["demo", "--seconds", seconds] for seconds in ("0", "-1", "long", "nan", "inf"))],
)
def test_bad_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
