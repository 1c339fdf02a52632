"""All caches under one roof.

A test that takes `kind` runs for every policy on every implementation of the store, one that takes `caches`
(the classes by their names) for every implementation; both say which in their ids.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from both_stores import IMPLEMENTATIONS

from ebbcache import governor
from ebbcache.caches import Cache
from ebbcache.clock import clock
from ebbcache.gil import is_free_threaded


class Timer:
    """Time that a test sets."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now


@dataclass(frozen=True)
class Kind:
    """One cache class, and how to make it without naming the arguments that only it needs."""

    cls: type[Cache[Any, Any]]
    store: str
    required: dict[str, Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Cache[Any, Any]:
        kwargs.setdefault("register", False)
        if args:
            kwargs["maxsize"] = args[0]
        return self.cls(**self.required, **kwargs)

    def subclass(self, **namespace: Any) -> Kind:
        return Kind(type(f"My{self.cls.__name__}", (self.cls,), namespace), self.store, self.required)


KINDS = {
    f"{name}-{policy}": Kind(getattr(caches, f"{policy}Cache"), name, required)
    for name, caches in IMPLEMENTATIONS.items()
    for policy, required in {"LRU": {}, "LFU": {}, "TTL": {"ttl": 3600.0}, "Density": {}}.items()
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(params=IMPLEMENTATIONS)
def caches(request: pytest.FixtureRequest) -> Any:
    return IMPLEMENTATIONS[request.param]


@pytest.fixture
def no_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the governor's thread from expiring entries while a test plays with time."""
    monkeypatch.setattr(governor, "watch_expiry", lambda cache: None)


@pytest.fixture
def timer() -> Timer:
    return Timer()


@pytest.fixture
def garbage() -> Callable[[Callable[[], object]], AbstractContextManager[list[int]]]:
    """Have something done by a finaliser wherever CPython may collect garbage; gives the count."""
    if is_free_threaded():
        pytest.skip("the collector of free-threaded CPython does not come for a few objects")

    @contextmanager
    def finalising(action: Callable[[], object]) -> Iterator[list[int]]:
        count = [0]
        going = True
        mine = threading.get_ident()

        class Knot:
            def __init__(self) -> None:
                self.itself = self

            def __del__(self) -> None:
                if going and count[0] < 10_000:
                    Knot()  # for the next collection
                    if threading.get_ident() == mine:
                        count[0] += 1
                        action()

        before = gc.get_threshold()
        gc.collect()
        gc.set_threshold(1)
        try:
            Knot()
            yield count
        finally:
            going = False
            gc.set_threshold(*before)
            gc.collect()

    return finalising


@pytest.fixture
def played_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let the test say what the shared clock shows: `played_clock(seconds)` moves it forward."""
    timer = Timer()
    monkeypatch.setattr(clock, "timer", timer)
    clock.tick()

    def move(seconds: float) -> None:
        timer.now += seconds
        clock.tick()

    return move
