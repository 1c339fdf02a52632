"""Fixtures: what the allocators get back for values, and a registry that forgets what a test did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

from benchmarks.sizing import measure
from ebbcache import sizing


@pytest.fixture(scope="session")
def measured() -> Callable[[str], dict[str, Any]]:
    """Measure a family of kinds, once: the truth, and what `sizeof` says, by name."""

    @cache
    def rows(family: str) -> dict[str, Any]:
        return dict(measure(family, copies=20, ours=True))

    return rows


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Undo what a test registers or chooses."""
    before = sizing._table, sizing._yardstick
    sizing._measure_by(sizing.Table({}), None)
    yield
    sizing._measure_by(*before)
