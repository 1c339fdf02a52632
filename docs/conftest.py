"""Every page is a fresh process to its reader, so its examples meet no shrinker that another test left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ebbcache import shrinkers


@pytest.fixture(autouse=True)
def nothing_registered() -> Iterator[None]:
    """Hide the shrinkers that are registered now for as long as a page runs, and forget the page's own."""
    registry = shrinkers._registry
    before = registry.copy()
    registry.clear()
    yield
    registry.clear()
    registry.update(
        {serial: shrinker for serial, shrinker in before.items() if shrinker._func() is not None}
    )
