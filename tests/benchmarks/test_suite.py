"""The suite: parts run in processes of their own and are saved one by one; the report comes from that."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import report, suite
from benchmarks.results import Saved
from benchmarks.section import Options, Part

SECTION = """
import os, subprocess, sys, time
from benchmarks.section import Part, Verdict
from ebbcache.store import IMPLEMENTATION

TITLE = "Made up"

def parts(options):
    return {
        "pid": Part(lambda: {"pid": os.getpid(), "quick": options.quick, "store": IMPLEMENTATION}, "pure"),
        "raises": Part(lambda: 1 / 0),
        "hangs": Part(hangs, timeout=3.0),
    }

def hangs():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(os.environ["CHILD"], "w") as file:
        file.write(str(child.pid))
    child.wait()

def report(results):
    return "It was " + ", ".join(results)

def plots(results, folder):
    (folder / "madeup.svg").write_text("<svg/>")

def verdicts(results):
    return [
        Verdict("speed", 3.0, "target", 2.0, "of dict"),
        Verdict("size", 1.0, "target", 2.0, "bytes"),
        Verdict("hits", 0.5, "snail", 0.9, better="higher"),
        Verdict("hits", 0.5, "sloth", 0.5, better="higher"),
        Verdict("rust", 9.0, "crab", 1.0, pure=True),
    ]
"""


@pytest.fixture
def section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put one made-up section in the place of all."""
    (tmp_path / "madeup_section.py").write_text(SECTION, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    path = filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")])  # ebbcache may be found by it alone
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.setattr(suite, "SECTIONS", {"madeup": "madeup_section"})
    yield tmp_path
    sys.modules.pop("madeup_section", None)


def test_what_is_there_is_found_and_what_is_not_is_left_out() -> None:
    assert {"latency", "memory"} <= {name for name, _ in suite.sections()}
    assert [name for name, _ in suite.sections(["memory"])] == ["memory"]
    with pytest.raises(ValueError, match="latencies"):
        list(suite.sections(["latencies"]))
    assert not suite.exists("benchmarks.nowhere.at_all")


@pytest.mark.parametrize("quick", [True, False])
def test_every_section_keeps_the_contract_on_no_results(quick: bool, tmp_path: Path) -> None:
    for name, module in suite.sections():
        parts = module.parts(Options(quick=quick))
        assert all(isinstance(part, Part) for part in parts.values()), name
        assert isinstance(module.TITLE, str)
        assert isinstance(module.report({}), str)
        assert list(module.verdicts({})) == []


def parts_of_the_made_up() -> dict[str, Part]:
    [(_, module)] = suite.sections()
    found: dict[str, Part] = module.parts(Options())
    return found


def test_a_part_runs_in_a_process_of_its_own_with_its_store(section: Path) -> None:
    part = parts_of_the_made_up()["pid"]
    _, outcome = suite.carry_out("madeup_section", "pid", part, Options(quick=True))
    assert outcome["result"]["pid"] != os.getpid()
    assert outcome["result"]["quick"] is True
    assert outcome["result"]["store"] == "pure"


def test_a_part_that_raises_costs_itself(section: Path) -> None:
    part = parts_of_the_made_up()["raises"]
    _, outcome = suite.carry_out("madeup_section", "raises", part, Options())
    assert "ZeroDivisionError" in outcome["error"]


def test_a_part_that_hangs_is_ended_with_what_it_started(
    section: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = section / "child"
    monkeypatch.setenv("CHILD", str(child))
    part = parts_of_the_made_up()["hangs"]
    _, outcome = suite.carry_out("madeup_section", "hangs", part, Options())
    assert "3 s" in outcome["error"]
    if child.exists() and child.read_text():  # a slow machine may not have come so far
        wait_for_end(int(child.read_text()))


def wait_for_end(pid: int) -> None:
    """Wait until a process is gone, or a zombie of somebody else's."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} outlived its part")


def outcomes(folder: Path, *, quick: bool) -> Saved:
    saved = Saved.load(folder / "results.json", quick=quick)
    saved.keep("madeup", "pid", 1.0, {"result": {"pid": 1}})
    saved.keep("madeup", "raises", 2.0, {"error": "exit 1: ZeroDivisionError"})
    return saved


def test_results_outlive_the_run_and_only_what_is_missing_is_done_again(tmp_path: Path) -> None:
    outcomes(tmp_path, quick=True)
    again = Saved.load(tmp_path / "results.json", quick=True)
    assert again.done("madeup", "pid")
    assert not again.done("madeup", "raises")
    assert again.results("madeup") == {"pid": {"pid": 1}}
    assert again.failures() == [("madeup", "raises", "exit 1: ZeroDivisionError")]
    assert not Saved.load(tmp_path / "results.json", quick=False).sections, (
        "quick and whole are never mixed"
    )


def test_the_file_has_a_line_for_each_part(tmp_path: Path) -> None:
    outcomes(tmp_path, quick=False)
    text = (tmp_path / "results.json").read_text(encoding="utf-8")
    assert json.loads(text)["about"]["quick"] is False
    assert len([line for line in text.splitlines() if '"seconds"' in line]) == 2


def test_the_report_tells_targets_losses_and_failures(section: Path) -> None:
    page = report.write(outcomes(section, quick=False)).read_text(encoding="utf-8")
    assert "1 of 2 targets are met" in page
    assert "| Made up: speed | 3 of dict | ≤ 2 | 50% |" in page
    assert "| Made up: size | 1 bytes | ≤ 2 |" in page
    assert "| Made up: hits | snail | 80% |" in page
    assert "sloth" not in page
    assert page.index("Without the native store") < page.index("crab")
    assert "It was pid" in page
    assert "- madeup, raises: `exit 1: ZeroDivisionError`" in page
    assert (section / "madeup.svg").exists()


def test_a_run_goes_on_where_it_was(
    section: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rich", reason="the command shows its progress with rich")
    asked: list[str] = []

    def carried_out(module: str, name: str, part: Part, options: Options) -> tuple[float, dict[str, Any]]:
        asked.append(name)
        return 0.5, {"error": "no"} if name == "raises" else {"result": {"name": name}}

    monkeypatch.setattr(suite, "carry_out", carried_out)
    there = ["--json", str(section / "out" / "results.json")]
    assert command.main(there) == 1
    assert asked == ["pid", "raises", "hangs"]
    assert command.main(there) == 1
    assert asked[3:] == ["raises"], "what failed is tried again, what is done is not"
    assert command.main([*there, "--fresh"]) == 1
    assert asked[4:] == ["pid", "raises", "hangs"]
    assert command.main([*there, "--report"]) == 0
    assert len(asked) == 7
    capsys.readouterr()
    assert command.main([*there, "--list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "done  madeup: pid",
        "      madeup: raises",
        "done  madeup: hangs",
    ]


@pytest.mark.parametrize("wrong", [["--only", "latencies"], ["--traces", "/nowhere/at/all"]])
def test_senseless_arguments_are_named(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.arguments(wrong)
    assert wrong[1] in capsys.readouterr().err
