"""A make-believe machine, and a cache of pages on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playing import LIMIT, MIB, entry_bytes

import ebbcache
from ebbcache import testing
from ebbcache.testing import Machine


@pytest.fixture
def played() -> Iterator[Machine]:
    with testing.machine(LIMIT, 40 * MIB) as machine:
        yield machine


@pytest.fixture
def cache(played: Machine) -> ebbcache.LRUCache[int, None]:
    return ebbcache.LRUCache(sizeof=entry_bytes)
