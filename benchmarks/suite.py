"""Runs sections part by part, each part in a process of its own, and saves what comes out of it at once.

A part's process is `python -m benchmarks.suite MODULE PART OPTIONS FILE`, with the environment that chooses
the store; it writes its answer as JSON into the file. It is ended with everything it started when its time
is up.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

from benchmarks.section import Options, Part

SECTIONS = {
    "latency": "benchmarks.latency",
    "memory": "benchmarks.memory",
    "sizing": "benchmarks.sizing_section",
    "traces": "benchmarks.traces.hits",
    "arbitration": "benchmarks.traces.arbitration",
    "self-sizing": "benchmarks.traces.selfsizing",
    "pauses": "benchmarks.pauses",
    "survival": "benchmarks.survival.section",
}


def sections(names: Iterable[str] = ()) -> Iterator[tuple[str, ModuleType]]:
    """Yield the sections of these names, or all; a section of which there is no module is left out."""
    wanted = set(names)
    if unknown := wanted - set(SECTIONS):
        raise ValueError(f"there is no section {sorted(unknown)[0]!r}; there are {', '.join(SECTIONS)}")
    for name, path in SECTIONS.items():
        if (not wanted or name in wanted) and exists(path):
            yield name, importlib.import_module(path)


def exists(path: str) -> bool:
    try:
        return importlib.util.find_spec(path) is not None
    except ModuleNotFoundError:  # of the package it would be in
        return False


def environment(part: Part) -> dict[str, str]:
    """Return the environment of the part's process: it alone says which store is used."""
    found = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if part.store is not None:
        found.pop("EBBCACHE_NATIVE", None)
        found.pop("EBBCACHE_PURE", None)
        found[f"EBBCACHE_{part.store.upper()}"] = "1"
    root = str(Path(__file__).parents[1])
    return found | {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


def carry_out(module: str, name: str, part: Part, options: Options) -> tuple[float, dict[str, Any]]:
    """Run a part of this module in its process; return the seconds, and its result or what went wrong."""
    began = perf_counter()
    with tempfile.TemporaryDirectory(prefix="ebbcache-bench-") as folder:
        answer, errors = Path(folder, "answer.json"), Path(folder, "errors")
        told = {"quick": options.quick, "traces": str(options.traces) if options.traces else None}
        command = [sys.executable, "-m", "benchmarks.suite", module, name, json.dumps(told), str(answer)]
        with errors.open("wb") as sink:
            process = subprocess.Popen(
                command,
                env=environment(part),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
            try:
                code = process.wait(part.timeout)
            except subprocess.TimeoutExpired:
                return perf_counter() - began, {"error": f"took more than {part.timeout:.0f} s"}
            finally:  # also what the part itself started, also on an interrupt
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        seconds = perf_counter() - began
        if code == 0 and answer.exists():
            return seconds, {"result": json.loads(answer.read_text(encoding="utf-8"))}
        said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return seconds, {"error": f"exit {code}: {said[-1] if said else 'nothing said'}"}


def serve(module: str, name: str, told: str, answer: str) -> None:
    """Be the process of one part."""
    given = json.loads(told)
    options = Options(given["quick"], Path(given["traces"]) if given["traces"] else None)
    result = importlib.import_module(module).parts(options)[name].run()
    Path(answer).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    serve(*sys.argv[1:])
