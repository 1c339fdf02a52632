"""Play one run: a program in a limited group, a sampler outside it, and a hand that moves limits.

The time line is a file of JSON lines: "s" the sampler's (usage, file pages, limit, kills, stalls, every 20
ms, read by this process), "r" the program's own reports, "move" what the hand did, the rest as program.py
tells it; the last line is how the process ended. Bound: a run without progress for a minute is ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.survival import place

ROOT = Path(__file__).parents[2]
SAMPLE_EVERY = 0.02
PATIENCE = 60.0  # s without another request: then a run counts as hung


class Line:
    """The time line of one run, written as it happens; several threads add to it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()

    def add(self, record: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(record) + "\n")

    def note(self, kind: str, **fields: Any) -> None:
        self.add({"k": kind, "t": round(time.monotonic(), 4)} | fields)

    def close(self) -> None:
        self._file.close()


def read(path: Path) -> list[dict[str, Any]]:
    """Return the records of a time line, in the order of their times."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return sorted(records, key=lambda record: float(record["t"]))


def play(spec: dict[str, Any], path: Path) -> None:
    """Run the program that `spec` describes and leave its time line at `path`."""
    line = Line(path)
    line.note("spec", spec=spec)
    try:
        with _groups(spec) as groups, _file(spec, path) as file:
            _run(dict(spec, file=file), groups, line)
    finally:
        line.close()


@contextlib.contextmanager
def _groups(spec: dict[str, Any]) -> Iterator[list[place.Group]]:
    """The groups of a run: the first is where the program starts, the last where it may be moved to."""
    with contextlib.ExitStack() as stack:
        if spec.get("ancestor"):
            above = stack.enter_context(place.group(spec["limit"]))
            yield [stack.enter_context(place.group(None, above))]
        elif any("enter" in move for move in spec.get("moves", [])):
            yield [stack.enter_context(place.group(spec["limit"])) for _ in range(2)]
        else:
            yield [stack.enter_context(place.group(spec["limit"]))]


@contextlib.contextmanager
def _file(spec: dict[str, Any], path: Path) -> Iterator[str]:
    """A file of twice the limit for loads that read one: all holes, which fill page cache like data do."""
    loads = [load for load in spec.get("loads", []) if load["kind"] == "files"]
    name = path.with_suffix(".holes")
    for load in loads:
        load["path"] = str(name)
    if loads:
        with name.open("wb") as file:
            file.truncate(2 * spec["limit"])
    try:
        yield str(name)
    finally:
        name.unlink(missing_ok=True)


def _run(spec: dict[str, Any], groups: list[place.Group], line: Line) -> None:
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "benchmarks.survival.program", json.dumps(spec)]
    process = subprocess.Popen(
        # The shell enters the group before Python starts, so that every page it ever touches counts.
        ["/bin/sh", "-c", f'echo $$ > {groups[0].path}/cgroup.procs && exec "$@"', "sh", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    over = threading.Event()
    last: dict[str, float] = {}
    began = time.monotonic()
    errors: list[str] = []
    now = [groups[0]]
    threads = [
        threading.Thread(target=_collect, args=(process.stdout, line, last)),
        threading.Thread(target=_drain, args=(process.stderr, errors)),
        threading.Thread(target=_sample, args=(now, line, over)),
        threading.Thread(target=_move, args=(spec, groups, now, process.pid, last, line, over)),
    ]
    for thread in threads:
        thread.start()
    hung = False
    while (code := process.poll()) is None:
        time.sleep(SAMPLE_EVERY)
        hung = time.monotonic() - last.get("moved", began) > PATIENCE
        if not hung:
            continue
        for pid in {pid for group in groups for pid in (group.path / "cgroup.procs").read_text().split()}:
            with contextlib.suppress(OSError):
                os.kill(int(pid), signal.SIGKILL)
        code = process.wait()
        break
    over.set()
    # Workers that outlive a killed parent hold the pipe open.
    for group in groups:
        for _ in range(100):
            left = (group.path / "cgroup.procs").read_text().split()
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
            if not left:
                break
            time.sleep(0.02)
    for thread in threads:
        thread.join()
    process.stdout.close()
    process.stderr.close()
    kills = sum(group.kills() for group in groups)
    line.note("exit", code=code, kills=kills, hung=hung, errors=errors[0][-2000:] if errors else "")


def _collect(pipe: Any, line: Line, last: dict[str, float]) -> None:
    """Copy what the program tells; `last` keeps its newest progress, and when that last moved."""
    for raw in pipe:
        try:
            record = json.loads(raw)
            line.add(record)
        except ValueError:
            line.note("garbled", text=raw.decode("utf-8", "replace")[:300])
            continue
        if "progress" in record and record["progress"] != last.get("progress"):
            last |= {"progress": record["progress"], "moved": time.monotonic()}


def _drain(pipe: Any, errors: list[str]) -> None:
    errors.append(pipe.read().decode("utf-8", "replace"))


def _sample(now: list[place.Group], line: Line, over: threading.Event) -> None:
    while not over.wait(SAMPLE_EVERY):
        try:
            line.note("s", **now[0].sample())
        except (OSError, ValueError, KeyError) as error:
            line.note("unread", error=repr(error))


def _move(
    spec: dict[str, Any],
    groups: list[place.Group],
    now: list[place.Group],
    pid: int,
    last: dict[str, float],
    line: Line,
    over: threading.Event,
) -> None:
    """Do the `moves` of `spec`, each at its progress: set `limit` (a share), or `enter` the other group."""
    for move in spec.get("moves", []):
        while last.get("progress", 0.0) < move["at"]:
            if over.wait(0.02):
                return
        if "enter" in move:
            groups[1].set_limit(int(move["enter"] * spec["limit"]))
            groups[1].enter(pid)
            now[0] = groups[1]
            line.note("move", entered=groups[1].limit)
            continue
        group = groups[0].above or groups[0]
        wanted = int(move["limit"] * spec["limit"])
        line.note("move", wanted=wanted)
        # Lowered by steps, as an operator must on v1, where a limit under the usage is refused; v2 would
        # kill instead. So: at 100 MB/s at most, and 3 % of the limit above what is used at each step.
        while group.limit is not None and group.limit != wanted and not over.is_set():
            sample = groups[0].sample()
            step = max(wanted, group.limit - (2 << 20)) if wanted < group.limit else wanted
            if step > sample["usage"] + spec["limit"] // 32:
                with contextlib.suppress(OSError):
                    group.set_limit(step)
            over.wait(0.02)
        line.note("move", limit=group.limit)
