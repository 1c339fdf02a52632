"""Dividing a budget over caches, and a day of changing load: both checked by hand on tiny loads."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest

from benchmarks.section import Options
from benchmarks.traces import arbitration, selfsizing
from benchmarks.traces.arbitration import Load, by_engine, by_parts, by_tail_age, functions, missed, oracle
from benchmarks.traces.loading import OWN, Trace, names, save
from ebbcache.shrinkers import registered

BOTH = {"tallied": True, "in proportion": False}


def two(requests: list[tuple[int, int]], cost: float = 1.0) -> Load:
    """Two caches whose objects take 10 bytes; a miss of the first costs `cost`, of the second 1."""
    return Load(requests, [[10] * 100, [10] * 100], [[cost] * 100, [1.0] * 100])


class TestLoads:
    def test_what_a_load_comes_to(self) -> None:
        work = two([(0, 1), (1, 1), (0, 1), (1, 2)], cost=3.0)
        assert work.working_set == 30
        assert work.cost == 8.0

    def test_functions_of_a_trace(self) -> None:
        trace = Trace("t", [0, 1, 0], range(3), [5, 6], costs=[1_000_000, 2], caches=[7, 3])
        work = functions(trace)
        assert work.requests == [(1, 0), (0, 1), (1, 0)]
        assert work.costs[1][0] == 1.0
        with pytest.raises(ValueError, match="tells no caches"):
            functions(Trace("t", [0], range(1), [5]))

    def test_the_mix_is_spread_evenly(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        save(tmp_path / "long.npz", [(n, n, 3) for n in range(6)])
        save(tmp_path / "short.npz", [(n, n, 3) for n in range(2)])
        monkeypatch.setattr(arbitration, "MIX", {"long": (0, 0.5, 4), "short": (7, 0.25, 100)})
        work = arbitration.mix(tmp_path)
        assert [at for at, _ in work.requests] == [0, 1, 0, 0, 1, 0]
        assert (work.sizes[0][0], work.sizes[1][0]) == (3, 7)
        assert (work.costs[0][0], work.costs[1][0]) == (0.5, 0.25)


class TestDivisions:
    @pytest.mark.parametrize("tallied", BOTH.values(), ids=BOTH)
    def test_the_engine_keeps_to_the_budget(self, tallied: bool) -> None:
        before = len(registered())
        division = by_engine(2, tallied=tallied)
        assert len(registered()) == before + 2
        division.resize(100)
        for key in range(50):
            division.put(key % 2, key, 10, 1.0)
        kept = [division.get(key % 2, key) for key in range(50)]
        assert 5 <= sum(value is not None for value in kept) <= 10
        division.put(0, 99, 101, 1.0)
        assert division.get(0, 99) is None, "what is larger than the budget is not kept"
        division.resize(30)
        assert sum(division.get(key % 2, key) is not None for key in range(50)) <= 3
        division.close()
        assert len(registered()) == before

    def test_parts_are_fixed(self) -> None:
        division = by_parts([0.75, 0.25])
        division.resize(80)
        for key in range(20):
            division.put(0, key, 10, 1.0)
            division.put(1, key, 10, 1.0)
        held = [sum(division.get(at, key) is not None for key in range(20)) for at in (0, 1)]
        assert held == [6, 2]
        division.resize(40)
        held = [sum(division.get(at, key) is not None for key in range(20)) for at in (0, 1)]
        assert held == [3, 1]

    def test_the_oldest_tail_gives(self) -> None:
        division = by_tail_age()
        division.resize(30)
        for at, key in ((0, 1), (1, 1), (0, 2)):
            division.put(at, key, 10, 1.0)
        assert division.get(0, 1) == 10
        division.put(1, 2, 10, 1.0)
        assert division.get(1, 1) is None
        assert division.get(0, 1) == 10
        division.resize(10)
        assert division.get(0, 1) == 10

    def test_an_oracle_for_many_offers_halves_of_halves(self) -> None:
        requests = [(n % 9, n // 9 % (1 + n % 9 // 8)) for n in range(180)]  # the last of 9 asks for two
        work = Load(requests, [[10] * 2] * 9, [[1.0] * 2] * 9)
        parts = oracle(work, 160)
        assert sum(parts) <= 1.0
        assert missed(work, partial(by_parts, parts), 160, (1.0,)) == pytest.approx(10 / 180)
        assert missed(work, partial(by_parts, [1 / 9] * 9), 160, (1.0,)) > 20 / 180

    def test_the_oracle_finds_the_division_by_hand(self) -> None:
        # The first cache goes round 3 objects, the second asks for one all the time.
        requests = [(0, n % 3) for n in range(60)] + [(1, 5) for n in range(30)]
        assert oracle(two(requests), 40) == [0.75, 0.25]


class TestMissed:
    def test_by_hand(self) -> None:
        # Each has room for one object: 0 is missed once, then 1 and 2 turn each other out.
        work = two([(0, 0), (0, 0), (1, 1), (1, 2), (1, 1)], cost=4.0)
        assert missed(work, partial(by_parts, [0.5, 0.5]), 20, (1.0,)) == pytest.approx(7 / 11)

    def test_a_budget_changes_on_the_way(self) -> None:
        # Room for 4 objects, then for 2, then for 4 again: a loop over 3 hits in the first and last third.
        work = Load([(0, n % 3) for n in range(30)], [[10] * 3], [[1.0] * 3])
        changing = missed(work, partial(by_parts, [1.0]), 40, (1.0, 0.5, 1.0))
        assert 4 / 30 < changing <= 14 / 30
        assert missed(work, partial(by_parts, [1.0]), 40, (1.0,)) == 3 / 30

    def test_a_cache_of_what_never_comes_back_is_seen_through(self) -> None:
        # The first asks for each object twice, at once, and never again; the second for 300 all the time.
        draw = random.Random(1).randrange
        requests = []
        for n in range(4000):
            requests += [(0, n), (0, n), (1, draw(300))]
        work = Load(requests, [[10] * 4000, [10] * 300], [[1.0] * 4000, [1.0] * 300])
        ways = [
            partial(by_engine, 2, tallied=True),
            partial(by_engine, 2, tallied=False),
            partial(by_parts, [0.5, 0.5]),
            by_tail_age,
        ]
        seen, *blind = (missed(work, way, 3000, (1.0,)) for way in ways)
        assert seen < 0.8 * min(blind)

    def test_a_part_and_what_is_said_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = Trace(
            OWN, [n * n % 97 for n in range(500)], range(500), [7] * 97, [3] * 97, [0, 1] * 48 + [2]
        )
        monkeypatch.setattr(arbitration, "load", lambda name: made)
        answer = arbitration.measure(OWN, "10 %", None, 400)
        assert (answer["caches"], answer["requests"]) == (3, 400)
        for budget in ("the same", "changing"):
            assert set(answer[budget]) == {"waterline", "static", "proportional", "global LRU"}
            assert all(0 < share <= 1 for share in answer[budget].values())
        verdicts = arbitration.verdicts({f"{OWN} 10 %": answer})
        assert {verdict.against for verdict in verdicts} == {"static", "proportional", "global LRU"}
        assert f"| {OWN} 10 % | changing |" in arbitration.report({f"{OWN} 10 %": answer})

    def test_a_mix_needs_its_traces(self, tmp_path: Path) -> None:
        assert all(name.startswith(OWN) for name in arbitration.parts(Options(traces=tmp_path)))
        assert names(tmp_path) == [OWN]
        with pytest.raises(ValueError, match="folder"):
            arbitration.measure("mix", "1 %", None)


class TestDay:
    DAY = 1800.0

    def loop(self) -> Trace:
        """100 objects of 1.6 MB, or with `SCALE` a hundredth of the machine, 20 times over."""
        size = selfsizing.LIMIT // 100 // selfsizing.SCALE
        return Trace("loop", [n % 100 for n in range(2000)], range(2000), [size] * 100, costs=[10] * 100)

    def test_others_stay_within_the_machine(self) -> None:
        loads = [selfsizing.others(second) for second in range(0, 1800, 60)]
        assert 0.19 * selfsizing.LIMIT < min(loads) < max(loads) <= 0.85 * selfsizing.LIMIT

    def test_a_cache_that_is_too_large_is_killed(self) -> None:
        small, large = (selfsizing.fixed(self.loop(), share, self.DAY) for share in (0.1, 0.9))
        assert small["killed"] == 0 < large["killed"]
        assert 0 <= small["saved"] < 1

    def test_one_that_sizes_itself_is_not(self) -> None:
        answer = selfsizing.itself(self.loop(), self.DAY)
        assert answer["killed"] == 0
        assert 0 < answer["saved"] < 1
        assert 0 < answer["least"] <= answer["mean"] <= answer["most"] < 0.8 * selfsizing.LIMIT

    def test_what_is_said(self) -> None:
        results = {"itself": {"saved": 0.6, "killed": 0, "least": 1, "mean": 2, "most": 3}}
        results |= {"0.1": {"saved": 0.5, "killed": 0}, "0.9": {"saved": 0.7, "killed": 9}}
        said = {verdict.against: verdict.won for verdict in selfsizing.verdicts(results)}
        assert said == {"10% fixed": True, "90% fixed": False}
        assert "sizes itself" in selfsizing.report(results)
        assert {"itself"} <= selfsizing.parts(Options(quick=True)).keys()
