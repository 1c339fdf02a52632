"""What a fork leaves in pages of several processes is nobody's to give, until the others are gone."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import pytest

import ebbcache
from ebbcache import store, testing
from ebbcache.governor import inheritance
from ebbcache.governor.inheritance import Inheritance
from ebbcache.governor.shares import Share, part_of_shortage
from ebbcache.testing import Machine

MIB = 1 << 20
PAGE = 64 << 10


@pytest.fixture
def played() -> Iterator[Machine]:
    with testing.machine(256 * MIB, 40 * MIB) as machine:
        yield machine
    store.apart(False)


@pytest.fixture
def kernel(played: Machine) -> dict[str, int | None]:
    """What the kernel will say is shared."""
    says: dict[str, int | None] = {"shared": None}
    played.governor.sight.inheritance = Inheritance(lambda: played.time, lambda: says["shared"])
    return says


def filled(pages: int) -> ebbcache.LRUCache[int, None]:
    cache = ebbcache.LRUCache[int, None](sizeof=lambda key, value: PAGE)
    for number in range(pages):
        cache[number] = None
    return cache


def test_what_a_child_inherited_is_others_memory_and_no_burst_of_theirs(
    played: Machine, kernel: dict[str, int | None]
) -> None:
    cache = filled(1_000)
    played.look()
    governor = played.governor
    governor.after_fork()
    played.look()
    assert governor.sight.account.cached == 0
    assert governor.sight.account.others >= cache.nbytes
    assert governor.sight.account.burst == governor.sight.account.retained == 0
    cache[1_000] = None
    played.look()
    assert governor.sight.account.cached == PAGE


def test_own_entries_go_before_inherited_ones_and_a_little_of_those_at_a_time(
    played: Machine, kernel: dict[str, int | None]
) -> None:
    if store.IMPLEMENTATION != "native":
        pytest.skip("the pure store keeps to the order of use after a fork as well")
    cache = filled(1_600)
    played.governor.after_fork()
    for number in range(2_000, 2_200):
        cache[number] = None
    own = sum(number in cache for number in range(2_000, 2_200))
    assert own
    played.others += 40 * MIB
    played.look()
    assert sum(number in cache for number in range(1_600)) == 1_600
    least = len(cache)
    for _ in range(50):  # pressure that own entries do not end
        played.others = 256 * MIB - cache.nbytes - 4 * MIB
        played.advance(0.1)
        assert least - len(cache) <= 24 * MIB // PAGE
        least = len(cache)
    assert not any(number in cache for number in range(2_000, 2_200))
    assert least < 1_600


def test_while_pages_are_shared_a_first_burst_is_left_free_in_full(
    played: Machine, kernel: dict[str, int | None]
) -> None:
    cache = filled(1_500)
    sight = played.governor.sight
    played.look()
    for _ in range(20):  # all that was freed came back at once, so not much needs to be free beforehand
        sight.account.returned(MIB, MIB, MIB)
    limit = played.limit
    before = limit - sight.cap
    assert before < sight.account.floor + sight.account.unknown(limit)
    kernel["shared"] = cache.nbytes
    sight.inheritance.after_fork(child=False)
    played.advance(2.0)
    assert sight.inheritance.shared
    assert limit - sight.cap >= sight.account.floor + sight.account.unknown(limit) + sight.marks.min


def test_a_child_that_is_left_alone_has_all_of_it(played: Machine, kernel: dict[str, int | None]) -> None:
    cache = filled(1_000)
    played.governor.after_fork()
    kernel["shared"] = 60 * MIB
    played.advance(2.0)
    assert played.governor.sight.account.cached == cache.nbytes - 60 * MIB
    kernel["shared"] = 0
    played.advance(2.0)
    assert played.governor.sight.account.cached == cache.nbytes
    assert not played.governor.sight.inheritance.child


def test_a_parent_still_counts_what_it_shares_but_is_not_asked_for_it(
    played: Machine, kernel: dict[str, int | None]
) -> None:
    cache = filled(1_000)
    played.look()
    one = played.governor
    one.sight.inheritance.after_fork(child=False)
    kernel["shared"] = 50 * MIB
    played.advance(2.0)
    assert one.sight.account.cached == cache.nbytes
    mine = one.sight.share()
    assert (mine.cached, mine.shared) == (cache.nbytes, 50 * MIB)
    assert part_of_shortage(mine.free, [Share(mine.free)]) == 0.5


def test_without_the_kernels_word_a_parent_takes_it_that_nothing_is_shared() -> None:
    parent, child = (Inheritance(lambda: 0.0, lambda: None) for _ in range(2))
    for each in (parent, child):
        each.after_fork(child=each is child)
        each.held(100)
        each.find_out(100)
    assert (parent.shared, child.shared) == (0, 100)


def test_nobody_asks_the_kernel_where_nobody_forked_and_then_not_often() -> None:
    now = [0.0]
    asked: list[float] = []

    def ask() -> int:
        asked.append(now[0])
        now[0] += 0.05
        return 100

    one = Inheritance(lambda: now[0], ask)
    assert not one.in_doubt
    for _ in range(100):
        one.after_fork(child=False)
        if one.in_doubt:
            one.find_out(1000)
        now[0] += 0.5
    assert len(asked) <= 11


@pytest.mark.skipif(not os.path.exists(inheritance.ROLLUP), reason="this kernel does not tell")
def test_the_kernel_tells_what_is_shared() -> None:
    block = mmap.mmap(-1, 32 * MIB, flags=mmap.MAP_PRIVATE)
    block[:] = bytes(len(block))
    alone = inheritance.shared_bytes()
    if alone is None:
        pytest.skip("this kernel does not tell of anonymous memory")
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    try:
        together = inheritance.shared_bytes()
    finally:
        os.close(read)
        os.close(write)
        os.waitpid(pid, 0)
        block.close()
    assert together is not None
    assert together >= alone + 32 * MIB
