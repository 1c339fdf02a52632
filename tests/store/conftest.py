"""All stores under one roof: a test that takes `make` runs for every policy and implementation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ebbcache.store import IMPLEMENTATION, DensityStore, LFUStore, LRUStore, Store

STORES: dict[str, type[Store[Any, Any]]] = {"LRU": LRUStore, "LFU": LFUStore, "Density": DensityStore}


@pytest.fixture(params=[pytest.param(cls, id=f"{IMPLEMENTATION}-{name}") for name, cls in STORES.items()])
def make(request: pytest.FixtureRequest) -> Callable[..., Store[Any, Any]]:
    return request.param  # type: ignore[no-any-return]


class Key:
    """A key that counts what is asked of it; keys of equal `name` are equal."""

    hashes = 0
    comparisons = 0

    def __init__(self, name: object, h: int | None = None) -> None:
        self.name = name
        self.h = hash(name) if h is None else h

    def __hash__(self) -> int:
        Key.hashes += 1
        return self.h

    def __eq__(self, other: object) -> bool:
        Key.comparisons += 1
        return isinstance(other, Key) and self.name == other.name


@pytest.fixture
def key() -> type[Key]:
    Key.hashes = Key.comparisons = 0
    return Key
