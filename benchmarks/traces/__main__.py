"""Run the sections about traces alone: `python -m benchmarks.traces`.

    python -m benchmarks.traces --traces DIR                 everything, the better part of an hour
    python -m benchmarks.traces --quick                      the project's own trace, its beginning
    python -m benchmarks.traces --only 'traces/tw52 1 %'     parts whose section/name begins so
    python -m benchmarks.traces --json FILE                  keep answers; what is there is not run again

With EBBCACHE_NATIVE=1 in the environment it is the native store that is measured.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.section import Options
from ebbcache.store import IMPLEMENTATION

SECTIONS = {"traces": "hits", "arbitration": "arbitration", "self-sizing": "selfsizing"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Replay real traces through caches.")
    parser.add_argument("--traces", type=Path, metavar="DIR", help="a folder of more traces")
    parser.add_argument(
        "--quick", action="store_true", help="only the beginning of the project's own trace"
    )
    parser.add_argument("--only", default="", metavar="NAME", help="parts whose section/name begins so")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the answers here")
    given = parser.parse_args()
    options = Options(quick=given.quick, traces=given.traces)
    found: dict[str, dict[str, Any]] = {}
    if given.json is not None and given.json.exists():
        found = json.loads(given.json.read_text())
    for section, name in SECTIONS.items():
        module = importlib.import_module(f"benchmarks.traces.{name}")
        results = found.setdefault(section, {})
        for part, what in module.parts(options).items():
            if part in results or not f"{section}/{part}".startswith(given.only):
                continue
            start = time.perf_counter()
            results[part] = json.loads(json.dumps(what.run()))
            print(f"{section}/{part}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
            if given.json is not None:
                given.json.write_text(json.dumps(found))
        if results:
            print(f"## {module.TITLE} ({IMPLEMENTATION} store)\n\n{module.report(results)}")
            for verdict in module.verdicts(results):
                if not verdict.won:
                    theirs = f"{verdict.against}: {verdict.theirs:.4f}"
                    print(f"behind: {verdict.what}: {verdict.ours:.4f}, {theirs}")


if __name__ == "__main__":
    main()
