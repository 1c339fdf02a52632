"""What is asked of caches: by an insert no more than a slice of it, and nothing of what weighs nothing."""

from __future__ import annotations

import asyncio

from playing import MIB, fill

import ebbcache
from ebbcache import engine
from ebbcache.governor.deciding import SLICE
from ebbcache.shrinkers import PIECE
from ebbcache.testing import Machine

CALL = 0.0005  # s


def test_an_insert_on_an_event_loop_does_no_more_than_a_slice_of_reclaim(
    played: Machine, cache: ebbcache.LRUCache[int, None]
) -> None:
    held = 60 * MIB
    asked: list[int] = []

    def give(target: int, hard: bool) -> int:
        nonlocal held
        assert not hard
        running = engine.current_pass()
        assert running is not None
        if running.why == "pressure":
            asked.append(target)
        played.time += CALL
        given = min(target, PIECE // 4, held)
        held -= given
        return given

    async def serve() -> list[int]:
        """Insert once a turn of the loop; return the calls that each turn made."""
        turns: list[int] = []
        for number in range(20):
            before = len(asked)
            cache[10_000 + number] = None
            turns.append(len(asked) - before)
            played.others += 64 << 10
            await asyncio.sleep(0)
        return turns

    fill(cache, 500)
    with ebbcache.register_shrinker("slow", give, size=lambda: held, tally=lambda hard: {-200: held}):
        played.look()
        marks = played.governor.sight.marks
        played.others += played.headroom - (marks.low + marks.min) // 2
        played.time += 10.0  # whoever grew has long stopped
        played.governor.allowance.left = 0
        turns = asyncio.run(serve())
    assert max(turns) > 0
    # A slice of one pass, and of the call in which it ran out.
    assert max(turns) <= SLICE / CALL + 1


def test_entries_that_weigh_nothing_are_in_nobodys_way() -> None:
    cache = ebbcache.LRUCache[int, int](sizeof=lambda key, value: value, name="weightless")
    for number in range(10):
        cache[number] = 0
    assert cache.nbytes == 0
    assert cache.shrink(1000, True) == 0
    assert len(cache) == 10  # giving them up would give nothing
    cache[10] = 500
    assert cache.shrink(100, True) == 500  # through all that came before
    assert len(cache) == 0
