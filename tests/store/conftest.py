"""All stores under one roof: a test that takes `make` runs for every policy on every implementation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from both_stores import IMPLEMENTATIONS

from ebbcache.store import Store, guarded

POLICIES = ("LRU", "LFU", "Density")
STORES: dict[str, type[Store[Any, Any]]] = {
    f"{name}-{policy}": getattr(stores, f"{policy}Store")
    for name, stores in IMPLEMENTATIONS.items()
    for policy in POLICIES
}
STORES |= {f"guarded-{policy}": getattr(guarded, f"{policy}Store") for policy in POLICIES}


@pytest.fixture(params=STORES)
def make(request: pytest.FixtureRequest) -> Callable[..., Store[Any, Any]]:
    return STORES[request.param]


@pytest.fixture(params=[f"pure-{policy}" for policy in POLICIES])
def make_pure(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Make the stores whose inside a test looks into; tests/native looks into the others'."""
    return STORES[request.param]


@pytest.fixture(params=IMPLEMENTATIONS)
def stores(request: pytest.FixtureRequest) -> Any:
    return IMPLEMENTATIONS[request.param]


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
