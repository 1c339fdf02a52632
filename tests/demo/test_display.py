"""Live view, plain lines and picture show a run, with and without the libraries that draw them."""

from __future__ import annotations

import builtins
import io
import sys
from pathlib import Path

import pytest

from ebbcache.demo import MISSING_MATPLOTLIB, live, save_picture
from ebbcache.demo.record import Recorder

MIB = 1024 * 1024


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch):
    """Make a library look as if it were not installed."""
    real = builtins.__import__

    def hide(hidden: str) -> None:
        def importing(name, *args, **kwargs):
            if name.partition(".")[0] == hidden:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", importing)

    return hide


def test_plain_lines_come_every_other_second(recorder: Recorder) -> None:
    lines: list[str] = []
    with live.view(False, 30.0, 80 * MIB, lines.append) as show:
        for sample in recorder.samples:
            show(sample)
    assert 13 <= len(lines) <= 15
    assert "limit 300.0 MiB" in lines[0]
    assert "soft" in lines[-1]


def test_no_terminal_gives_plain_lines(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    lines: list[str] = []
    with live.view(True, 30.0, 80 * MIB, lines.append) as show:
        show(recorder.samples[0])
    assert len(lines) == 1


def test_a_terminal_gives_the_panel(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")  # whatever this runs on
    lines: list[str] = []
    with live.view(True, 30.0, 80 * MIB, lines.append) as show:
        for sample in recorder.samples[::10]:
            show(sample)
    drawn = terminal.getvalue()
    assert not lines
    for word in ("cached", "neighbour", "requests", "reclaims", "fixed LRU", "limit"):
        assert word in drawn


def test_without_rich_a_line_says_so_and_plain_lines_follow(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, without
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    without("rich")
    lines: list[str] = []
    with live.view(True, 30.0, 80 * MIB, lines.append) as show:
        show(recorder.samples[0])
    assert lines[0] == live.MISSING_RICH
    assert len(lines) == 2


def test_the_picture_is_a_picture(recorder: Recorder, tmp_path: Path) -> None:
    path = tmp_path / "run.png"
    assert save_picture(recorder, 80 * MIB, path, 30.0) is None
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_picture_that_cannot_be_written_gives_a_line(recorder: Recorder, tmp_path: Path) -> None:
    trouble = save_picture(recorder, 80 * MIB, tmp_path / "nowhere" / "run.png", 30.0)
    assert trouble is not None
    assert trouble.startswith("no picture: ")


def test_an_unknown_kind_of_picture_gives_a_line(recorder: Recorder, tmp_path: Path) -> None:
    trouble = save_picture(recorder, 80 * MIB, tmp_path / "run.doc", 30.0)
    assert trouble is not None
    assert trouble.startswith("no picture: ")


def test_without_matplotlib_a_line_says_so(recorder: Recorder, tmp_path: Path, without) -> None:
    without("matplotlib")
    assert save_picture(recorder, 80 * MIB, tmp_path / "run.png", 30.0) == MISSING_MATPLOTLIB
    assert not (tmp_path / "run.png").exists()
