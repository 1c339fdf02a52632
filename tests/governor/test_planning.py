"""One decision at a time, on figures made up for it: what is freed, what is let in, and by whom."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbcache.governor.account import MIB, Account, Marks
from ebbcache.governor.planning import SMALLEST_GRANT, STEP, Planner, View
from ebbcache.governor.shares import Share
from ebbcache.memory import Reading

LIMIT = 256 * MIB
MARKS = Marks.of(LIMIT)


def view(headroom: int, cached: int, *, retained: int = 0, **more: Any) -> View:
    """What a look finds with `headroom` left, `cached` bytes in caches and `retained` ones nowhere."""
    usage = LIMIT - headroom
    account = Account()
    account.observe(usage, cached + retained, 0.0)
    account.observe(usage, cached, 0.001)  # what left the caches without usage falling is retained
    found = View(
        reading=Reading(LIMIT, usage, headroom, "a container"),
        account=account,
        marks=MARKS,
        kept_free=MARKS.high,
        cap=LIMIT // 2,
        own=cached,
        shared=0,
        inserting=0,
        mates=(),
        calm=True,
        now=0.0,
    )
    return dataclasses.replace(found, **more)


def test_with_room_a_quarter_of_it_is_let_in_and_nothing_freed() -> None:
    plan = Planner().plan(view(headroom=200 * MIB, cached=20 * MIB))
    assert (plan.level, plan.target) == ("calm", 0)
    assert plan.grant == (LIMIT // 2 - 20 * MIB) // 4


def test_under_low_what_is_missing_to_high_is_freed_softly() -> None:
    plan = Planner().plan(view(headroom=MARKS.low - MIB, cached=100 * MIB))
    assert (plan.level, plan.grant) == ("soft", 0)
    assert plan.target == MARKS.high - MARKS.low + MIB


def test_what_was_freed_and_does_not_show_is_not_freed_again_but_is_no_headroom() -> None:
    planner = Planner()
    plan = planner.plan(view(headroom=MARKS.low - MIB, cached=60 * MIB, retained=60 * MIB))
    assert (plan.level, plan.target, plan.grant) == ("soft", 0, 0)
    plan = planner.plan(view(headroom=MARKS.low - MIB, cached=60 * MIB, retained=60 * MIB, inserting=MIB))
    assert (plan.level, plan.target) == ("soft", 2 * MIB)  # what comes in makes room for itself
    plan = planner.plan(view(headroom=MARKS.low + MIB, cached=60 * MIB, retained=60 * MIB))
    assert plan.level == "calm"


def test_soft_pressure_lasts_until_high() -> None:
    between = view(headroom=MARKS.low + MIB, cached=60 * MIB)
    assert Planner().plan(between).level == "calm"
    assert Planner().plan(dataclasses.replace(between, calm=False)).level == "soft"


def test_over_the_cap_with_memory_short_caches_come_down_to_it_at_once() -> None:
    plan = Planner().plan(view(headroom=MARKS.low - MIB, cached=100 * MIB, cap=30 * MIB))
    assert (plan.level, plan.target) == ("soft", 70 * MIB)


def test_under_hard_pressure_that_stands_still_ever_more_is_freed() -> None:
    planner = Planner()
    short = view(headroom=MARKS.min - MIB, cached=80 * MIB, retained=60 * MIB)
    first = planner.plan(short)
    assert (first.level, first.target) == ("hard", 10 * MIB)
    at_once = planner.plan(dataclasses.replace(short, now=STEP / 2))
    assert at_once.target == 0
    later = [planner.plan(dataclasses.replace(short, now=n * STEP)).target for n in (1.1, 2.2, 3.3, 4.4)]
    assert later == [20 * MIB, 40 * MIB, 80 * MIB, 80 * MIB]


def test_headroom_that_falls_on_under_min_is_made_good_whatever_is_retained() -> None:
    planner = Planner()
    planner.plan(view(headroom=MARKS.min - 2 * MIB, cached=80 * MIB, retained=60 * MIB))
    fallen = view(headroom=MARKS.min - 5 * MIB, cached=80 * MIB, retained=60 * MIB, now=STEP / 2)
    assert planner.plan(fallen).target == 3 * MIB


def test_a_value_that_comes_in_under_hard_pressure_makes_room_for_itself() -> None:
    plan = Planner().plan(
        view(headroom=MARKS.min // 2, cached=80 * MIB, retained=80 * MIB, inserting=30 * MIB)
    )
    assert plan.level == "hard"
    assert plan.target >= 30 * MIB


def test_at_the_cap_as_much_is_freed_as_comes_in_and_only_caches_are_asked() -> None:
    plan = Planner().plan(view(headroom=100 * MIB, cached=LIMIT // 2, inserting=1000))
    assert plan.level == "calm"
    assert plan.growth
    assert plan.target >= plan.grant > 0


def test_an_insert_frees_no_more_than_lately_went_in_a_slice() -> None:
    planner = Planner()
    full = view(headroom=100 * MIB, cached=LIMIT // 2, inserting=1000)
    assert planner.plan(full).grant == 2 * MIB
    planner.went_in_a_slice(MIB, 2 * MIB)  # time was up before the target was met
    assert planner.plan(full).grant == MIB
    for _ in range(3):
        planner.went_in_a_slice(MIB, MIB)
    assert planner.plan(full).grant == 2 * MIB


def test_neighbours_divide_a_shortage_and_do_more_if_it_does_not_end() -> None:
    planner = Planner()
    short = view(headroom=MARKS.low - MIB, cached=100 * MIB, own=25 * MIB, mates=(Share(75 * MIB),))
    missing = MARKS.high - MARKS.low + MIB
    targets = [planner.plan(dataclasses.replace(short, now=n * 0.03)).target for n in range(4)]
    assert targets == [missing // 4, missing // 2, missing, missing]


def test_room_is_divided_among_neighbours_and_one_below_its_part_may_grow_at_the_cap() -> None:
    mates = (Share(10 * MIB), Share(10 * MIB), Share(10 * MIB))
    alone = Planner().plan(view(headroom=200 * MIB, cached=40 * MIB)).grant
    assert (
        Planner().plan(view(headroom=200 * MIB, cached=40 * MIB, own=10 * MIB, mates=mates)).grant
        == alone // 4
    )
    full = view(headroom=100 * MIB, cached=LIMIT // 2, inserting=1000, mates=(Share(LIMIT // 2 - MIB),))
    newcomer = Planner().plan(dataclasses.replace(full, own=MIB))
    assert (newcomer.target, newcomer.grant > SMALLEST_GRANT) == (0, True)
    larger = Planner().plan(dataclasses.replace(full, own=LIMIT // 2 - MIB, mates=(Share(MIB),)))
    assert larger.target > 0


@given(
    headroom=st.integers(0, LIMIT),
    cached=st.integers(0, LIMIT),
    retained=st.integers(0, LIMIT),
    inserting=st.integers(0, LIMIT),
    mates=st.lists(st.builds(Share, st.integers(0, LIMIT), st.integers(0, LIMIT)), max_size=4),
    calm=st.booleans(),
)
def test_no_plan_is_senseless(
    headroom: int, cached: int, retained: int, inserting: int, mates: list[Share], calm: bool
) -> None:
    cached = min(cached, LIMIT - headroom)
    retained = min(retained, LIMIT - headroom - cached)
    found = view(headroom, cached, retained=retained, inserting=inserting, mates=tuple(mates), calm=calm)
    plan = Planner().plan(found)
    assert plan.target >= 0
    assert plan.grant >= 0
    assert plan.level == ("hard" if headroom < MARKS.min else plan.level)
    assert (plan.level == "calm") <= (headroom >= MARKS.low)
    assert plan.grant == 0 or plan.level == "calm"
    assert not plan.growth or plan.level == "calm"


def test_a_soft_ceiling_is_hard_only_once_it_is_crossed() -> None:
    near = view(headroom=MIB, cached=60 * MIB)
    soft = dataclasses.replace(near.reading, soft=True, hard_headroom=100 * MIB)
    assert Planner().plan(dataclasses.replace(near, reading=soft)).level == "soft"
    assert Planner().plan(near).level == "hard"
    close = dataclasses.replace(soft, hard_headroom=MIB)
    assert Planner().plan(dataclasses.replace(near, reading=close)).level == "hard"


def test_growth_of_others_keeps_inserts_out_where_evicting_gives_nothing_back() -> None:
    quiet = view(headroom=200 * MIB, cached=20 * MIB)
    before = Planner().plan(quiet).grant
    quiet.account.observe(quiet.account.usage + 40 * MIB, 20 * MIB, 0.1)
    burst = dataclasses.replace(
        quiet, reading=dataclasses.replace(quiet.reading, headroom=160 * MIB), cap=LIMIT
    )
    still = dataclasses.replace(burst, account=view(headroom=160 * MIB, cached=20 * MIB).account)
    assert Planner().plan(burst).grant == pytest.approx(Planner().plan(still).grant - 10 * MIB, abs=MIB)
    assert before > 0


def test_in_a_burst_what_is_retained_does_not_count_and_what_hardly_returns_is_freed_twice() -> None:
    found = view(headroom=MARKS.high, cached=80 * MIB, retained=60 * MIB)
    assert Planner().plan(found).target == 0
    for _ in range(20):
        found.account.returned(10 * MIB, 0, 8 * MIB)
    found.account.observe(found.account.usage + 30 * MIB, 80 * MIB, 0.01, limit=LIMIT)
    grown = dataclasses.replace(
        found, reading=Reading(LIMIT, LIMIT - MARKS.low - MIB, MARKS.low + MIB, "a container")
    )
    ahead = found.account.going_on
    assert ahead > MARKS.min
    target = (MARKS.high + ahead - MARKS.low - MIB) * found.account.to_return_one
    assert Planner().plan(grown).target == pytest.approx(target, rel=0.01)


def test_a_burst_like_those_before_does_not_empty_caches_that_give_nothing_back() -> None:
    found = view(headroom=MARKS.low + MIB, cached=80 * MIB)
    account = found.account
    for _ in range(20):
        account.returned(10 * MIB, 0, 4 * MIB)
    usage, now = account.usage, 0.0
    for grown in (40 * MIB, 0, 0, 40 * MIB):  # the first such burst, and after it the second
        now += 1.0
        account.observe(usage + grown, 80 * MIB, now, limit=LIMIT)
    assert account.going_on > MARKS.min
    assert not account.unheard_of
    account.observe(usage + 40 * MIB, 20 * MIB, now + 0.01, limit=LIMIT)  # 60 MiB freed, nothing came back
    assert Planner().plan(dataclasses.replace(found, cap=LIMIT)).target == 0
