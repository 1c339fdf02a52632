"""Processes under one ceiling: how they find each other, and how they divide what is to be freed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ebbcache
from ebbcache import testing
from ebbcache.governor.shares import Share, part_of_excess, part_of_shortage
from ebbcache.testing import Machine

neighbours = pytest.importorskip("ebbcache.governor.neighbours", reason="no file locks of this kind here")
Neighbours = neighbours.Neighbours

MIB = 1 << 20
LIMIT = 256 * MIB
PAGE = 64 << 10


class Now:
    """A timer that goes on by as much as it takes to search again, each time it is asked."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 1.0
        return self.seconds


@pytest.fixture
def join(tmp_path: Path) -> Iterator[Callable[..., Neighbours]]:
    """Join those under a ceiling; all leave at the end."""
    made: list[Neighbours] = []

    def make(ceiling: str = "container") -> Neighbours:
        neighbours = Neighbours(str(tmp_path), Now())
        neighbours.join(ceiling)
        made.append(neighbours)
        return neighbours

    yield make
    for neighbours in made:
        neighbours.leave()


def test_neighbours_read_what_the_others_say(join: Callable[..., Neighbours]) -> None:
    one, two, three = join(), join(), join()
    assert one.look() == []  # nobody has said anything yet
    one.publish(Share(100, 10, 1))
    two.publish(Share(200, 20, 2))
    assert one.look() == [Share(200, 20, 2)]
    assert two.look() == [Share(100, 10, 1)]
    assert sorted(share.cached for share in three.look()) == [100, 200]
    one.publish(Share(50, 0, 0))
    assert two.look() == [Share(50, 0, 0)]


def test_those_under_another_ceiling_are_strangers(join: Callable[..., Neighbours]) -> None:
    here, there = join("here"), join("there")
    here.publish(Share(1))
    there.publish(Share(2))
    assert here.look() == there.look() == []
    there.join("here")
    there.publish(Share(2))
    assert here.look() == [Share(2)]
    there.join(None)
    assert here.look() == there.look() == []


def test_the_last_one_to_leave_leaves_nothing(join: Callable[..., Neighbours], tmp_path: Path) -> None:
    one, two = join(), join()
    one.publish(Share(1))
    one.leave()
    assert two.look() == []
    two.leave()
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_counts_no_longer(join: Callable[..., Neighbours], tmp_path: Path) -> None:
    one = join()
    program = (
        "import sys, time\nfrom ebbcache.governor.neighbours import Neighbours, Share\n"
        "n = Neighbours(sys.argv[1]); n.join('container'); n.publish(Share(77))\n"
        "print(flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            assert one.look() == [Share(77)]
        finally:
            other.send_signal(signal.SIGKILL)
    assert one.look() == []
    assert len(list((tmp_path / f"ebbcache-{os.geteuid()}").iterdir())) == 1


def test_what_the_dead_under_other_ceilings_left_is_removed(
    join: Callable[..., Neighbours], tmp_path: Path
) -> None:
    alive = join("another")
    place = tmp_path / f"ebbcache-{os.geteuid()}"
    (place / "gone.123-00000000").write_bytes(bytes(32))
    (place / "coming.124-00000000").write_bytes(b"")  # its owner is about to lock it
    join()
    left = {path.name.partition(".")[0] for path in place.iterdir()}
    assert left == {"another", "coming", "container"}
    assert alive.look() == []


def test_a_forked_child_is_somebody_else(join: Callable[..., Neighbours]) -> None:
    parent = join()
    parent.publish(Share(5))
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            parent.after_fork()
            parent.join("container")
            parent.publish(Share(6))
            code = 0 if parent.look() == [Share(5)] else 2
            os.write(write, b".")
            signal.pause()  # until killed
        finally:
            os._exit(code)
    try:
        assert os.read(read, 1) == b"."
        assert parent.look() == [Share(6)]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)
    assert parent.look() == []


def test_what_somebody_else_put_there_is_survived(join: Callable[..., Neighbours], tmp_path: Path) -> None:
    one, two = join(), join()
    place = tmp_path / f"ebbcache-{os.geteuid()}"
    (place / "container.torn").write_bytes(b"\x01")
    (place / "container.folder").mkdir()
    (place / "container.link").symlink_to("/dev/zero")
    two.publish(Share(3))
    assert one.look() == [Share(3)]
    for file in place.iterdir():  # somebody tidies up
        if file.is_file() and not file.is_symlink():
            file.unlink()
    for _ in range(2):
        one.look()
        two.look()
    one.publish(Share(1))
    two.publish(Share(3))
    assert one.look() == [Share(3)]
    assert two.look() == [Share(1)]


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path: Path) -> None:
    place = tmp_path / f"ebbcache-{os.geteuid()}"
    place.mkdir()
    place.chmod(0o777)
    alone = Neighbours(str(tmp_path))
    alone.join("container")
    alone.publish(Share(1))
    assert alone.look() == []
    assert list(place.iterdir()) == []


def test_shortages_and_excess_are_divided_without_rest() -> None:
    held = [10 * MIB, 40 * MIB, 150 * MIB]
    shares = [Share(each) for each in held]
    parts = [part_of_shortage(held[at], shares[:at] + shares[at + 1 :]) for at in range(3)]
    assert sum(parts) == pytest.approx(1.0)
    assert parts == sorted(parts)
    parts = [part_of_excess(held[at], shares[:at] + shares[at + 1 :], 180 * MIB) for at in range(3)]
    assert parts == pytest.approx([0.0, 0.0, 1.0])  # only the last has more than its 60 MiB


class Played(Neighbours):
    """Neighbours that a test plays."""

    def __init__(self, shares: list[Share]) -> None:
        self.shares = shares
        self.said = Share()

    def join(self, ceiling: str | None) -> None:
        pass

    def publish(self, mine: Share, *, closely: bool = True) -> None:
        self.said = mine

    def look(self, *, closely: bool = True) -> list[Share]:
        return self.shares


def fill(cache: ebbcache.LRUCache[int, None], pages: int) -> None:
    for number in range(pages):
        cache[number] = None


@pytest.fixture
def cache() -> ebbcache.LRUCache[int, None]:
    return ebbcache.LRUCache(sizeof=lambda key, value: PAGE)


@pytest.fixture
def played() -> Iterator[Machine]:
    with testing.machine(LIMIT, 20 * MIB) as machine:
        yield machine


def test_caches_of_neighbours_are_caches_and_no_burst(
    played: Machine, cache: ebbcache.LRUCache[int, None]
) -> None:
    neighbours = played.governor.sight.neighbours = Played([Share()])
    for step in range(1, 60):
        neighbours.shares = [Share(step * MIB)]
        played.others += MIB
        played.advance(0.05)
    account = played.governor.sight.account
    assert account.others < 25 * MIB
    assert account.burst < 2 * MIB
    fill(cache, 10_000)
    assert cache.nbytes > 40 * MIB
    assert neighbours.said.cached == pytest.approx(cache.nbytes, abs=MIB)


def test_each_frees_its_part_of_a_shortage(played: Machine, cache: ebbcache.LRUCache[int, None]) -> None:
    neighbours = played.governor.sight.neighbours = Played([Share(60 * MIB)])
    played.others += 60 * MIB
    fill(cache, 60 * MIB // PAGE)
    held = cache.nbytes
    missing = played.governor.sight.marks.high - (played.headroom - 100 * MIB)
    assert missing > 0
    played.others += 100 * MIB
    played.look()
    freed = held - cache.nbytes
    assert 0.3 * missing < freed < 0.7 * missing
    # The other one does not do its part, however long one waits: then it has to be done all the same.
    played.advance(2.0)
    assert played.headroom >= played.governor.sight.marks.low
    assert neighbours.shares[0].cached == 60 * MIB


def test_a_newcomer_grows_to_its_part_and_the_others_make_way(
    played: Machine, cache: ebbcache.LRUCache[int, None]
) -> None:
    fill(cache, 10_000)
    alone = cache.nbytes
    neighbours = played.governor.sight.neighbours = Played([Share()])
    theirs = 0
    for _ in range(3_000):  # the newcomer grows a page at a time, as far as there is room
        if played.headroom > played.governor.sight.marks.low + PAGE and theirs < 3 * alone // 4:
            theirs += PAGE
            played.others += PAGE
        neighbours.shares = [Share(theirs, PAGE)]
        played.advance(0.02)
    assert cache.nbytes < 0.7 * alone
    assert theirs > 0.35 * alone
    assert cache.nbytes > 0.3 * alone
    assert played.headroom > 0


def test_rooms_of_neighbours_are_kept_free(played: Machine, cache: ebbcache.LRUCache[int, None]) -> None:
    played.governor.sight.neighbours = Played([Share(room=100 * MIB)])
    fill(cache, 10_000)
    played.advance(1.0)
    assert played.headroom >= 100 * MIB


def test_looking_and_leaving_from_several_threads_ends(join: Callable[..., Neighbours]) -> None:
    many = [join() for _ in range(8)]

    def work(neighbours: Neighbours) -> None:
        for number in range(50):
            neighbours.publish(Share(number + 1))
            neighbours.look()

    threads = [threading.Thread(target=work, args=(each,)) for each in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(each.look()) == 7 for each in many)
    assert all(share.cached == 50 for each in many for share in each.look())


def test_where_there_is_no_shared_memory_folder_everybody_is_alone(tmp_path: Path) -> None:
    alone = Neighbours(str(tmp_path / "no-shm"))
    alone.join("container")
    alone.publish(Share(1))
    assert alone.look() == []
    alone.after_fork()
    alone.leave()
