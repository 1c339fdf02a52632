"""Results as they are kept: one JSON file, replaced whole after each part, so that little is ever lost.

Each result remembers when it was made, of which commit, and how long that took; the file remembers the
machine and the versions. Results of `--quick` and of a whole run are never mixed.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ebbcache
from benchmarks.peers import versions

STATED = (
    "cachebox",
    "cachetools",
    "dask",
    "libcachesim",
    "lru-dict",
    "matplotlib",
    "methodtools",
    "moka-py",
    "numpy",
    "objsize",
    "pympler",
    "theine",
)


@dataclass
class Saved:
    """The results of one run of the suite, whole or interrupted."""

    file: Path
    quick: bool
    about: dict[str, Any] = field(default_factory=dict)
    sections: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def load(cls, file: Path, *, quick: bool) -> Saved:
        """Read what is there, unless it comes from the other kind of run."""
        if file.exists():
            data = json.loads(file.read_text(encoding="utf-8"))
            if data["about"]["quick"] == quick:
                return cls(file, quick, data["about"], data["sections"])
        return cls(file, quick)

    def done(self, section: str, part: str) -> bool:
        return "result" in self.sections.get(section, {}).get(part, {})

    def results(self, section: str) -> dict[str, Any]:
        """Return the section's results by part, those that failed left out."""
        found = self.sections.get(section, {})
        return {part: kept["result"] for part, kept in found.items() if "result" in kept}

    def failures(self) -> list[tuple[str, str, str]]:
        """Return section, part and error of everything that failed."""
        return [
            (section, part, kept["error"])
            for section, found in self.sections.items()
            for part, kept in found.items()
            if "error" in kept
        ]

    def keep(self, section: str, part: str, seconds: float, outcome: dict[str, Any]) -> None:
        """Save one part's outcome: ``{"result": ...}`` or ``{"error": text}``."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        told = {"at": now, "commit": commit(), "seconds": round(seconds, 1), "load": load()}
        self.sections.setdefault(section, {})[part] = told | outcome
        before = self.about.get("versions", {})  # a section may have been measured where more is installed
        self.about = about(self.quick)
        self.about["versions"] = before | self.about["versions"]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.file.with_suffix(".draft")
        draft.write_text(compact({"about": self.about, "sections": self.sections}), encoding="utf-8")
        draft.replace(self.file)


def compact(data: dict[str, Any]) -> str:
    """Return JSON with a line for each part, which diffs well and stays small."""
    lines = [f'{{"about": {json.dumps(data["about"])},', ' "sections": {']
    for number, (section, found) in enumerate(data["sections"].items()):
        lines.append(f"  {json.dumps(section)}: {{")
        lines += [
            f"   {json.dumps(part)}: {json.dumps(kept, separators=(',', ':'))}"
            + ("," if place < len(found) - 1 else "")
            for place, (part, kept) in enumerate(found.items())
        ]
        lines.append("  }" + ("," if number < len(data["sections"]) - 1 else ""))
    lines.append(" }}")
    return "\n".join(lines) + "\n"


def about(quick: bool) -> dict[str, Any]:
    """Describe the machine and what is installed."""
    return {
        "quick": quick,
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "ebbcache": ebbcache.__version__,
        "versions": versions(STATED),
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def load() -> float:
    """Return how many processes wanted a core, on average over the last minute."""
    return round(os.getloadavg()[0], 1)


def commit() -> str:
    """Return the commit of this checkout, with a plus where files differ from it, or nothing."""
    here = Path(__file__).parent
    try:
        asked = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
