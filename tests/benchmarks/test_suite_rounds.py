"""Interleaved rounds: everybody gets the same keys and as many turns, and ratios are of the same round."""

from __future__ import annotations

from benchmarks.latency import GROUPS
from benchmarks.latency_rows import Scope, calls, mapping_rows
from benchmarks.peers import mappings
from benchmarks.rounds import Keys, Ratio, Row, Run, loop
from benchmarks.section import Verdict


def recording(seen: list[tuple[str, Keys]], name: str, nanoseconds: float) -> Run:
    def run(keys: Keys) -> float:
        seen.append((name, keys))
        return nanoseconds

    return run


def test_contenders_take_turns_on_the_same_keys() -> None:
    seen: list[tuple[str, Keys]] = []
    numbers = iter(range(100))
    runs = {name: recording(seen, name, 1.0) for name in "abc"}
    times = Row("row", "a", runs, lambda: [next(numbers)]).measure(3)
    assert {name: len(each) for name, each in times.items()} == {"a": 3, "b": 3, "c": 3}
    assert [name for name, _ in seen] == list("abc" + "abc" + "bca" + "cab")
    rounds = [seen[n : n + 3] for n in range(0, 12, 3)]
    assert all(len({key for _, [key] in each}) == 1 for each in rounds)


def test_fresh_keys_are_drawn_for_each_run() -> None:
    seen: list[tuple[str, Keys]] = []
    numbers = iter(range(100))
    runs = {name: recording(seen, name, 1.0) for name in "ab"}
    Row("row", "a", runs, lambda: [next(numbers)], fresh=True).measure(4)
    drawn = [key for _, [key] in seen]
    assert len(set(drawn)) == len(drawn) == 10


def test_ratios_are_taken_within_rounds() -> None:
    times = {"base": [1.0, 10.0, 100.0], "twice": [2.0, 20.0, 200.0]}
    assert Ratio.of(times, "twice", "base") == Ratio(2.0, 2.0, 2.0)
    assert Ratio.among([3.0]) == Ratio(3.0, 3.0, 3.0)


def test_a_loop_does_its_text_for_each_key_and_divides_by_their_number() -> None:
    ticks = iter([0, 600])
    got: list[object] = []
    run = loop("for key in keys: append(key)", lambda: next(ticks), append=got.append)
    assert run([1, 2, 3]) == 200.0
    assert got == [1, 2, 3]


def test_verdicts_know_who_is_behind() -> None:
    assert Verdict("hit", 12.0, "dict", 10.0).behind == 1.2
    assert not Verdict("hit", 12.0, "dict", 10.0).won
    assert Verdict("hit ratio", 0.5, "lru", 0.4, better="higher").won
    assert Verdict("hit ratio", 0.2, "lru", 0.4, better="higher").behind == 2.0
    assert Verdict("kills", 0.0, "target", 0.0).won
    assert Verdict("kills", 1.0, "target", 0.0).behind == float("inf")


def test_every_contender_of_every_policy_holds_what_it_is_given() -> None:
    for policy in ("lru", "lfu", "ttl", "density"):
        for name, each in mappings(policy, 1000).items():
            each.fill([2001, 2002], [2001, 2002])
            got = each.get(2001)
            assert (got[0] if isinstance(got, tuple) else got) == 2001, (policy, name)


def test_rows_measure_all_operations_without_losing_entries() -> None:
    scope = Scope(many=1000, wanted=lambda name: name in ("LRUCache", "functools", "cached"))
    for group in (calls(scope), mapping_rows(scope, 1000)):
        for row in group:
            times = row.measure(1)
            assert row.base in times, row.title
            assert all(len(each) == 1 and each[0] >= 0 for each in times.values()), row.title
    assert set(GROUPS) >= {"calls", "1,000 entries", "1,000,000 entries", "inserts", "ttl"}
