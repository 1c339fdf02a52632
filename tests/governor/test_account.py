"""The estimates that tell cached, others and retained apart, on injected numbers and times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebbcache.governor.account import MIB, Account, Marks


def look(account: Account, *, others: int, cached: int, kept: int = 0, now: float) -> None:
    account.observe(others + cached + kept, cached, now)


def test_the_first_look_takes_everything_uncached_for_others() -> None:
    account = Account()
    look(account, others=70 * MIB, cached=30 * MIB, now=0.0)
    assert (account.others, account.peak, account.retained) == (70 * MIB, 70 * MIB, 0)


def test_freed_bytes_that_come_back_are_not_retained() -> None:
    account = Account()
    look(account, others=70 * MIB, cached=30 * MIB, now=0.0)
    look(account, others=70 * MIB, cached=10 * MIB, now=0.1)
    assert account.retained == 0
    assert account.others == 70 * MIB


def test_freed_bytes_that_stay_are_retained_and_not_taken_for_others() -> None:
    account = Account()
    look(account, others=70 * MIB, cached=30 * MIB, now=0.0)
    look(account, others=70 * MIB, cached=10 * MIB, kept=20 * MIB, now=0.1)
    assert account.retained == pytest.approx(20 * MIB, rel=0.01)
    assert account.others == pytest.approx(70 * MIB, rel=0.01)


def test_inserts_that_reuse_retained_memory_use_it_up() -> None:
    account = Account()
    look(account, others=0, cached=30 * MIB, now=0.0)
    look(account, others=0, cached=10 * MIB, kept=20 * MIB, now=0.1)
    look(account, others=0, cached=25 * MIB, kept=5 * MIB, now=0.2)
    assert account.retained == pytest.approx(5 * MIB, rel=0.02)


def test_retained_memory_is_forgotten_towards_others() -> None:
    account = Account()
    look(account, others=0, cached=30 * MIB, now=0.0)
    for second in range(1, 601):
        look(account, others=0, cached=10 * MIB, kept=20 * MIB, now=float(second))
    assert account.retained < MIB
    assert account.others > 19 * MIB


def test_a_peak_of_others_is_held_and_then_decays_to_the_present() -> None:
    account = Account()
    look(account, others=20 * MIB, cached=0, now=0.0)
    look(account, others=80 * MIB, cached=0, now=1.0)
    peaks = []
    for tick in range(2, 100):
        look(account, others=20 * MIB, cached=0, now=float(tick))
        peaks.append(account.peak)
    assert peaks[0] == 80 * MIB
    assert sorted(peaks, reverse=True) == peaks
    assert peaks[14] == pytest.approx(50 * MIB, rel=0.1)  # held for 5 s, then half is gone after 10 more
    assert peaks[-1] < 21 * MIB


def test_the_largest_growth_of_others_between_two_looks_is_expected_again_for_minutes() -> None:
    account = Account()
    look(account, others=20 * MIB, cached=0, now=0.0)
    look(account, others=80 * MIB, cached=0, now=0.1)
    assert account.burst == 60 * MIB
    assert account.expected == 80 * MIB
    look(account, others=30 * MIB, cached=0, now=60.0)
    look(account, others=30 * MIB, cached=0, now=90.0)
    assert account.burst > 30 * MIB
    assert account.expected == account.floor + account.burst
    look(account, others=30 * MIB, cached=0, now=1200.0)
    assert account.burst < MIB


def test_at_the_top_of_a_burst_no_second_one_is_expected_on_top_of_it() -> None:
    account = Account()
    look(account, others=20 * MIB, cached=0, now=0.0)
    look(account, others=80 * MIB, cached=0, now=0.1)
    look(account, others=80 * MIB, cached=0, now=1.0)
    assert account.expected == 80 * MIB
    for second in range(2, 60):  # but what stays is no burst
        look(account, others=80 * MIB, cached=0, now=float(second))
    assert account.expected > 110 * MIB


def test_what_malloc_keeps_of_a_burst_for_the_next_one_is_not_expected_twice() -> None:
    account = Account()
    look(account, others=20 * MIB, cached=0, now=0.0)
    look(account, others=80 * MIB, cached=0, now=0.1)
    for second in range(1, 60):  # the burst is over, but malloc did not return its memory
        account.observe(80 * MIB, 0, float(second), idle=60 * MIB)
    assert account.floor == 20 * MIB
    assert 50 * MIB < account.expected <= 80 * MIB


def test_what_a_trim_returns_comes_off_what_was_retained_and_is_no_burst_afterwards() -> None:
    account = Account()
    look(account, others=20 * MIB, cached=100 * MIB, now=0.0)
    look(account, others=20 * MIB, cached=40 * MIB, kept=60 * MIB, now=0.1)
    assert account.retained > 59 * MIB
    account.observe(62 * MIB, 40 * MIB, 0.2, trimmed=True)
    assert account.retained < 3 * MIB
    assert account.others == pytest.approx(20 * MIB, abs=2 * MIB)
    look(account, others=22 * MIB, cached=40 * MIB, now=0.3)
    assert account.burst < 4 * MIB


def test_what_is_mapped_by_itself_does_not_take_from_what_malloc_retains() -> None:
    account = Account()
    look(account, others=20 * MIB, cached=100 * MIB, now=0.0)
    look(account, others=20 * MIB, cached=90 * MIB, kept=10 * MIB, now=0.1)
    account.observe(130 * MIB, 100 * MIB, 0.2, mapped=True)  # large values came in, and usage grew
    assert account.retained == pytest.approx(10 * MIB, rel=0.01)
    assert account.burst < MIB
    account.observe(130 * MIB, 104 * MIB, 0.3, mapped=True)  # small ones, into what was retained
    assert account.retained == pytest.approx(6 * MIB, rel=0.01)
    assert account.burst < MIB


def test_room_for_an_unknown_burst_is_left_as_long_as_nothing_can_be_given_back() -> None:
    account = Account()
    look(account, others=56 * MIB, cached=150 * MIB, now=0.0)
    burst = account.unknown(256 * MIB)
    assert burst == pytest.approx(0.32 * 200 * MIB, abs=1)
    assert account.room_for_first(burst) == burst
    for _ in range(50):  # malloc gives it back when trimmed, which takes a while
        account.returned(10 * MIB, 0, 10 * MIB)
    slow = account.room_for_first(burst)
    assert slow == pytest.approx(0.04 * 1024 * MIB, rel=0.01)
    assert account.room_for(burst) == pytest.approx(burst, abs=1)
    for _ in range(50):  # it comes back when freed: all it takes is to look
        account.returned(10 * MIB, 10 * MIB, 10 * MIB)
    assert account.room_for_first(burst) == pytest.approx(0.02 * 1024 * MIB, rel=0.01)
    assert account.room_for_first(MIB) == pytest.approx(MIB, rel=0.01)


def test_for_a_first_burst_up_to_twice_its_size_may_go_but_no_more_than_there_is() -> None:
    account = Account()
    look(account, others=56 * MIB, cached=150 * MIB, now=0.0)
    burst = account.unknown(256 * MIB)
    for _ in range(50):  # half of it comes back: what is freed twice over comes back in full
        account.returned(10 * MIB, 5 * MIB, 5 * MIB)
    assert account.room_for_first(burst) == pytest.approx(0.02 * 1024 * MIB, rel=0.01)
    for _ in range(50):  # a tenth of it: what cannot be had is left free
        account.returned(10 * MIB, MIB, MIB)
    assert account.room_for_first(burst) == pytest.approx(burst - 15 * MIB + 13 * MIB, rel=0.1)
    look(account, others=56 * MIB, cached=MIB, now=0.1)  # nor more than all that caches hold
    assert account.room_for_first(burst) == pytest.approx(burst, rel=0.02)


def test_growth_beyond_all_before_is_taken_for_the_unknown_burst_until_it_is_over() -> None:
    account = Account()
    account.observe(20 * MIB, 0, 0.0, limit=256 * MIB)
    for _ in range(50):
        account.returned(10 * MIB, 0, 10 * MIB)  # when trimmed
    account.observe(32 * MIB, 0, 0.1, limit=256 * MIB)
    assert account.going_on > 36 * MIB  # and not the 12 that it grew by so far
    account.observe(32 * MIB, 0, 2.0, limit=256 * MIB)
    account.observe(32 * MIB, 0, 4.0, limit=256 * MIB)  # it was all there was
    account.observe(42 * MIB, 0, 4.1, limit=256 * MIB)
    assert 8 * MIB < account.going_on < 12 * MIB


def test_growth_that_was_announced_is_no_burst() -> None:
    account = Account()
    look(account, others=20 * MIB, cached=0, now=0.0)
    account.observe(80 * MIB, 0, 0.1, announced=50 * MIB)
    assert account.burst == 10 * MIB


def test_growth_of_caches_is_no_burst_of_others() -> None:
    account = Account()
    look(account, others=20 * MIB, cached=0, now=0.0)
    look(account, others=20 * MIB, cached=60 * MIB, now=0.1)
    assert account.burst == 0


def test_a_claim_is_believed_until_it_shows_or_its_time_is_up() -> None:
    account = Account()
    look(account, others=50 * MIB, cached=0, now=0.0)
    account.claim(20 * MIB, 0.0)
    assert account.credit == 20 * MIB
    look(account, others=38 * MIB, cached=0, now=0.1)
    assert account.in_flight == 8 * MIB
    look(account, others=38 * MIB, cached=0, now=2.0)
    assert account.in_flight == 0


def test_claims_that_never_show_are_believed_less_and_less() -> None:
    account = Account()
    believed = []
    for second in range(0, 20, 2):
        look(account, others=50 * MIB, cached=0, now=float(second))
        account.claim(20 * MIB, float(second))
        believed.append(account.in_flight)
    assert believed[0] == 20 * MIB
    assert believed[-1] < MIB


def test_the_return_rate_follows_what_the_kernel_gets_back() -> None:
    account = Account()
    for _ in range(40):
        account.returned(10 * MIB, 2 * MIB, 2 * MIB)
    assert account.return_rate == pytest.approx(0.2, abs=0.01)
    for _ in range(40):  # with malloc still holding on to it, nothing can be said
        account.returned(10 * MIB, 0, None)
    assert account.return_rate == pytest.approx(0.2, abs=0.01)


@given(limit=st.integers(0, 1 << 50))
def test_marks_are_ordered_and_leave_caches_most(limit: int) -> None:
    marks = Marks.of(limit)
    assert 0 <= marks.min <= marks.low <= marks.high <= limit // 10


@given(
    st.lists(
        st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.floats(0, 1000)),
        min_size=1,
        max_size=50,
    )
)
def test_whatever_is_read_no_estimate_goes_negative_or_over_usage(
    looks: list[tuple[int, int, float]],
) -> None:
    account = Account()
    now = 0.0
    for usage, cached, elapsed in looks:
        now += elapsed
        account.observe(usage, cached, now)
        assert 0 <= account.others <= max(0, usage - cached)
        assert 0 <= account.retained <= max(0, usage - cached)
        assert account.peak >= account.others >= account.floor >= 0
        assert account.expected >= account.others
        assert account.burst >= 0


def test_the_later_growth_is_answered_the_more_is_left_free_for_it() -> None:
    account = Account()
    account.observe(40 * MIB, 0, 0.0, limit=1024 * MIB)
    account.returned(MIB, MIB, MIB)  # all of it comes back at once
    soon = account.room_for(500 * MIB)
    account.reaction *= 2
    assert account.room_for(500 * MIB) == 2 * soon
    assert account.room_for(MIB) == MIB
