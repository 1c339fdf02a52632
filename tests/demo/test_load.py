"""The neighbour follows its plan, and the shadows count like full caches of their size would."""

from __future__ import annotations

import os
import threading
from itertools import islice

import pytest

from ebbcache import LRUCache, sizeof
from ebbcache.demo.load import MIB, PLAN, Neighbour, Service
from ebbcache.demo.process import rss
from ebbcache.demo.workload import Library, zipf


def test_the_plan_is_quiet_takes_much_gives_back_and_takes_again() -> None:
    neighbour = Neighbour(10 * MIB, 1.0)
    shares = [neighbour.share(step / 100) for step in range(101)]
    assert shares[0] == shares[60] == shares[-1] == 0.0
    assert shares[40] == shares[92] == 1.0
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert [at for at, _ in PLAN] == sorted(at for at, _ in PLAN)


def test_a_ramp_is_followed_in_between() -> None:
    neighbour = Neighbour(10 * MIB, 1.0, [(0.0, 0.0), (0.5, 1.0), (1.0, 0.5)])
    assert neighbour.share(0.25) == pytest.approx(0.5)
    assert neighbour.share(0.75) == pytest.approx(0.75)
    assert neighbour.share(7.0) == 0.5


@pytest.mark.skipif(os.name != "posix", reason="reads resident memory as Linux counts it")
def test_what_it_holds_is_resident() -> None:
    neighbour = Neighbour(64 * MIB, 1.0)
    before = rss()
    neighbour.hold(64)
    assert neighbour.held == 64 * MIB
    assert rss() - before > 48 * MIB
    neighbour.hold(3)
    assert neighbour.held == 3 * MIB


def test_stopping_gives_everything_back_at_once() -> None:
    neighbour = Neighbour(4 * MIB, 3600.0, [(0.0, 1.0)])
    neighbour.start()
    neighbour.stop()
    assert neighbour.held == 0
    assert "neighbour" not in {thread.name for thread in threading.enumerate()}


def test_a_request_gets_its_document_and_is_counted() -> None:
    service = Service(Library(50, seed=1), zipf(50, seed=1), MIB)
    document = service.serve_one(7)
    assert document.number == 7
    assert service.counts == (1, 0, 0, 0)
    assert service.saved == [0.0, 0.0, 0.0]
    assert service.serve_one(7) is document
    assert service.counts == (2, 1, 1, 1)
    assert service.saved[0] == service.saved[1] == service.saved[2] > 0.0


def test_the_lru_shadow_hits_as_a_full_cache_would() -> None:
    requests = list(islice(zipf(100, seed=3), 500))
    library = Library(100, seed=3)
    service = Service(library, iter(requests), 2 * MIB)
    service.serve(lambda: False)
    full = LRUCache(maxbytes=2 * MIB, register=False, sizeof=lambda key, value: sizeof(value) + sizeof(key))
    hits = 0
    for number in requests:
        if full.get(number) is None:
            full[number] = library.make(number)
        else:
            hits += 1
    assert service.counts.requests == len(requests)
    assert service.counts.lru_hits == hits
    assert service.fixed == full.nbytes


def test_serving_stops_when_told() -> None:
    service = Service(Library(50, seed=1), zipf(50, seed=1), MIB)
    service.serve(lambda: service.counts.requests >= 20)
    assert service.counts.requests == 20
