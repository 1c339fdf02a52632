"""One decision: how urgent it is, what to free, what to let in; from what a look has found.

Under `low` the target is `high - headroom - credit`, softly, under `min` hard; above, caches grow into what
others are not expected to take, and at that cap make room for what comes in. Watermarks and the order of
things follow Linux' mm/vmscan. Arithmetic on what it is given; what it remembers is the fall of headroom
under hard pressure, whether neighbours do their part, and how much goes in a slice. O(processes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ebbcache.governor.account import Account, Marks
from ebbcache.governor.shares import Share, part_of_excess, part_of_shortage
from ebbcache.governor.trimming import Level
from ebbcache.memory import Reading

SMALLEST_GRANT = 64 << 10  # bytes: under this a look would cost more than it guards
WHOLE = 1 << 62  # bytes: any target goes in a slice
STEP = 0.1  # s: between two tries under hard pressure that stands still
ROUND = 0.02  # s: after which neighbours that were to free something should have


@dataclass(frozen=True, slots=True)
class Plan:
    """How urgent it is, the bytes to free, and the bytes to let in until the next look.

    With `growth`, caches make room for their own inserts, and nobody else is asked.
    """

    level: Level
    target: int
    grant: int
    growth: bool = False


@dataclass(slots=True)  # never changed; frozen it would take three times as long to make
class View:
    """What a look has found.

    `kept_free` is the headroom to restore, `cap` the most that all caches may hold, `own` what those of
    this process do that it can give, with `inserting` bytes on their way in; `shared` is what it cannot,
    because forked processes have it as well; `mates` are the neighbours.
    """

    reading: Reading
    account: Account
    marks: Marks
    kept_free: int
    cap: int
    own: int
    shared: int
    inserting: int
    mates: Sequence[Share]
    calm: bool
    now: float


class Planner:
    """Decides for one process."""

    def __init__(self) -> None:
        self.lowest: int | None = None  # headroom under hard pressure, as long as that lasts
        self._slice = WHOLE
        self._urgency = 1.0
        self._urged_at, self._urged_headroom = float("-inf"), 0
        self._stepped_at, self._step = float("-inf"), 0.0

    def plan(self, view: View) -> Plan:
        """Return what to do now."""
        account, marks, reading = view.account, view.marks, view.reading
        extra = view.kept_free - marks.high
        ahead = account.going_on  # a burst that is under way is not waited for
        # What is retained lies in holes that a burst has no use for. But only a first one is worth all that
        # caches hold: for one that was seen before room was left, and freeing on would empty them.
        first = account.unheard_of and ahead > marks.min
        credit = account.in_flight if first else account.credit
        short = view.kept_free + ahead - reading.headroom - credit
        if first and short > 0:
            short = int(short * account.to_return_one)
        left = reading.headroom
        if reading.soft:
            # Crossing a soft ceiling (memory.high) gets a process slowed down, not killed: memory is nearly
            # out when that one is crossed, or when the nearest hard one is close.
            left += marks.min
            if reading.hard_headroom is not None:
                left = min(left, reading.hard_headroom)
        if left < marks.min:
            short += account.in_flight  # no time for mere words
            target = int(max(short, self._fallen(view, left)) * self._part(view, left))
            return Plan("hard", max(target, self._standing(view), view.inserting), 0)
        self.lowest = None
        room = reading.headroom + credit - extra - ahead
        # Calm needs headroom that can be seen: credit is an estimate, and a burst may come.
        if left < marks.low or room < marks.low or (not view.calm and short > 0):
            # With memory this short, caches that are over their cap come down to it at once. What was freed
            # and does not show is not freed again, but what comes in makes room for itself.
            over = (account.cached - view.cap) * part_of_excess(view.own, view.mates, view.cap)
            target = int(max(short * self._part(view, left), over))
            return Plan("soft", max(target, 2 * view.inserting), 0)
        self._urgency = 1.0
        return self._grow(view, room)

    def _grow(self, view: View, room: int) -> Plan:
        """Return the plan for calm times: what may come in, and what makes way for it at the cap.

        Of what all processes under this ceiling retain, inserts here can reuse only this one's part.
        """
        account, cap, own, mates = view.account, view.cap, view.own, view.mates
        processes = 1 + len(mates)
        room -= int(account.retained * (1.0 - part_of_shortage(own, mates))) if mates else 0
        # Half of what is retained counts: inserts are likely to reuse it, a burst of others is not. While
        # others grow, nothing comes in that would have to go again.
        growing = account.momentum - account.going_on
        free = min(cap - account.cached - account.retained // 2, room - view.marks.high - growing)
        if free >= SMALLEST_GRANT:
            return Plan("calm", 0, max(free // (4 * processes), SMALLEST_GRANT))
        # At the cap a process may still grow to an equal part of it: those with more make way.
        behind = min(cap // processes - own, room - view.marks.low)
        if mates and behind >= SMALLEST_GRANT:
            return Plan("calm", 0, max(behind // (4 * processes), SMALLEST_GRANT))
        over = int(max(account.cached - cap, 0) * part_of_excess(own, mates, cap))
        if not over and not view.inserting:
            return Plan("calm", 0, max(free // processes, 0))
        # As much is freed as comes in, a batch at a time so that a look pays for itself, but no more than
        # goes in a slice. Where others pushed the cap down everybody is asked, and there is no hurry.
        batch = max(min(own // 64, cap // 64, self._slice), SMALLEST_GRANT)
        target = min(over, max(4 * batch, view.inserting)) + batch
        return Plan("calm", target, batch, growth=over <= view.inserting + SMALLEST_GRANT)

    def went_in_a_slice(self, freed: int, target: int) -> None:
        """Learn how much an insert frees in the time it may take: all of the target, or only so much."""
        if freed < target:
            self._slice = max(freed, SMALLEST_GRANT)  # from nothing it could never double
        else:
            self._slice = min(2 * self._slice, WHOLE)

    def _part(self, view: View, headroom: int) -> float:
        """Return this process's part of a shortage, twice as much after each round that did not help.

        Some neighbour may be stuck in a long call, or have no cache that gives.
        """
        if view.now - self._urged_at >= ROUND:
            self._urgency = 2 * self._urgency if headroom <= self._urged_headroom else 1.0
            self._urged_at, self._urged_headroom = view.now, headroom
        return min(1.0, part_of_shortage(view.own, view.mates) * self._urgency)

    def _standing(self, view: View) -> int:
        """Return what to free under `min` though headroom stands still, ever more each `STEP` seconds.

        What was freed may have been of no use to the kernel, which gets small objects back when nearly all
        of them are gone; and one more allocation is the end.
        """
        if view.now - self._stepped_at < STEP:
            return 0
        self._step = min(1.0, 2 * self._step) if view.now - self._stepped_at < 2 * STEP else 1 / 8
        self._stepped_at = view.now
        return int((view.own + view.shared) * self._step)

    def _fallen(self, view: View, headroom: int) -> int:
        """Return what to free under `min`, where the kernel must get memory back, whatever the credit.

        Headroom that fell on since the last hard pass has to be made good, by more than it fell if lately
        only a part of what was freed came back. Headroom that stands still asks for nothing more.
        """
        before = view.marks.min if self.lowest is None else self.lowest
        self.lowest = min(before, headroom)
        return int(max(0, before - headroom) * view.account.to_return_one)
