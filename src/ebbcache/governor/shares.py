"""How processes under one ceiling divide what is to be freed: pure arithmetic on what each says of itself.

A shortage is divided in proportion to what each holds, an excess over the cap among those that hold more
than an equal part of it, so that a newcomer's cache can grow. The parts add up to one. O(processes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Share:
    """What one process says of itself: the bytes its caches hold, may still take in, and keep free.

    Of those held, `shared` lie in pages that its forked children have as well: giving them frees nothing.
    """

    cached: int = 0
    grant: int = 0
    room: int = 0
    shared: int = 0

    @property
    def free(self) -> int:
        """The bytes that it can give back."""
        return max(0, self.cached - self.shared)


class Neighbourhood(Protocol):
    """What the governor needs of `ebbcache.governor.neighbours.Neighbours`, or of a stand-in for tests."""

    def join(self, ceiling: str | None) -> None:
        """Be one of those under `ceiling`."""
        ...

    def publish(self, mine: Share, *, closely: bool = True) -> None:
        """Tell the others; `closely`: even if there are none, for somebody may come."""
        ...

    def look(self, *, closely: bool = True) -> list[Share]:
        """Return what the others say; `closely`: see first whether anybody came or left."""
        ...

    def leave(self) -> None:
        """Be counted no longer."""
        ...

    def after_fork(self) -> None:
        """Be somebody new."""
        ...


def part_of_shortage(own: int, mates: Sequence[Share]) -> float:
    """Return the part of a shortage that a process with `own` bytes in caches is to make good.

    As much of it as it holds of all that caches can give back; something, even if it holds nothing: it may
    have shrinkers whose size nobody knows.

    >>> part_of_shortage(30, [Share(70)]), part_of_shortage(30, [])
    (0.3, 1.0)
    """
    if not mates:
        return 1.0
    everything = own + sum(mate.free for mate in mates)
    return max(own / max(everything, 1), 1 / (8 * (1 + len(mates))))


def part_of_excess(own: int, mates: Sequence[Share], cap: int) -> float:
    """Return the part that a process is to free of what all caches hold beyond `cap` bytes together.

    Those give it that hold more than an equal part of the cap, in proportion to how much more.

    >>> part_of_excess(30, [Share(90)], 100), part_of_excess(90, [Share(30)], 100)
    (0.0, 1.0)
    """
    fair = cap // (1 + len(mates))
    mine = max(0, own - fair)
    everybodys = mine + sum(max(0, mate.free - fair) for mate in mates)
    return mine / everybodys if everybodys else part_of_shortage(own, mates)
