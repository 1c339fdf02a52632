"""This process's resident memory and the most it ever was, for the demo's own bookkeeping.

The governor has its own readings; the demo checks its promise against the kernel's high-water mark, which
no burst between two samples escapes. Source: Linux' proc_pid_status(5), VmHWM, and proc_pid_clear_refs(5);
elsewhere psutil and what the samples saw. Bound: the kernel counts in batches of some 64 pages a thread.
"""

from __future__ import annotations

from pathlib import Path

import psutil

_PROCESS = psutil.Process()


def rss() -> int:
    """Return the resident bytes of this process."""
    return int(_PROCESS.memory_info().rss)


def reset_peak_rss() -> None:
    """Let the high-water mark start anew, where the kernel lets a process do so."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def peak_rss() -> int:
    """Return the most resident bytes since the reset, or else since the start; 0 if unknown."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)
