"""make_room: what it frees, keeps free and says."""

from __future__ import annotations

import pytest
from playing import MIB, fill

import ebbcache
from ebbcache.testing import Machine


def test_make_room_frees_ahead_and_keeps_caches_out(played: Machine, cache: ebbcache.LRUCache) -> None:
    fill(cache, 10_000)
    full = cache.nbytes
    with ebbcache.make_room("100 MiB") as freed:
        assert freed.freed > 0
        assert played.headroom >= 100 * MIB
        fill(cache, 1_000, start=20_000)
        assert played.headroom >= 100 * MIB
        played.others += 100 * MIB
        fill(cache, 1_000, start=30_000)
        assert played.headroom > played.governor.sight.marks.min
        before = cache.nbytes
        played.advance(1.0)
        assert cache.nbytes >= before - MIB  # what the block took is its room, not another burst on top
        played.others -= 100 * MIB
    played.advance(120)
    fill(cache, 10_000)
    assert cache.nbytes > 0.9 * full


@pytest.mark.parametrize("wrong", [-1, "much", "5 parsecs"])
def test_make_room_and_reclaim_name_what_they_were_given(wrong: object) -> None:
    with pytest.raises(ValueError, match="amount"):
        ebbcache.make_room(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="target"):
        ebbcache.reclaim(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="amount"):
        ebbcache.make_room(1.5)  # type: ignore[arg-type]


def test_two_rooms_are_two_rooms(played: Machine, cache: ebbcache.LRUCache) -> None:
    with ebbcache.make_room("50 MiB"), ebbcache.make_room("50 MiB"):
        both = played.governor.sight.rooms
        assert 100 * MIB <= both < 120 * MIB  # with something for the holes that small pieces leave
        played.others += 50 * MIB
        played.look()
        assert played.governor.sight.rooms == both - 50 * MIB
    assert played.governor.sight.rooms == 0


def test_make_room_says_all_that_was_freed(played: Machine, cache: ebbcache.LRUCache) -> None:
    fill(cache, 10_000)
    full = cache.nbytes
    with ebbcache.make_room("10 GiB") as freed:
        assert freed.freed == full
        assert freed.hard
    assert freed.target is not None
    assert freed.target > freed.freed
