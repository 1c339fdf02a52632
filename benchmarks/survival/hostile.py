"""Shrinkers as users write them: they raise, lie, hang, insert into caches, register more of their kind."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import ebbcache
from benchmarks.survival import MIB

if TYPE_CHECKING:
    from benchmarks.survival.program import Program

_keep: list[object] = []


def register(names: list[str], program: Program) -> None:
    """Register one shrinker of each of `names`."""
    numbers = itertools.count(10**9)

    def raises(target: int, hard: bool) -> int:
        raise RuntimeError("this shrinker always fails")

    def lies(target: int, hard: bool) -> int:
        return target

    def hangs(target: int, hard: bool) -> int:
        threading.Event().wait(5.0)
        return 0

    def inserts(target: int, hard: bool) -> int:
        for _ in range(4):
            program.front.set(next(numbers), b"x" * (MIB // 4))
        return 0

    def registers(target: int, hard: bool) -> int:
        if len(_keep) < 200:
            _keep.append(ebbcache.register_shrinker(f"another {len(_keep)}", lambda target, hard: 0))
        return 0

    kinds: list[Callable[[int, bool], int]] = [raises, lies, hangs, inserts, registers]
    for kind in kinds:
        if kind.__name__ in names:
            size = (lambda: 64 * MIB) if kind in (lies, hangs) else None
            _keep.append(ebbcache.register_shrinker(kind.__name__, kind, size=size))
