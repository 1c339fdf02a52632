"""No value can make `sizeof` fail, call it, or be changed by it: not the most hostile one."""

from __future__ import annotations

import collections
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ebbcache.sizing import sizeof


def numbers(count: int) -> list[float]:
    return [n / 7 for n in range(count)]


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
