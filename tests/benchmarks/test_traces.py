"""Traces: reading and writing them, replaying them, and the bounds, checked by hand on tiny ones."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from benchmarks.section import Options
from benchmarks.traces import convert, hits, offline, oracle
from benchmarks.traces.contenders import OURS, Room, contenders, ours
from benchmarks.traces.loading import OWN, Trace, load, names, save
from benchmarks.traces.replay import SIZES, Missed, Pair, injected_clock, replay
from ebbcache.caches import DensityCache, LRUCache
from ebbcache.clock import clock


def trace(keys: list[int], sizes: list[int], costs: list[int] | None = None) -> Trace:
    return Trace("tiny", keys, range(len(keys)), sizes, costs)


class TestLoading:
    def test_the_projects_own_trace(self) -> None:
        own = load(OWN)
        assert (len(own.keys), len(own.sizes)) == (1_534_690, 123_631)
        assert own.caches is not None
        assert len(set(own.caches)) == 55
        assert own.costs is not None
        assert own.working_set == 154_070_953
        assert not own.unit_sized

    def test_what_is_saved_is_loaded(self, tmp_path: Path) -> None:
        requests = [(5, "a", 10), (6, "b", 20), (6, "a", 10), (9, "a", 11)]
        saved = save(tmp_path / "mine.npz", requests, {"a": 7, "b": 8})
        loaded = load("mine", tmp_path)
        for one in (saved, loaded):
            assert list(one.keys) == [0, 1, 0, 2]  # another size is another object
            assert list(one.sizes) == [10, 20, 11]
            assert list(one.costs or ()) == [7, 8, 7]
        assert [time - loaded.times[0] for time in loaded.times] == [0, 1, 1, 4]
        assert names(tmp_path) == [OWN, "mine"]

    def test_numpy_reads_what_is_saved(self, tmp_path: Path) -> None:
        numpy = pytest.importorskip("numpy")
        save(tmp_path / "mine.npz", [(0, "a", 3), (1, "b", 4)])
        with numpy.load(tmp_path / "mine.npz") as columns:
            assert columns["key"].tolist() == [0, 1]
            assert columns["obj_size"].tolist() == [3, 4]

    def test_what_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            load("tw52")
        with pytest.raises(FileNotFoundError):
            load("tw52", tmp_path)
        with pytest.raises(ValueError, match="folder"):
            names(tmp_path / "none")


class TestConverting:
    def test_twitter(self) -> None:
        lines = [
            b"100,key,3,7,1,get,0\n",
            b"100,key,3,7,1,set,60\n",
            b"101,with,comma,10,0,1,gets,0\n",
        ]
        assert list(convert.twitter(lines)) == [(0, b"key", 10), (1, b"with,comma", 10)]

    def test_lines_and_longs(self) -> None:
        assert list(convert.keys([b"* note\n", b"7\n", b"8 x\n", b"\n"])) == [(0, b"7", 1), (1, b"8", 1)]
        assert [key for _, key, _ in convert.longs(io.BytesIO(bytes(7) + b"\x05" + bytes(8)))] == [5, 0]
        with pytest.raises(ValueError, match="64-bit"):
            list(convert.longs(io.BytesIO(b"abc")))


class TestReplaying:
    def test_lru_by_hand(self) -> None:
        # Room for 3 bytes: 0 and 1 fit; 2 (of 2 bytes) turns out 0; 0 turns out 1; 1 turns out 2.
        tiny = trace([0, 1, 2, 1, 0, 2], [1, 1, 2], costs=[1, 2, 4])
        missed = replay(tiny, lambda: ours(LRUCache, Room(3, 2)))
        # missed: 0, 1, 2, then 1 is there, 0 turns out 2, and 2 turns out 1
        assert missed == Missed(5 / 6, 7 / 8, 12 / 14)

    def test_an_object_larger_than_the_cache_is_always_missed(self) -> None:
        tiny = trace([0, 1, 0, 1, 1], [5, 1])
        for kind in OURS.values():
            assert replay(tiny, lambda kind=kind: ours(kind, Room(4, 4))).objects == 3 / 5  # type: ignore[misc]

    def test_everyone_keeps_to_its_room(self) -> None:
        loop = trace(list(range(50)) * 4, [1] * 50)
        least = offline.belady(loop, 10)
        for name, make in contenders(Room(10, 10)).items():
            assert least <= replay(loop, make).objects <= 1.0, name

    def test_functools_counts_entries(self) -> None:
        make = contenders(Room(2, 2), only={"functools"})["functools"]
        assert replay(trace([0, 1, 0, 2, 1], [1, 1, 1]), make).objects == 4 / 5

    def test_the_clock_tells_requests_and_is_given_back(self) -> None:
        timer = clock.timer
        told: list[float] = []
        with injected_clock() as time:
            time.request = 2000
            told.append(clock.tick())
        assert told == [2.0]
        assert clock.timer is timer

    def test_a_replay_is_the_same_twice(self) -> None:
        own = load(OWN).head(20_000)
        room = Room(own.working_set // 100, 0)
        first, second = (replay(own, lambda: ours(DensityCache, room)) for _ in range(2))
        assert first == second


class TestBounds:
    def test_next_uses(self) -> None:
        assert offline.next_uses([3, 4, 3]) == [2, offline.NEVER, offline.NEVER]

    def test_belady_by_hand(self) -> None:
        # 0 1 2 0 1 3 0 1 with room for 2: 2 and 3 are never kept, so only 4 first requests are missed.
        assert offline.belady(trace([0, 1, 2, 0, 1, 3, 0, 1], [1] * 4), 2) == 4 / 8

    def test_the_bound_by_hand(self) -> None:
        # Two hits are possible: 1's needs 1 byte for 1 request, 0's needs 8 bytes for 3. All the room there
        # ever is are 4 * 8 bytes, enough for both; of 4 * 4 bytes 0 gets nothing, as it never fits.
        tiny = trace([0, 1, 1, 0], [8, 1])
        assert offline.bound(tiny, 8) == 2 / 4
        assert offline.bound(tiny, 4) == 3 / 4
        assert offline.bound(tiny, 4, [3.0, 1.0]) == 7 / 8

    def test_floor(self) -> None:
        assert offline.floor(trace([0, 1, 1, 0], [1, 1])) == 2 / 4
        assert offline.floor(trace([0, 1, 1, 0], [1, 1]), [3.0, 1.0]) == 4 / 8

    @pytest.mark.parametrize("share", SIZES.values())
    def test_nobody_is_better_than_the_bounds(self, share: float) -> None:
        own = load(OWN).head(20_000)
        room = Room(int(own.working_set * share), 10)
        least = offline.bound(own, room.nbytes)
        assert offline.floor(own) <= least
        for kind in OURS.values():
            assert replay(own, lambda kind=kind: ours(kind, room)).objects >= least  # type: ignore[misc]


class TestOracle:
    @pytest.mark.parametrize("share", [0.001, 0.01, 0.1])
    def test_our_lru_misses_what_its_lru_misses(self, share: float) -> None:
        pytest.importorskip("libcachesim", reason="the independent simulator is optional")
        own = load(OWN).head(200_000)
        room = Room(int(own.working_set * share), 0)
        missed: list[int] = []
        with injected_clock() as time:
            get, put = ours(LRUCache, room)

            def noted(key: int) -> bool | None:
                if get(key) is not None:
                    return True
                missed.append(time.request)
                return None

            for at, key in enumerate(own.keys):
                time.request = at
                if noted(key) is None:
                    put(key, own.sizes[key], 0.0)
        assert missed == oracle.misses(own, room.nbytes, "LRU")

    def test_what_is_too_small_for_a_policy_is_not_asked(self) -> None:
        assert not oracle.can(trace([0, 1], [1, 1]), 1, "S3-FIFO")
        assert oracle.can(trace([0, 1], [1, 1]), 1, "LRU")


class TestSection:
    def test_a_part_and_what_is_said_of_it(self, tmp_path: Path) -> None:
        save(tmp_path / "loop.npz", [(n, n % 300, 1 + n % 2) for n in range(3000)])
        parts = hits.parts(Options(traces=tmp_path))
        assert {"loop 0.1 %", "loop 10 %", "loop bursts", f"{OWN} 1 %"} <= parts.keys()
        results = {name: parts[name].run() for name in ("loop 10 %", "loop bursts")}
        text = hits.report(results)
        assert "### loop" in text
        assert "| DensityCache |" in text
        assert {"target", "functools"} <= {verdict.against for verdict in hits.verdicts(results)}

    def test_quick_is_the_own_trace_alone(self, tmp_path: Path) -> None:
        save(tmp_path / "loop.npz", [(0, 0, 1)])
        assert all(name.startswith(OWN) for name in hits.parts(Options(quick=True, traces=tmp_path)))

    def test_nothing_measured_is_nothing_said(self) -> None:
        assert hits.verdicts({}) == []
        assert isinstance(hits.report({}), str)


def test_a_pair_is_a_contender() -> None:
    pair = Pair(lambda key: None, lambda key, size, cost: None)
    assert replay(trace([0, 0], [1]), lambda: pair).objects == 1.0
