"""Fixtures: the values of known size, and a registry of sizers that forgets what a test did."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ebbcache import sizing

_spec = importlib.util.spec_from_file_location("sizing_accuracy", Path(__file__).with_name("accuracy.py"))
assert _spec is not None
assert _spec.loader is not None
_accuracy = importlib.util.module_from_spec(_spec)
sys.modules["sizing_accuracy"] = _accuracy
_spec.loader.exec_module(_accuracy)


@pytest.fixture(scope="session")
def accuracy() -> ModuleType:
    """The module that knows what values really take."""
    return _accuracy


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", list(_accuracy.KINDS))


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Undo what a test registers or chooses."""
    before = sizing._table, sizing._yardstick
    sizing._measure_by(sizing.Table({}), None)
    yield
    sizing._measure_by(*before)
