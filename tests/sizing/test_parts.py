"""Memory that is no object, values about to be dropped, and budgets that follow what a value cost."""

from __future__ import annotations

from typing import Any

import pytest

from ebbcache import _cache, caches, sizing
from ebbcache.sizing import freed_with, kinds, layout, sizeof, weigh


class Holder:
    """Stands for a third-party object that holds memory of its own."""

    def __init__(self, *parts: layout.Part) -> None:
        self.parts = parts


@pytest.fixture
def holders(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(obj: Any, cap: float) -> layout.Expanded:
        return 64, [layout.Part(part.key, part.nbytes, part.references) for part in obj.parts], 1

    measured = kinds._measured
    monkeypatch.setattr(
        kinds,
        "_measured",
        lambda cls, obj, several=False: kinds.Kind(cls, read) if cls is Holder else measured(cls, obj),
    )


@pytest.mark.usefixtures("holders")
class TestParts:
    def test_count_once_with_the_value_that_holds_them(self) -> None:
        part = layout.Part(1, 5000)
        assert sizeof(Holder(part)) == 5064
        assert sizeof([Holder(part), Holder(part)]) == sizeof([0, 0]) + 2 * 64 + 5000
        assert sizeof(Holder(part, layout.Part(2, 300))) == 5364

    def test_count_only_if_all_their_owners_are_inside(self) -> None:
        part = layout.Part(1, 5000, references=2)
        assert sizeof(Holder(part)) == 64
        assert sizeof([Holder(part), Holder(part)]) == sizeof([0, 0]) + 2 * 64 + 5000

    def test_may_tell_what_they_take_when_asked(self) -> None:
        asked: list[int] = []

        def nbytes() -> int:
            asked.append(1)
            return 5000

        assert (
            sizeof([Holder(layout.Part(1, nbytes)) for _ in range(3)]) == sizeof([0, 0, 0]) + 3 * 64 + 5000
        )
        assert asked == [1]

    def test_do_not_count_with_what_is_shared(self) -> None:
        shared = Holder(layout.Part(1, 5000))
        users = [[shared] for _ in range(9)]
        assert sizeof(users[0]) == sizeof([0])


def test_what_is_evicted_has_no_slack() -> None:
    rows = [n / 7 for n in range(100)]
    page = {"rows": rows}
    assert sizeof(page) > 3200
    assert freed_with(page) < 500
    del rows
    assert freed_with(page) == sizeof(page)


def test_a_value_that_cost_little_is_looked_at_less() -> None:
    looks = 0

    class Counting(list[Any]):
        def __sizeof__(self) -> int:
            nonlocal looks
            looks += 1
            return 0

    value = [Counting() for _ in range(4030)][30:]  # the first ones may have room for more attributes
    whole = weigh(value, 10.0)
    assert looks == 4000
    looks = 0
    assert weigh(value, 1e-9) == pytest.approx(whole, rel=0.05)
    assert looks <= 2000 + 64
    for unknown in (0.0, -1.0, float("nan")):
        assert weigh(value, unknown) == sizeof(value)
    assert weigh("text", 0.5) == sizing.python_sizeof("text")


def test_an_insert_measures_a_cheap_value_for_no_longer_than_it_is_worth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    costs: list[float] = []

    def weigh(value: object, cost: float) -> int:
        costs.append(cost)
        return 1000

    monkeypatch.setattr(_cache, "weigh", weigh)
    cache = caches.LRUCache[str, list[float]](sizeof=None, register=False)
    cache._insert("key", hash("key"), [0.5], None, 0.25)
    assert costs == [0.25]
    assert cache.nbytes == sizeof("key") + 1000 + cache.overhead
