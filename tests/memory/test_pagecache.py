"""What memory says a moment old and what it asks at once: page cache, and ceilings that are far away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ebbcache.memory import Memory
from ebbcache.memory.files import Kept
from ebbcache.memory.pagecache import FRESH, PageCache

MIB = 1 << 20
LIMIT = 256 * MIB


@pytest.fixture
def stat(tmp_path: Path) -> Path:
    path = tmp_path / "memory.stat"
    path.write_text(str(40 * MIB))
    return path


@pytest.fixture
def cache(stat: Path) -> PageCache:
    return PageCache(Kept(str(stat)), lambda text: int(text))


def test_while_usage_stands_still_page_cache_may_be_a_moment_old(stat: Path, cache: PageCache) -> None:
    assert cache.less(200 * MIB, LIMIT, 1.0) == 160 * MIB
    stat.write_text(str(10 * MIB))
    assert cache.less(200 * MIB, LIMIT, 1.0 + FRESH / 2) == 160 * MIB
    assert cache.less(200 * MIB, LIMIT, 1.0 + 1.1 * FRESH) == 190 * MIB


def test_whoever_names_no_time_is_told_what_is(stat: Path, cache: PageCache) -> None:
    assert cache.less(200 * MIB, LIMIT, 1.0) == 160 * MIB
    stat.write_text(str(10 * MIB))
    assert cache.less(200 * MIB, LIMIT, None) == 190 * MIB


@pytest.mark.parametrize("usage", [198 * MIB, 202 * MIB])
def test_usage_that_moved_is_told_apart_at_once(stat: Path, cache: PageCache, usage: int) -> None:
    cache.less(200 * MIB, LIMIT, 1.0)
    stat.write_text(str(44 * MIB))  # files were read, say
    assert cache.less(usage, LIMIT, 1.0) == usage - 44 * MIB


def test_with_little_left_nothing_is_old(stat: Path, cache: PageCache) -> None:
    stat.write_text(str(5 * MIB))
    assert cache.less(LIMIT - 10 * MIB, LIMIT, 1.0) == LIMIT - 15 * MIB
    stat.write_text("0")  # mapped, and used again
    assert cache.less(LIMIT - 10 * MIB, LIMIT, 1.0) == LIMIT - 10 * MIB


def test_time_that_steps_back_makes_nothing_fresh(stat: Path, cache: PageCache) -> None:
    cache.less(200 * MIB, LIMIT, 1000.0)
    stat.write_text("0")
    assert cache.less(200 * MIB, LIMIT, 1.0) == 200 * MIB


def test_usage_is_never_negative(stat: Path, cache: PageCache) -> None:
    assert cache.less(MIB, LIMIT, 1.0) == 0


# -- ceilings that are far away --------------------------------------------------------------------------


def counted(memory: Memory, name: str, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note when the source called `name` is read."""
    memory.read()
    (found,) = [each for each in memory._found.sources if each.name == name]
    asked: list[float] = []
    ceilings = found.ceilings

    def noted(now: float | None = None) -> Any:
        asked.append(memory._timer())
        return ceilings(now)

    monkeypatch.setattr(found, "ceilings", noted)
    return asked


def test_a_ceiling_far_above_the_nearest_is_read_now_and_then(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.meminfo(
        64 << 30, 33 << 30
    )  # two seconds' worth above the nearest, if all was taken at full speed
    memory = small.memory()
    asked = counted(memory, "host", monkeypatch)
    for _ in range(400):
        small.now += 0.001
        assert memory.read().source == "cgroup v2 /a"
    assert len(asked) <= 1


def test_a_far_ceiling_that_comes_near_is_seen_in_time(small: Any) -> None:
    small.meminfo(64 << 30, 33 << 30)
    memory = small.memory()
    memory.read()
    small.meminfo(64 << 30, 20 << 20)  # nobody takes so much at once
    small.now += 0.6
    assert memory.read().source == "host"


def test_where_the_nearest_has_room_again_the_other_is_asked(small: Any) -> None:
    small.meminfo(1 << 30, 200 * MIB)
    memory = small.memory()
    assert memory.read().source == "cgroup v2 /a"
    small.write("/cg/a/memory.max", "max\n")
    small.now += 1
    assert memory.read().source == "host"
    small.write("/cg/a/memory.max", f"{300 * MIB}\n")
    small.now += 1
    reading = memory.read()
    assert (reading.source, reading.headroom) == ("host", 200 * MIB)


def test_ceilings_of_like_headroom_are_all_read_each_time(small: Any) -> None:
    small.meminfo(1 << 30, 50 * MIB)
    memory = small.memory()
    assert memory.read().source == "cgroup v2 /a"
    small.meminfo(1 << 30, 30 * MIB)
    small.now += 0.001
    assert memory.read().headroom == 30 * MIB
