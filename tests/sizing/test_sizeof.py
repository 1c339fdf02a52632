"""What counts, budgets, and what is left behind."""

from __future__ import annotations

import collections
import ctypes
import enum
import gc
import logging
import random
import sys
import types
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbcache import sizing
from ebbcache.gil import is_free_threaded
from ebbcache.sizing import BUDGET, python_sizeof, sizeof, walk
from ebbcache.sizing.chunks import chunk


class Color(enum.Enum):
    RED = "red"


class Point:
    def __init__(self, x: float, y: float) -> None:
        self.x = x
        self.y = y


def numbers(count: int) -> list[float]:
    return [n / 7 for n in range(count)]


# What counts


@pytest.mark.parametrize(
    "value", ["", "ascii" * 3, "é" * 30, "Ж" * 300, "\U0001f600" * 9, b"", b"x" * 600, 257, 3**99, 0.5, 1j]
)
def test_scalars_are_one_block(value: Any) -> None:
    assert sizeof(value) == chunk(sys.getsizeof(value))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        256,
        -5,
        ...,
        NotImplemented,
        Point,
        sys,
        Color.RED,
        logging.getLogger("x"),
    ],
)
def test_what_the_program_shares_is_free(value: Any) -> None:
    assert sizeof(value) == 0
    assert sizeof([value]) == sizeof([0])


def test_attributes_in_instances_count_without_a_dict() -> None:
    points = [Point(n / 7, n / 9) for n in range(50)]
    before = [gc.get_referents(point) for point in points]
    assert sizeof(points) > 50 * (chunk(48) + 2 * 32)
    assert all(
        a is b
        for old, point in zip(before, points, strict=True)
        for a, b in zip(old, gc.get_referents(point), strict=True)
    )


def test_ctypes_count_their_buffers() -> None:
    assert sizeof((ctypes.c_char * 100_000)()) > 100_000
    assert sizeof(ctypes.c_int(5)) < 500


def test_foreign_types_count_by_a_nbytes_in_c() -> None:
    class ForeignError(OSError):
        nbytes = OSError.__dict__["characters_written"]

    foreign, known = ForeignError(), OSError()
    foreign.characters_written = known.characters_written = 1_000_000
    assert sizeof(foreign) > 1_000_000
    assert sizeof(known) < 1000


def test_a_sizeof_in_python_counts_if_it_says_more() -> None:
    class Native:
        def __sizeof__(self) -> int:
            return 5_000_000

    class Deep:
        def __init__(self) -> None:
            self.rows = numbers(1000)

        def __sizeof__(self) -> int:
            return 100 + sum(map(sys.getsizeof, self.rows))

    for _ in range(32):  # the arrays of a class's first instances have room to spare
        Deep(), Point(0.5, 0.25)
    plain = Point(0.5, 0.25)
    plain.x = numbers(1000)  # type: ignore[assignment]
    assert 5_000_000 <= sizeof([Native()]) < 5_001_000
    assert abs(sizeof(Deep()) - sizeof(plain)) < 200


# Structures


def test_cycles_end() -> None:
    loop: list[Any] = numbers(10)
    straight = sizeof(loop)
    loop.append(loop)
    assert straight <= sizeof(loop) < straight + 100
    first, second = Point(0.5, 0.5), Point(0.25, 0.25)
    first.x, second.x = second, first  # type: ignore[assignment]
    assert sizeof(first) > 150


def test_depth_does_not_matter() -> None:
    deep: list[Any] = []
    for n in range(100_000):
        deep = [deep, n / 7]
    assert sizeof(deep, exact=True) > 100_000 * (64 + 16 + 32)
    assert sizeof(deep) > 0
    while deep:  # or the interpreter would recurse
        deep = deep[0]


def nested(depth: int) -> Any:
    deep: Any = ()
    for _ in range(depth):
        deep = (deep,)
    return deep


def test_a_chain_is_followed_for_two_budgets_or_eight() -> None:
    """Two looks a link: at the tuple, and at what it holds."""
    link = sizeof(((),))
    deep = nested(30_000)
    assert python_sizeof(deep, budget=1000) == pytest.approx(1000 * link, rel=0.02)
    assert python_sizeof(deep, budget=60_001) == sizeof(deep, exact=True) == 30_000 * link
    if sizing.IMPLEMENTATION == "native":
        assert sizeof(deep, budget=1000) == pytest.approx(4000 * link, rel=0.02)
        assert sizeof(deep, budget=7600) == 30_000 * link


def test_leaves_nothing_behind() -> None:
    """A walk over tops in a cycle holds none of them afterwards, collector or not."""
    parent = Point(0.5, 0.5)
    parent.x = [Point(parent, n / 7) for n in range(10)]  # type: ignore[assignment,arg-type]
    child = parent.x[0]  # type: ignore[index]
    gc.disable()
    try:
        before = sys.getrefcount(child)
        for _ in range(5):
            sizeof(parent)
            sizeof(parent, budget=4)
        assert sys.getrefcount(child) == before
    finally:
        gc.enable()


def records(count: int) -> list[Any]:
    rng = random.Random(3)
    return [
        {
            "id": n + 1000,
            "name": f"row {n}",
            "tags": [f"tag {rng.random()}" for _ in range(rng.randrange(5))],
        }
        for n in range(count)
    ]


def indexed(count: int) -> Any:
    listed = records(count)
    return {"list": listed, "index": {row["name"]: row for row in listed}}


def tree(depth: int, parent: Any = None) -> Point:
    node = Point(parent, 0.5)
    node.y = [tree(depth - 1, node) for _ in range(4)] if depth else 0.25  # type: ignore[assignment]
    return node


@pytest.mark.parametrize(
    ("value", "tolerance"),
    [
        (numbers(100_000), 0.01),
        ({f"key {n}": n / 7 for n in range(100_000)}, 0.03),
        ({f"member {n}" for n in range(50_000)}, 0.05),
        (records(20_000), 0.1),
        ({n + 1000: row for n, row in enumerate(records(20_000))}, 0.1),
        (collections.deque(records(20_000)), 0.1),
        ([numbers(n % 50) for n in range(10_000)], 0.1),
        ({"small": records(50), "large": numbers(200_000)}, 0.05),
        (indexed(20_000), 0.25),
        (tree(7), 0.15),
    ],
    ids=["floats", "dict", "set", "rows", "dict of rows", "deque", "uneven", "lopsided", "indexed", "tree"],
)
def test_samples_come_near_the_whole(value: Any, tolerance: float) -> None:
    assert sizeof(value) == pytest.approx(sizeof(value, exact=True), rel=tolerance)
    assert sizeof(value) == sizeof(value)


@pytest.mark.parametrize("budget", [0, -1])
def test_refuses_a_budget_of_nothing(budget: int) -> None:
    with pytest.raises(ValueError, match=f"budget .* {budget}"):
        sizeof([], budget=budget)
    with pytest.raises(TypeError, match="budget must be an int"):
        sizeof([], budget="10")  # type: ignore[arg-type]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.tuples(inner, inner)
        | st.frozensets(st.text())
    ),
    max_leaves=50,
)


@settings(deadline=None, max_examples=150)
@given(values, values)
def test_what_fits_the_budget_is_exact_and_adds_up(first: Any, second: Any) -> None:
    assert sizeof(first) == sizeof(first, exact=True) >= 0
    assert sizeof(first, budget=1) >= 0
    pair = sizeof([first, second])
    assert sizeof([None, None]) <= pair <= sizeof([None, None]) + sizeof(first) + sizeof(second)


@pytest.mark.skipif(
    is_free_threaded() and sys.version_info < (3, 14),
    reason="where threads are, CPython 3.13 without a GIL makes types immortal",
)
def test_forgets_types_that_die() -> None:
    kinds = sizing._table.kinds

    def use_once() -> weakref.ref[type]:
        cls = type("Passing", (), {"__slots__": ("level",)})
        assert sizeof([cls()]) > 0
        assert id(cls) in kinds
        return weakref.ref(cls)

    size = len(kinds)
    reference = use_once()
    gc.collect()
    assert reference() is None
    assert len(kinds) <= size + 2  # list and type may be new


def test_does_not_remember_a_class_for_each_value() -> None:
    """Classes that add nothing to their bases are known by these, until they are met often."""
    kinds = sizing._table.kinds

    class Header(str):
        pass

    def value(n: int) -> Any:
        header = type("Header", (Header,), {})(f"header {n}")
        header.parts = [n / 7]
        return header

    values = [value(n) for n in range(20)]
    sizes = [sizeof(one) for one in values]
    assert max(sizes) - min(sizes) <= 16
    assert sizes[0] > sizeof([0.5]) + 100
    assert not any(id(type(one)) in kinds for one in values)
    for _ in range(40):
        assert sizeof(values[0]) == sizes[0]
    assert id(type(values[0])) in kinds


def test_counts_as_many_objects_as_said() -> None:
    """A subclass that counts shows how much of a large value the default budget looks at."""
    looks = 0

    class Counting(list[Any]):
        def __sizeof__(self) -> int:
            nonlocal looks
            looks += 1
            return 0

    value = [Counting() for _ in range(50_000)]
    sizeof(value)
    assert 0 < looks <= 2 * BUDGET


def test_mapping_proxies_and_partial_views_are_walked() -> None:
    assert sizeof(types.MappingProxyType({"k": numbers(100)})) > 3200
    assert sizeof(iter(numbers(100))) > 3200


def test_what_tells_its_size_goes_with_a_victim() -> None:
    """It is looked at apart, and no list of the walk's own may pass for somebody who holds it."""

    class Telling(list[Any]):
        def __sizeof__(self) -> int:
            return 5000

    value = [[Telling([1.5])] for _ in range(3)]
    assert walk.weigh(sizing._table, value, 4000, evicted=True) > 15_000
    assert sizing.freed_with(value) > 15_000
    told = Telling()
    others = [[told]]
    assert sizing.python_sizeof([told]) == 5000 + sizing.python_sizeof([None])
    assert others
