"""What counts of a value that shares parts: with others, or inside it, or with variables of a caller."""

from __future__ import annotations

import random
import sys
import threading
from typing import Any

import numpy as np
import pytest

from ebbcache.gil import is_free_threaded
from ebbcache.sizing import python_sizeof, sizeof


def numbers(count: int) -> list[float]:
    return [n / 7 for n in range(count)]


def test_functions_of_a_module_are_free() -> None:
    assert sizeof((len, sizeof, threading.Lock)) == sizeof((None, None, None))


def test_shared_inside_counts_once() -> None:
    for make in (lambda: numbers(50), lambda: "x" * 1000 + str(1)):
        assert sizeof([make()] * 2) == sizeof([make(), None])


def test_parts_still_in_a_variable_count() -> None:
    rows = numbers(100)
    page = {"rows": rows}
    assert sizeof(page) > sizeof(rows) > 3200


def test_shared_with_the_outside_does_not_count() -> None:
    rows = numbers(100)
    pages = [{"rows": rows} for _ in range(10)]
    assert sizeof(pages[0]) < 500
    assert sizeof(pages) > sizeof(rows)


def test_what_a_shared_part_reaches_does_not_count() -> None:
    class Service:
        def __init__(self) -> None:
            self.pool = [numbers(10) for _ in range(100)]
            self.pool.append(self.pool[0])

    service = Service()
    users = [[service, n / 7] for n in range(10)]
    alone = sizeof([None, len(users) / 7])  # a list of constants alone may have room for more
    for _ in range(3):
        assert alone <= sizeof(users[0]) <= alone + 32
    assert sizeof(users) > sizeof(service)


@pytest.mark.parametrize("sizer", [sizeof, python_sizeof])
@pytest.mark.parametrize("rows", [100, 10_000, 20_000, 100_000])
@pytest.mark.parametrize("make", [float, lambda n: [n / 7]], ids=["floats", "lists"])
def test_a_part_of_others_is_not_charged_for_needing_samples(sizer: Any, rows: int, make: Any) -> None:
    service = {"settings": [make(n) for n in range(rows)]}
    clients = [{"service": service, "number": n} for n in range(5)]
    for _ in range(2):
        assert sizer(clients[0]) < 1000
        assert sizer(clients) > 32 * rows
    del clients[1:], service
    assert sizer(clients[0]) > 32 * rows


def test_a_large_part_is_charged_to_the_first_value_only() -> None:
    model = [numbers(100) for _ in range(400)]
    first, second = [model], [model, 0.25]
    assert sizeof(first) > 1 << 20
    assert sizeof(first) > 1 << 20
    assert sizeof(second) < 1000


def test_leaves_are_charged_by_their_share() -> None:
    text = "x" * 10_000 + str(1)
    others = [[text] for _ in range(99)]
    assert 100 <= sizeof(others[0]) <= 300
    assert sizeof(others) > 10_000


def test_views_count_what_only_they_hold() -> None:
    data = bytes(100_000 + random.randrange(2))
    assert sizeof(memoryview(data)) < 1000
    alone = memoryview(bytes(100_000))
    assert sizeof(alone) > 100_000
    array = np.zeros(10_000)
    assert sizeof(array) > 80_000
    assert sizeof(array[5:]) < 1000
    assert sizeof([array, array[5:]]) > 80_000
    rows = [*np.zeros((4, 2500))]
    assert 80_000 < sizeof(rows) < 82_000


@pytest.mark.skipif(
    is_free_threaded() and sys.version_info < (3, 14),
    reason="where threads are, CPython 3.13 without a GIL makes types immortal",
)
def test_a_class_made_for_a_value_goes_with_it() -> None:
    """`email` makes one for each header. What else holds such a class keeps it."""

    def classed(cls: type) -> Any:
        return cls(numbers(2))

    class Own(list[float]):
        pass

    def passing() -> type:
        return type("Passing", (Own,), {})

    kept = passing()
    alone, held = sizeof(classed(passing())), sizeof(classed(kept))
    assert held + 1000 < alone < held + 4000
    one = passing()
    pair = [classed(one), classed(one)]
    assert sizeof(pair) < 1000 + 2 * held  # the variable holds it as well
    del one
    # The second instance of a class may have room for one attribute less.
    assert sizeof(pair) == pytest.approx(sizeof([None, None]) + 2 * held + (alone - held), abs=32)


@pytest.mark.parametrize("sizer", [sizeof, python_sizeof])
def test_of_a_graph_no_more_is_believed_than_there_is(sizer: Any) -> None:
    rng = random.Random(1)
    nodes: list[list[Any]] = [[n / 7] for n in range(20_000)]
    for node in nodes:
        node += rng.choices(nodes, k=4)  # its branches meet everywhere, of which samples see little
    assert 200_000 < sizer(nodes) < 1024 * sys.getallocatedblocks()
