"""What a section of the benchmark suite is: parts that are run, and what is said about their results.

A section is a module (see SECTIONS in `suite.py`) with

    TITLE: str                                          its heading in the report
    def parts(options: Options) -> dict[str, Part]      what there is to run, by name, in order
    def report(results: Results) -> str                 Markdown, headings from ### downwards
    def plots(results: Results, folder: Path) -> None   pictures that the Markdown shows, `<section>-*.svg`
    def verdicts(results: Results) -> list[Verdict]     every comparison with peers and targets

Each part runs in a process of its own, so that memory is given back, a governor starts afresh, and a part
that crashes or hangs costs only itself. Its answer is saved at once, so that an interrupted run goes on
where it was. The functions that look at results get whatever parts there are: some may be missing, as
after `--quick`, a failure or without traces. Importing a section needs nothing but the standard library and
ebbcache; peers, numpy and matplotlib are imported where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Results = Mapping[str, Any]
"""By the name of the part: what its `run` answered, as JSON brings it back (lists, keys as str)."""


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    quick: bool = False
    """Whether to be done soon (the whole suite within 3 minutes), at the price of precision and rows."""
    traces: Path | None = None
    """The folder of traces, if one was given."""


@dataclass(frozen=True)
class Part:
    """Something to run in a process of its own, measured and saved as one."""

    run: Callable[[], Any]
    """Does the work and answers something that JSON can hold."""
    store: Literal["native", "pure"] | None = None
    """The store that the process shall use; None: the one that a user gets."""
    timeout: float = 900.0
    """Seconds after which the process is ended and the part counts as failed."""


@dataclass(frozen=True)
class Verdict:
    """One comparison: what ebbcache reached beside what a peer reached, or what was to be reached.

    Where ebbcache loses is computed from these, so a section hands in all of them, won and lost.
    """

    what: str
    """What was compared, with the store or the size: "get, equal keys, 1,000 entries (native)"."""
    ours: float
    against: str
    """The name of the peer, or "target"."""
    theirs: float
    unit: str = ""
    """What the two numbers are: "ns", "bytes an entry", "of dict's time", "miss ratio"."""
    better: Literal["lower", "higher"] = "lower"
    pure: bool = False
    """Whether this is the Python store, which stands in where the native one cannot be built."""

    @property
    def won(self) -> bool:
        return self.ours <= self.theirs if self.better == "lower" else self.ours >= self.theirs

    @property
    def behind(self) -> float:
        """By what factor ebbcache is worse: 1.2 is a fifth worse, below 1 is better; inf beside nothing."""
        worse, good = (self.ours, self.theirs) if self.better == "lower" else (self.theirs, self.ours)
        if worse == good:
            return 1.0
        return worse / good if good > 0 else float("inf")
