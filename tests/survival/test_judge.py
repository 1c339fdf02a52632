"""The judge of the proving ground, on time lines made by hand: what it says is what is there to see."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.survival import judge as judging
from benchmarks.survival.judge import judge
from benchmarks.survival.program import Pauses

MIB = 1 << 20
LIMIT = 256 * MIB


class Story:
    """A run of ten seconds, told sample by sample; what is not told is uneventful."""

    def __init__(self, front: str = "ebbcache", **spec: Any) -> None:
        self.records: list[dict[str, Any]] = []
        self.add(
            "spec", 0.0, spec={"id": "1-x", "scenario": 1, "front": front, "seed": 1, "limit": LIMIT} | spec
        )
        self.add("start", 0.1)
        self.sample(0.2, used=16)

    def add(self, kind: str, t: float, **fields: Any) -> None:
        self.records.append({"k": kind, "t": t} | fields)

    def sample(self, t: float, used: float, limit: int = LIMIT) -> None:
        self.add("s", t, usage=int(used * MIB), limit=limit, file=0, kills=0)

    def report(self, t: float, cached: float, own: float = 0, inserted: float = 1000, pid: int = 7) -> None:
        amounts = {"cached": int(cached * MIB), "own": int(own * MIB), "inserted": int(inserted * MIB)}
        self.add("r", t, pid=pid, hits=int(t * 60), misses=int(t * 40), **amounts)

    def end(
        self, t: float = 10.0, *, code: int = 0, kills: int = 0, hung: bool = False, **fields: Any
    ) -> Any:
        pause = {"count": 10, "p999": 1.0, "max": 2.0, "max_cpu": 0.5, "at": 1.0}
        summary = {"hits": 60, "misses": 40, "failed": 0, "errors": [], "on_hit": pause, "on_insert": pause}
        if code == 0:
            self.add("end", t, pid=7, cached=0, **(summary | fields))
        self.add("exit", t, code=code, kills=kills, hung=hung, errors="")
        return judge(sorted(self.records, key=lambda record: record["t"]))


def steady(story: Story, cached: float = 180, since: float = 0.5, until: float = 10.0) -> None:
    for tenth in range(int(since * 10), int(until * 10)):
        story.report(tenth / 10, cached)
        story.sample(tenth / 10, 16 + cached)


class TestFate:
    def test_a_quiet_run_is_good(self) -> None:
        story = Story()
        steady(story)
        verdict = story.end()
        assert verdict.survived
        assert verdict.good
        assert (verdict.kills, verdict.failed, verdict.hung, verdict.wrong) == (0, 0, False, [])
        assert verdict.hit_ratio == 0.6
        assert verdict.seconds == 10.0

    @pytest.mark.parametrize(("code", "kills"), [(-9, 1), (137, 1), (0, 1), (-9, 0)])
    def test_a_kill_is_a_kill_however_it_shows(self, code: int, kills: int) -> None:
        story = Story()
        steady(story)
        verdict = story.end(code=code, kills=kills)
        assert verdict.kills == 1
        assert not verdict.survived
        assert verdict.blamed
        assert not verdict.good

    def test_a_program_that_dies_with_empty_caches_does_not_blame_them(self) -> None:
        story = Story(dies=True)
        story.add("log", 5.0, level="WARNING", text="memory pressure: exhausted (was hard)")
        steady(story, until=5.0)
        steady(story, cached=1, since=5.0)
        verdict = story.end(code=-9, kills=1)
        assert not verdict.survived
        assert not verdict.blamed
        assert verdict.good

    def test_a_program_that_dies_unwarned_is_bad(self) -> None:
        story = Story(dies=True)
        steady(story, cached=1)
        assert not story.end(code=-9, kills=1).good

    def test_failed_calls_and_crashes_are_bad(self) -> None:
        story = Story()
        assert not story.end(failed=1, errors=["LookupError()"]).good
        crashed = Story().end(code=1)
        assert not crashed.good
        assert "exit code 1" in crashed.wrong[0]

    def test_a_run_that_was_ended_for_taking_too_long_hung(self) -> None:
        verdict = Story().end(code=-9, hung=True)
        assert verdict.hung
        assert verdict.kills == 0
        assert not verdict.good

    def test_a_lost_worker_is_seen_though_the_parent_ends_well(self) -> None:
        story = Story()
        steady(story)
        story.add("lost", 5.0, worker=8, code=1)
        verdict = story.end()
        assert not verdict.survived
        assert not verdict.good

    def test_invariants_that_do_not_hold_are_bad_and_so_are_unchecked_ones(self) -> None:
        story = Story(scenario=10)
        story.add("checks", 9.0, wrong=["bytes do not add up"])
        assert story.end().wrong == ["bytes do not add up"]
        assert Story(scenario=10).end().wrong == ["the invariants were not checked"]
        assert Story(scenario=10, front="unbounded").end(code=-9, kills=1).wrong == []

    def test_a_time_line_without_an_end_is_refused(self) -> None:
        with pytest.raises(ValueError, match="exit"):
            judge(Story().records)


class TestShare:
    def test_it_is_cached_over_limit_less_program_less_loads(self) -> None:
        story = Story()
        for tenth in range(5, 100):
            story.sample(tenth / 10, 196)
            story.report(tenth / 10, cached=60, own=120)
        assert story.end().share == pytest.approx(60 / (256 - 16 - 120), abs=0.001)

    def test_it_counts_from_when_the_room_could_have_been_filled(self) -> None:
        story = Story()
        for tenth in range(5, 100):
            story.sample(tenth / 10, 100)
            story.report(tenth / 10, cached=tenth, inserted=4 * tenth if tenth < 60 else 400)
        # From the sixth second on 240 MiB were inserted, and on average 80 MiB were held.
        assert story.end().share == pytest.approx(79.5 / 240, abs=0.01)

    def test_a_lowered_limit_is_less_free_memory(self) -> None:
        story = Story()
        for tenth in range(5, 100):
            story.sample(tenth / 10, 112, limit=128 * MIB)
            story.report(tenth / 10, cached=56)
        assert story.end().share == pytest.approx(0.5, abs=0.001)

    def test_workers_count_together_and_the_dead_no_more(self) -> None:
        story = Story()
        for tenth in range(5, 100):
            story.sample(tenth / 10, 100)
            story.report(tenth / 10, cached=60, pid=1)
            if tenth < 50:
                story.report(tenth / 10, cached=60, pid=2)
        joined = judging.together([r for r in story.records if r["k"] == "r"])
        assert max(r["cached"] for r in joined) == 120 * MIB
        assert joined[-1]["cached"] == 60 * MIB
        assert {r["processes"] for r in joined} == {1, 2}


class TestPressure:
    def test_spells_are_timed_by_what_is_seen_from_outside(self) -> None:
        story = Story()
        for hundredth in range(50, 1000):
            squeezed = 300 <= hundredth < 350 or 600 <= hundredth < 620
            story.sample(hundredth / 100, 250 if squeezed else 200)
        verdict = story.end()
        assert verdict.pressures == 2
        assert verdict.to_target == pytest.approx(0.5, abs=0.02)
        assert verdict.least_headroom == 6 * MIB

    def test_none_is_none(self) -> None:
        story = Story()
        steady(story)
        verdict = story.end()
        assert verdict.to_target is None
        assert verdict.pressures == 0

    def test_one_that_never_ends_lasts_to_the_end(self) -> None:
        story = Story()
        for tenth in range(5, 100):
            story.sample(tenth / 10, 250 if tenth >= 40 else 100)
        assert story.end().to_target == pytest.approx(5.9, abs=0.01)


class TestLoads:
    def burst(self, low: float, after: float) -> Any:
        story = Story()
        steady(story, until=4.0)
        story.add("burst", 4.0, size=100 * MIB)
        for tenth in range(41, 60):
            story.report(tenth / 10, low, own=100)
            story.sample(tenth / 10, 16 + low + 100)
        story.add("dropped", 6.0, size=100 * MIB)
        for tenth in range(61, 100):
            story.report(tenth / 10, low if tenth < 80 else after)
            story.sample(tenth / 10, 16 + after)
        return story.end()

    def test_what_was_given_is_held_against_what_was_needed(self) -> None:
        # 180 + 16 of 256 MiB were used, 16 of the other 60 lie under the mark: of 100, 56 were needed.
        verdict = self.burst(low=124, after=180)
        assert verdict.given == pytest.approx(1.0, abs=0.01)
        assert verdict.lowest == pytest.approx(124 / 180, abs=0.001)

    def test_a_collapse_shows(self) -> None:
        verdict = self.burst(low=12, after=180)
        assert verdict.given == pytest.approx(3.0, abs=0.01)
        assert verdict.lowest == pytest.approx(12 / 180, abs=0.001)

    def test_regrowth_is_timed_from_the_end_of_the_load(self) -> None:
        assert self.burst(low=124, after=175).regrown == 2.0

    def test_caches_that_stay_small_never_regrow(self) -> None:
        assert self.burst(low=124, after=130).regrown == float("inf")

    def test_without_a_load_there_is_nothing_to_regrow_from(self) -> None:
        story = Story()
        steady(story)
        verdict = story.end()
        assert (verdict.regrown, verdict.lowest, verdict.given) == (None, None, None)


class TestPauses:
    def test_quantiles_are_never_under_the_truth_and_hardly_over(self) -> None:
        pauses = Pauses()
        for ns in range(1, 100_001):
            pauses.add(ns)
        assert pauses.longest == 100_000
        for share in (0.5, 0.9, 0.99, 0.999):
            assert share * 0.1 <= pauses.quantile(share) <= min(0.1, share * 0.1 * 1.26)

    def test_the_longest_of_all_streams_is_kept(self) -> None:
        one, other = Pauses(), Pauses()
        one.add(5_000_000)
        for _ in range(9_999):
            other.add(1_000)
        other.merge(one)
        assert other.longest == 5_000_000
        assert other.quantile(1.0) == 5.0
        assert other.quantile(0.999) < 0.0013

    def test_nothing_is_nothing(self) -> None:
        assert Pauses().quantile(0.999) == 0.0
