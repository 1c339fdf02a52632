"""Registered sizers: who is asked, what they may answer, what if they fail; and pympler in their place."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

import numpy as np
import pytest

from ebbcache.sizing import register_sizer, sizeof, use


class Base:
    pass


class Derived(Base):
    pass


for _ in range(32):  # the arrays of a class's first instances have room to spare, which only C can see
    Base().rows = Derived().rows = None  # type: ignore[attr-defined]


def test_decorates_and_gives_the_function_back() -> None:
    @register_sizer(Base)
    def weigh(value: Base) -> int:
        return 12_345

    assert callable(weigh)
    assert weigh(Base()) == 12_345
    assert sizeof(Base()) == 12_345
    assert sizeof(Derived()) == 12_345
    assert sizeof([Base()]) == sizeof([0]) + 12_345


def test_the_nearest_class_in_the_mro_is_asked() -> None:
    register_sizer(Base, lambda value: 1)
    register_sizer(object, lambda value: 7)
    assert (sizeof(Derived()), sizeof("text"), sizeof(None), sizeof(sizeof)) == (1, 7, 7, 7)
    register_sizer(Derived, lambda value: 2)
    assert (sizeof(Base()), sizeof(Derived())) == (1, 2)
    register_sizer(Base, lambda value: 3)
    assert (sizeof(Base()), sizeof(Derived())) == (3, 2)


def test_comes_before_what_is_known() -> None:
    register_sizer(str, len)
    register_sizer(np.ndarray, lambda array: 5)
    assert sizeof("four") == 4
    assert sizeof(["".join(["fo", "ur"])]) == sizeof([None]) + 4
    assert sizeof(np.zeros(1000)) == 5


def test_takes_numpy_integers_and_zero() -> None:
    register_sizer(Base, lambda value: np.int64(99))
    assert sizeof(Base()) == 99
    assert type(sizeof(Base())) is int
    register_sizer(Base, lambda value: 0)
    assert sizeof(Base()) == 0


def test_may_add_to_what_would_be_found() -> None:
    value = Base()
    value.rows = [n / 7 for n in range(100)]  # type: ignore[attr-defined]
    plain = sizeof(value)
    register_sizer(Base, lambda value: sizeof(value) + 1_000_000)
    assert sizeof(value) == plain + 1_000_000
    assert sizeof(Base()) < plain + 1_000_000


def test_shared_objects_are_asked_for_once_each() -> None:
    register_sizer(Base, lambda value: 1000)
    value = Base()
    assert sizeof([value, value, [value]]) == sizeof([0, 0, [0]]) + 1000


@pytest.mark.parametrize("answer", [-1, "many", 1 << 60, True, None, 0.5, RecursionError("deep")], ids=repr)
def test_nonsense_is_logged_once_and_measured_instead(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    value = Base()
    value.rows = None  # type: ignore[attr-defined]
    plain = sizeof(value)

    @register_sizer(Base)
    def weigh(value: Base) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with caplog.at_level(logging.WARNING, "ebbcache"):
        assert [sizeof(value), sizeof(value), sizeof([value])][:2] == [plain, plain]
    assert len(caplog.records) == 1
    assert "Base" in caplog.records[0].getMessage()


@pytest.mark.parametrize("wrong", [3, "str", None, list[int], Base()])
def test_refuses_what_is_no_class(wrong: Any) -> None:
    with pytest.raises(TypeError, match="takes a class"):
        register_sizer(wrong)


def test_refuses_what_cannot_be_called() -> None:
    with pytest.raises(TypeError, match="callable"):
        register_sizer(Base)(5)  # type: ignore[arg-type]


def test_many_threads_may_register_and_size() -> None:
    classes = [type(f"Class{n}", (), {}) for n in range(40)]
    failures: list[BaseException] = []

    def work(offset: int) -> None:
        try:
            for n, cls in enumerate(classes):
                if n % 4 == offset:
                    register_sizer(cls, lambda value, n=n: n + 1)
                assert sizeof([cls(), "text"]) > 0
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [sizeof(cls()) for cls in classes] == [n + 1 for n in range(40)]


def test_pympler_measures_if_chosen(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asizeof = pytest.importorskip("pympler.asizeof")
    value = {"rows": [n / 7 for n in range(100)]}
    ours = sizeof(value)
    use("pympler")
    assert sizeof(value) == sizeof(value, exact=True) == asizeof.asizeof(value) != ours

    def fail(value: object) -> int:
        raise KeyError("broken")

    monkeypatch.setattr(asizeof, "asizeof", fail)
    with caplog.at_level(logging.WARNING, "ebbcache"):
        assert sizeof(value) == sizeof(value) == ours
    assert len(caplog.records) == 1
    use("ebbcache")
    assert sizeof(value) == ours


def test_says_what_is_wrong_with_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="'scales'"):
        use("scales")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "pympler", None)
    monkeypatch.setitem(sys.modules, "pympler.asizeof", None)
    with pytest.raises(ImportError, match="pip install"):
        use("pympler")
