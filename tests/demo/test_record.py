"""The time line keeps totals, and a ratio is that of the last two seconds."""

from __future__ import annotations

from ebbcache.demo.record import WINDOW, Counts, Recorder, Standing

STANDING = Standing(limit=1000, usage=700, cached=300, neighbour=250)


def test_a_ratio_is_none_until_something_was_requested() -> None:
    sample = Recorder().add(0.5, STANDING, Counts())
    assert (sample.ratio, sample.lru_ratio, sample.same_ratio) == (None, None, None)


def test_a_ratio_looks_back_over_the_window_alone() -> None:
    recorder = Recorder()
    recorder.add(1.0, STANDING, Counts(100, 0, 0, 0))
    recorder.add(1.0 + WINDOW, STANDING, Counts(200, 50, 20, 30))
    sample = recorder.add(1.0 + 2 * WINDOW, STANDING, Counts(300, 140, 40, 80))
    assert (sample.ratio, sample.lru_ratio, sample.same_ratio) == (0.9, 0.2, 0.5)


def test_the_first_samples_count_from_the_start() -> None:
    assert Recorder().add(0.1, STANDING, Counts(10, 5, 0, 0)).ratio == 0.5


def test_the_program_itself_is_what_neither_cache_nor_neighbour_use() -> None:
    sample = Recorder().add(0.1, STANDING, Counts())
    assert sample.others == 150
    assert sample.as_dict()["others"] == 400


def test_more_cached_than_used_is_no_negative_program() -> None:
    assert Recorder().add(0.1, Standing(1000, 100, 300, 0), Counts()).others == 0
