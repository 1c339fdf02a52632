"""Shares: what adds up, what is never asked, and who goes first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ebbcache.engine import divide
from ebbcache.shrinkers import Offer

sizes = st.integers(0, 1 << 40)
tallies = st.dictionaries(st.integers(-128, 127), sizes, max_size=8)
stated = st.builds(Offer, sizes)
tallied = st.builds(Offer, st.none() | sizes, tallies)
silent = st.builds(Offer, st.none(), st.none(), st.none() | sizes)
targets = st.integers(0, 1 << 43)


def holds(offer):
    """The bytes that may be asked of `offer`, None if nobody knows."""
    if offer.tally is None:
        return offer.held
    told = sum(offer.tally.values())
    return told if offer.held is None else min(told, offer.held)


@given(targets, st.lists(stated | tallied, max_size=12))
def test_shares_sum_to_the_target_or_to_everything(target, offers):
    shares = divide(target, offers)
    assert len(shares) == len(offers)
    assert sum(shares) == min(target, sum(map(holds, offers)))


@given(targets, st.lists(stated | tallied | silent, max_size=12))
def test_nothing_is_asked_of_more_than_it_holds(target, offers):
    for share, offer in zip(divide(target, offers), offers, strict=True):
        assert share >= 0
        assert holds(offer) is None or share <= holds(offer)


@given(targets, st.lists(stated | tallied | silent, min_size=1, max_size=12), silent)
def test_with_someone_who_states_nothing_the_whole_target_is_asked(target, offers, quiet):
    assert sum(divide(target, [*offers, quiet])) == target


@given(targets, st.lists(tallied, min_size=1, max_size=12))
def test_lower_classes_go_first_across_all(target, offers):
    shares = divide(target, offers)
    # The densest class that anyone must touch to give its share...
    levels = []
    for share, offer in zip(shares, offers, strict=True):
        for density in sorted(offer.tally):
            if share <= 0:
                break
            levels.append(density)
            share -= offer.tally[density]
    waterline = max((level for level in levels if level is not None), default=-129)
    # ... is one under which everyone gives all it has.
    for share, offer in zip(shares, offers, strict=True):
        below = sum(size for density, size in offer.tally.items() if density < waterline)
        assert share >= (below if offer.held is None else min(below, offer.held))


@given(st.lists(st.integers(1, 1 << 30), min_size=1, max_size=8), st.integers(1, 100))
def test_those_without_a_tally_give_in_proportion(held, percent):
    target = sum(held) * percent // 100
    for share, size in zip(divide(target, [Offer(h) for h in held]), held, strict=True):
        assert abs(share - target * size / sum(held)) <= 1


@given(st.lists(tallied, min_size=1, max_size=6), st.integers(0, 1 << 40), targets)
def test_a_stated_size_takes_part_like_one_more_cache(offers, size, target):
    shares = divide(target, [*offers, Offer(size)])
    total = size + sum(map(holds, offers))
    if target < total:
        assert abs(shares[-1] - target * size / total) <= 1 + target / 1e12
    else:
        assert shares[-1] == size


@given(targets, st.lists(tallied | stated | silent, min_size=1, max_size=8))
def test_dividing_changes_nothing_it_was_given(target, offers):
    before = repr(offers)
    assert divide(target, offers) == divide(target, offers)
    assert repr(offers) == before


def test_a_cache_that_nobody_uses_drains_before_one_in_use_gives():
    idle, busy = Offer(1000, {-40: 1000}), Offer(5000, {-5: 1000, 3: 4000})
    assert divide(1000, [busy, idle]) == [0, 1000]
    assert divide(1500, [busy, idle]) == [500, 1000]


def test_within_the_boundary_class_shares_are_pro_rata_to_the_byte():
    assert divide(10, [Offer(30, {0: 30}), Offer(10, {0: 10})]) == [7, 3]
    assert divide(1, [Offer(1, {0: 1})] * 3) in ([1, 0, 0], [0, 1, 0], [0, 0, 1])


def test_an_estimate_above_the_stated_size_is_cut_from_the_densest():
    assert divide(100, [Offer(50, {-1: 40, 5: 40}), Offer(None, {4: 30})]) == [50, 30]
    assert divide(60, [Offer(50, {-1: 40, 5: 40}), Offer(None, {4: 30})]) == [40, 20]


def test_newcomers_count_as_average_and_bad_givers_for_little():
    known = [Offer(1600), Offer(1600)]
    assert divide(300, [*known, Offer(None)]) == [100, 100, 100]
    *_, poor = divide(330, [*known, Offer(None, likely=0)])
    assert poor == 10
    assert divide(9, [Offer(None), Offer(None), Offer(None)]) == [3, 3, 3]
