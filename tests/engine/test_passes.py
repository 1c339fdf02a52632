"""Whole passes: rounds, overshoot, time, who is asked in what state."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbcache import engine, shrinkers
from ebbcache.engine import Gave, reclaim
from ebbcache.shrinkers import register_shrinker

MIB = 1 << 20


def test_a_target_is_met_and_everyone_named(pool):
    first, second = pool("first", 3000), pool("second", 1000)
    result = reclaim(400, why="test")
    assert (result.target, result.freed, result.hard, result.why) == (400, 400, False, "test")
    assert [(g.name, g.asked, g.freed, g.error) for g in result.by] == [
        ("first", 300, 300, None),
        ("second", 100, 100, None),
    ]
    assert (first.held, second.held) == (2700, 900)
    assert not result.busy
    assert not result.nested


def test_nobody_registered_is_no_error():
    result = reclaim(100)
    assert (result.freed, result.by) == (0, ())


def test_a_target_of_nothing_asks_nobody(pool):
    only = pool("only", 100)
    assert reclaim(0).freed == 0
    assert only.asked == []


def test_no_target_means_everything(pool):
    pools = [pool("stated", 1000), pool("silent", 500, stated=False), pool("tallied", 200, tally={0: 200})]
    pieces = pool("pieces", 64, piece=64)
    result = reclaim(None, hard=True)
    assert result.target is None
    assert result.freed == 1764
    assert [p.held for p in [*pools, pieces]] == [0, 0, 0, 0]


def test_everything_softly_leaves_floors(pool):
    kept = pool("kept", 1000, floor=300)
    assert reclaim(None).freed == 700
    assert kept.held == 300


def test_text_and_bad_input():
    assert reclaim("1 KiB").target == 1024
    for target, error in ((-1, ValueError), (1.5, TypeError), (True, TypeError), ("much", ValueError)):
        with pytest.raises(error, match="target"):
            reclaim(target)


def test_what_is_missing_is_asked_of_those_who_gave(pool):
    floored, rich = pool("floored", 1000, floor=950), pool("rich", 1000)
    result = reclaim(1000)
    assert result.freed == 1000
    assert floored.held == 950
    assert rich.held == 50
    assert {g.name: g.freed for g in result.by} == {"floored": 50, "rich": 950}


def test_one_that_gives_nothing_does_not_end_the_pass(pool):
    # All of the target is below the waterline in a cache that will not give it.
    stuck = pool("stuck", 1000, floor=1000, tally={-50: 1000})
    dense = pool("dense", 1000, tally={10: 1000})
    assert reclaim(500).freed == 500
    assert (stuck.held, dense.held) == (1000, 500)


def test_the_waterline_runs_through_all_caches(pool):
    idle = pool("idle", 1000, tally={-40: 1000})
    mixed = pool("mixed", 2000, tally={-40: 500, 2: 1500})
    busy = pool("busy", 5000, tally={2: 5000})
    assert reclaim(1200).freed == 1200
    assert (idle.held, mixed.held, busy.held) == (200, 1600, 5000)


def test_with_tallied_only_the_others_are_left_alone(pool):
    cache, other = pool("cache", 1000, tally={0: 1000}), pool("other", 1000)
    assert reclaim(1500, tallied_only=True).freed == 1000
    assert (cache.held, other.held) == (0, 1000)


def test_a_giver_of_crumbs_does_not_hold_a_pass_forever():
    calls = []

    def crumb(target, hard):
        calls.append(target)
        return 1

    with register_shrinker("crumbs", crumb):
        assert reclaim(1 << 30, hard=True).freed == len(calls)
    assert len(calls) == engine.ROUNDS


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 5000),
    st.booleans(),
    st.lists(
        st.tuples(
            st.integers(0, 3000),
            st.integers(1, 400),
            st.sampled_from(["tally", "stated", "silent"]),
            st.dictionaries(st.integers(-5, 5), st.integers(0, 1000), min_size=1, max_size=3),
        ),
        max_size=6,
    ),
)
def test_a_pass_stops_at_its_target_or_when_all_is_given(target, hard, described):
    shrinkers._registry.clear()
    held = [size for size, *_ in described]
    answers = []

    def add(number, size, piece, kind, weights):
        def shrink(target, hard):
            freed = min(-(-target // piece) * piece, held[number])
            held[number] -= freed
            answers.append((target, freed))
            return freed

        def tally(hard):
            whole = sum(weights.values()) or 1
            return {c: held[number] * w // whole for c, w in weights.items()}

        register_shrinker(
            str(number),
            shrink,
            size=None if kind == "silent" else lambda: held[number],
            tally=tally if kind == "tally" else None,
        )

    for number, what in enumerate(described):
        add(number, *what)
    result = reclaim(target, hard)
    assert result.freed == sum(size for size, *_ in described) - sum(held)
    assert result.freed == sum(freed for _, freed in answers) == sum(g.freed for g in result.by)
    if result.freed < target:
        # Only rounding in a tally (whose weights may be 0) lets a cache keep what nobody asked for.
        assert all(h == 0 for h, (*_, kind, _w) in zip(held, described, strict=True) if kind != "tally")
    else:
        # The bound: everything before the last call was below the target, and that call was asked for no
        # more than was missing.
        asked, freed = answers[-1]
        assert result.freed - freed + asked <= target
        assert result.freed - target <= freed - asked


def test_slow_ones_rest_in_soft_passes_are_asked_in_hard_ones_and_come_back(pool, hand_clock):
    pause = [0.0]
    slow = pool("slow", 1 << 20, takes=lambda: hand_clock.advance(pause[0]))
    quick = pool("quick", 1 << 20)
    pause[0] = 0.2
    assert {g.name for g in reclaim(1000).by} == {"slow", "quick"}
    hand_clock.advance(19)
    assert {g.name for g in reclaim(1000).by} == {"quick"}
    assert len(slow.asked) == 1
    assert {g.name for g in reclaim(1000, hard=True).by} == {"slow", "quick"}  # and slow again
    hand_clock.advance(19)
    assert {g.name for g in reclaim(1000).by} == {"quick"}
    hand_clock.advance(2)
    pause[0] = 0.0
    assert {g.name for g in reclaim(1000).by} == {"slow", "quick"}
    assert {g.name for g in reclaim(1000).by} == {"slow", "quick"}
    assert quick.held < 1 << 20


def test_a_quick_hard_call_ends_the_rest(pool, hand_clock):
    pause = [5.0]
    slow = pool("slow", 1000, takes=lambda: hand_clock.advance(pause[0]))
    reclaim(10)
    pause[0] = 0.0
    assert reclaim(10).by == ()
    reclaim(10, hard=True)
    assert len(reclaim(10).by) == 1
    assert len(slow.asked) == 3


def test_freeing_much_is_not_slow(pool, hand_clock):
    big = pool("big", 1 << 30, takes=lambda: hand_clock.advance(2.0))
    reclaim(1 << 28)
    reclaim(1 << 28)
    assert len(big.asked) == 2


def test_a_slow_size_or_tally_rests_too(hand_clock):
    calls = []

    def size():
        hand_clock.advance(0.5)
        return 1000

    def shrink(target, hard):
        calls.append(target)
        return 0

    register_shrinker("slow to tell", shrink, size=size)
    reclaim(10)
    reclaim(10)
    assert len(calls) == 1
    hand_clock.advance(60)
    reclaim(10)
    assert len(calls) == 2


def test_a_soft_pass_keeps_to_its_time_and_a_hard_one_does_not(pool, hand_clock):
    pools = [pool(f"{n}", 1000, takes=lambda: hand_clock.advance(0.03)) for n in range(5)]
    result = reclaim(5000, seconds=0.05)
    assert result.freed == 2000
    assert result.seconds == pytest.approx(0.06)
    assert [len(p.asked) for p in pools] == [1, 1, 0, 0, 0]
    assert reclaim(5000, hard=True, seconds=0.05).freed == 3000


def test_answers_are_clamped_by_most():
    with register_shrinker("liar", lambda target, hard: 10**18) as handle:
        assert reclaim(1000, most=5000).freed == 5000
        assert reclaim(1000).freed <= engine._machine()
        assert reclaim(10**5000, hard=True).freed <= engine.ROUNDS * engine._machine()
    assert "Shrinker 'liar'" in repr(handle)


def test_parts_of_several_rounds_are_one_entry():
    answers = [10, 20, 0]
    register_shrinker("several", lambda target, hard: answers.pop(0))
    (gave,) = reclaim(1000, hard=True).by
    assert gave == Gave("several", 1000 + 990 + 970, 30, gave.seconds)


def test_sizes_add_up_whatever_is_answered(pool):
    pool("honest", 1000)
    pool("silent", 500, stated=False)
    register_shrinker("none", lambda target, hard: 0, size=lambda: None)
    register_shrinker("nonsense", lambda target, hard: 0, size=lambda: -5)
    assert engine.sizes() == 1000
    register_shrinker("liar", lambda target, hard: 0, size=lambda: 10**5000)
    assert engine.sizes() == 1000 + engine._machine()


def test_a_cache_is_asked_for_a_slice_at_a_time_unless_it_is_hard(pool, monkeypatch):
    worked = [0.0]
    monkeypatch.setattr(shrinkers, "thread_time", lambda: worked[0])
    cache = pool("cache", 100 * MIB, tally={0: 100 * MIB}, takes=lambda: None)
    shrink = cache.shrink

    def paced(target, hard):  # frees 100 MiB in a second of work
        worked[0] += target / (100 * MIB)
        return shrink(target, hard)

    cache.handle.unregister()
    cache.handle = register_shrinker("cache", paced, size=cache.size, tally=cache.tally)
    assert engine.reclaim(MIB).freed == MIB
    pieces = [asked for asked, _ in cache.asked]
    assert pieces[0] == shrinkers.PIECE  # nobody knows yet how fast it is
    assert max(pieces) == pytest.approx(0.002 * 100 * MIB, rel=0.01)
    cache.asked.clear()
    assert engine.reclaim(MIB, hard=True).freed == MIB
    assert cache.asked == [(MIB, True)]


def test_what_is_no_cache_is_asked_in_one_go(pool):
    plain = pool("plain", 100 * MIB)
    engine.reclaim(10 * MIB)
    assert plain.asked == [(10 * MIB, False)]
