"""A registry of one's own for every test: caches of other tests must not take part."""

from __future__ import annotations

import pytest

from ebbcache import shrinkers


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    registry = {}
    monkeypatch.setattr(shrinkers, "_registry", registry)
    monkeypatch.setattr(shrinkers, "_hooks", [])
    return registry
