"""The demo runs, in a process of its own, and what it prints can be relied on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ebbcache.demo
from ebbcache.demo import run
from ebbcache.memory import Reading

MIB = 1024 * 1024

# Stands for a machine without the demo extra.
WITHOUT = """
import sys
sys.modules["rich"] = sys.modules["matplotlib"] = None
from ebbcache.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def demo(*options: str, cwd: Path, extra: bool = True) -> subprocess.CompletedProcess[str]:
    program = ["-m", "ebbcache"] if extra else ["-c", WITHOUT]
    return subprocess.run(
        [sys.executable, *program, "demo", "--seconds", "2", *options],
        capture_output=True,
        text=True,
        timeout=90,
        cwd=cwd,
    )


def check(found: dict[str, Any]) -> None:
    timeline = found["timeline"]
    assert len(timeline) >= 3
    assert [point["t"] for point in timeline] == sorted(point["t"] for point in timeline)
    assert all(point["limit"] == found["limit"] for point in timeline)
    assert 0 < timeline[-1]["requests"] <= found["requests"]
    assert max(point["cached"] for point in timeline) == found["cached_max"]
    assert found["peak_usage"] >= max(point["usage"] for point in timeline)
    assert found["passed_limit"] == (found["peak_usage"] > found["limit"])
    assert found["neighbour_peak"] > 0
    for name in ("ebbcache", "fixed_lru", "fixed_same_policy"):
        outcome = found[name]
        assert 0 < outcome["hits"] <= found["requests"]
        assert outcome["saved_seconds"] > 0.0
        assert outcome["hit_ratio"] == pytest.approx(outcome["hits"] / found["requests"], abs=1e-4)


def test_json_is_one_object_and_needs_no_extra(tmp_path: Path) -> None:
    done = demo("--json", cwd=tmp_path, extra=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    check(found)
    assert found["picture"] is None
    assert list(tmp_path.iterdir()) == []


def test_json_with_a_picture_draws_it(tmp_path: Path) -> None:
    done = demo("--json", "--picture", "run.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["picture"] == "run.png"
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_plain_output_ends_with_summary_and_picture(tmp_path: Path) -> None:
    done = demo("--no-live", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ebbcache, no size set" in done.stdout
    assert "shadows" in done.stdout
    assert done.stdout.rstrip().endswith("Picture: ebbcache-demo.png")
    assert (tmp_path / "ebbcache-demo.png").exists()


def test_without_the_extra_a_line_says_what_to_install(tmp_path: Path) -> None:
    done = demo(cwd=tmp_path, extra=False)
    assert done.returncode == 0, done.stderr
    assert "pip install 'ebbcache[demo]'" in done.stdout
    assert "no picture" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_no_room_is_said_before_anything_starts() -> None:
    with pytest.raises(ValueError, match="no room for a demo"):
        run(seconds=1.0, seed=1, live=False, say=print, limit=16 * MIB)


def test_where_less_is_left_the_limit_is_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ebbcache.demo, "rss", lambda: 30 * MIB)
    monkeypatch.setattr(ebbcache.demo, "status", lambda: found(20 * MIB))
    with pytest.raises(ValueError, match=r"uses 30\.0 MiB of a limit of 46\.0 MiB"):
        run(seconds=1.0, seed=1, live=False, say=print)


def found(headroom: int) -> SimpleNamespace:
    reading = Reading(limit=headroom + MIB, usage=MIB, headroom=headroom, source="cgroup")
    return SimpleNamespace(memory=SimpleNamespace(reading=reading))


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_on_a_terminal_the_panel_is_live(tmp_path: Path) -> None:
    main_end, child_end = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ebbcache", "demo", "--seconds", "2"],
        stdout=child_end,
        stderr=subprocess.STDOUT,
        cwd=tmp_path,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(child_end)
    shown = b""
    try:
        while piece := os.read(main_end, 65536):
            shown += piece
    except OSError:
        pass  # how Linux says that nobody has the other end open any more
    finally:
        os.close(main_end)
    assert process.wait(timeout=60) == 0
    assert "a cache that sizes itself" in shown.decode(errors="replace")
    assert b"Picture: ebbcache-demo.png" in shown
