"""What counts and what does not, budgets, and that no value can make `sizeof` fail or call it."""

from __future__ import annotations

import collections
import ctypes
import decimal
import enum
import gc
import logging
import random
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbcache import sizing
from ebbcache.gil import is_free_threaded
from ebbcache.sizing import BUDGET, sizeof
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


def test_functions_of_a_module_are_free() -> None:
    assert sizeof([len, sizeof, threading.Lock]) == sizeof([None, None, None])


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
    alone = sizeof([None, 0.1])
    for _ in range(3):
        assert alone <= sizeof(users[0]) <= alone + 32
    assert sizeof(users) > sizeof(service)


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
    class Foreign(decimal.Context):
        nbytes = decimal.Context.__dict__["prec"]

    assert sizeof(Foreign(prec=1_000_000)) > 1_000_000
    assert sizeof(decimal.Context(prec=1_000_000)) < 2000


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


# Hostile values


class Angry:
    """Raises whatever one does with it."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")

    def _anger(self, *args: Any) -> Any:
        raise AssertionError("called")

    __getattr__ = __len__ = __iter__ = __eq__ = __hash__ = __bool__ = __getitem__ = __contains__ = _anger
    __repr__ = __str__ = __reversed__ = __index__ = __int__ = __dir__ = __reduce_ex__ = __format__ = _anger
    nbytes = size = property(_anger)


class AngryDict(Angry, dict[Any, Any]):
    keys = values = items = get = copy = Angry._anger


class AngryOrderedDict(Angry, collections.OrderedDict[Any, Any]):
    keys = values = items = get = copy = Angry._anger


class AngryList(Angry, list[Any]):
    copy = Angry._anger


class AngryTuple(Angry, tuple[Any, ...]):
    pass


class AngrySet(Angry, set[Any]):
    copy = Angry._anger


class AngryFrozenset(Angry, frozenset[Any]):
    copy = Angry._anger


class AngryDeque(Angry, collections.deque[Any]):
    copy = Angry._anger


class AngryStr(Angry, str):
    pass


class AngryInt(Angry, int):
    pass


class AngryArray(Angry, np.ndarray[Any, Any]):
    base = flags = dtype = ndim = flat = property(Angry._anger)

    def __array__(self, *args: Any) -> Any:
        raise AssertionError("converted")


class AngryMeta(type):
    def __getattribute__(cls, name: str) -> Any:
        raise AssertionError(f"{name} of the class was asked for")

    def __hash__(cls) -> int:
        raise AssertionError("hashed")

    def __eq__(cls, other: object) -> bool:
        raise AssertionError("compared")

    def __instancecheck__(cls, instance: object) -> bool:
        raise AssertionError("checked")

    def mro(cls) -> list[type]:
        return type.mro(cls)


def angry_class() -> Any:
    return AngryMeta("MetaAngry", (), {})  # not at the top, where pytest would ask it things


def hostile() -> dict[str, Callable[[], Any]]:
    return {
        "plain": Angry,
        "dict": lambda: dict.__new__(AngryDict),
        "ordered dict": lambda: collections.OrderedDict.__new__(AngryOrderedDict),
        "list": lambda: AngryList(numbers(5)),
        "tuple": lambda: AngryTuple(numbers(5)),
        "set": lambda: AngrySet(numbers(5)),
        "frozenset": lambda: AngryFrozenset(numbers(5)),
        "deque": lambda: AngryDeque(numbers(5)),
        "str": lambda: AngryStr("x"),
        "int": lambda: AngryInt(1000),
        "array": lambda: np.ndarray.__new__(AngryArray, (100,)),
        "metaclass": lambda: type.__call__(angry_class()),
        "its class": angry_class,
    }


@pytest.mark.parametrize("name", hostile())
def test_calls_nothing_of_a_value(name: str) -> None:
    value = hostile()[name]()
    assert sizeof(value) == sizeof(value, exact=True)
    assert sizeof([value]) > 0
    assert sizeof({1000: value}, budget=1) > 0


def test_reads_what_hostile_dicts_hold() -> None:
    value = dict.__new__(AngryDict)
    dict.__setitem__(value, "key", numbers(100))
    assert sizeof(value) > 3200


@pytest.mark.parametrize("answer", [-1, "many", 10**30, 1 << 60, True, None, 0.5, RuntimeError()], ids=repr)
def test_survives_a_broken_sizeof(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def __sizeof__(self) -> int:
            if isinstance(answer, Exception):
                raise type(answer)("no")
            return answer  # type: ignore[no-any-return]

    value = Broken()
    value.rows = numbers(100)  # type: ignore[attr-defined]
    with caplog.at_level(logging.WARNING, "ebbcache"):
        for _ in range(3):
            assert 3200 < sizeof([value]) < 10_000
    assert len(caplog.records) == 1
    assert "Broken" in caplog.records[0].getMessage()
    assert caplog.records[0].name.startswith("ebbcache")


def test_lets_what_stops_a_program_through() -> None:
    class Stopping:
        def __sizeof__(self) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sizeof([Stopping()])


def test_survives_a_slot_without_a_value() -> None:
    class Slots:
        __slots__ = ("a", "nbytes")

    value = Slots()
    assert sizeof(value) > 0
    value.nbytes = 10**9  # type: ignore[attr-defined]  # a slot is anybody's
    assert sizeof(value) < 1000


def test_survives_values_that_change_meanwhile() -> None:
    """Four containers are filled and emptied by one thread while another sizes them."""
    shared: dict[str, Any] = {"d": {}, "l": [], "s": set(), "q": collections.deque()}
    stop = threading.Event()

    def churn() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            shared["d"][n % 97] = [n / 7]
            shared["l"].append(n / 7)
            shared["s"].add(n % 89)
            shared["q"].append([n / 7])
            if n % 100 == 0:
                for container in shared.values():
                    container.clear()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for n in range(400):
            assert sizeof(shared, budget=1 + n % 50) > 0
            assert sizeof(shared, exact=True) > 0
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(interval)


def test_survives_a_value_emptied_by_its_own_sizer() -> None:
    outer: list[Any] = [numbers(3) for _ in range(40)]

    class Saboteur:
        def __sizeof__(self) -> int:
            outer.clear()
            return 50

    outer.insert(0, Saboteur())
    assert sizeof(outer) > 0


@pytest.mark.skipif(
    is_free_threaded() and sys.version_info < (3, 14),
    reason="where threads are, CPython 3.13 without a GIL makes types immortal",
)
def test_forgets_types_that_die() -> None:
    kinds = sizing._table.kinds

    def use_once() -> weakref.ref[type]:
        cls = type("Passing", (), {"level": 1})
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
