"""What one process sees of memory: readings told apart, neighbours heard, and what has to stay free.

A reading of the nearest ceiling is booked on that ceiling's account (account.py), with what the caches here
hold, less what forked processes share (inheritance.py), and what those of other processes say that they
hold (neighbours.py). The headroom to restore and the cap, the most that caches may hold, follow from it.
Nothing is decided here: `deciding.py` looks when it is time to, and acts. Bounds: a reading opens no file
that was found before; O(caches + neighbours).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ebbcache import engine
from ebbcache.clock import clock
from ebbcache.governor.account import REACTION, Account, Marks
from ebbcache.governor.inheritance import Inheritance
from ebbcache.governor.planning import View
from ebbcache.governor.shares import Neighbourhood, Share
from ebbcache.governor.trimming import Heap
from ebbcache.memory import Reading
from ebbcache.store import Allowance

USUAL = 0.01  # s: how late the watcher may come beside a busy thread,
MOST_LATE = 0.03  # s: how much more is reckoned with,
LATE_HALF_LIFE = 10.0  # s: and for how long
LATE_STEP = 1 / 8  # of the way to it: being late once costs little, more often than now and then all of it


class MemorySource(Protocol):
    """What the governor needs of `ebbcache.memory.Memory`, or of a stand-in for tests."""

    def read(self) -> Reading | None:
        """Return the nearest ceiling, or None where nothing limits memory."""
        ...


class Sight:
    """What a process knows of memory since its last reading. Amounts are bytes, times seconds."""

    def __init__(
        self,
        memory: MemorySource,
        timer: Callable[[], float],
        heap: Heap,
        neighbours: Neighbourhood | None,
        allowance: Allowance,
    ) -> None:
        self.memory = memory
        self.timer = timer
        self.heap = heap
        self.neighbours = neighbours
        self.allowance = allowance
        self.inheritance = Inheritance(timer)
        self.reserve = 0
        self.asked: list[tuple[int, int]] = []  # for `make_room`: the bytes, and what others used before
        self.marks_override: Marks | None = None
        self.reading: Reading | None = None
        self.marks = Marks(0, 0, 0)
        self.account = Account()
        self._accounts: dict[str, Account] = {}
        self.capped = 0  # the cap at the last plan
        self.inserting = 0  # bytes on their way in
        self.held = self.own = 0  # by caches here, and what of that is no other process's as well
        self.mates: list[Share] = []
        self._late = self._late_at = 0.0

    def after_fork(self) -> None:
        """Begin anew in a forked child, with what it inherited."""
        self.inheritance.after_fork(child=True)
        # Others hold what its parent counts as cached, from the first moment on: that is no burst.
        self.account, self._accounts = self.account.elsewhere(), {}
        self.mates = []
        if self.neighbours is not None:
            self.neighbours.after_fork()

    # -- reading ---------------------------------------------------------------------------------------

    def read(self, *, trimmed: bool = False) -> Reading | None:
        """Read the nearest ceiling and account for it; None where nothing limits memory.

        `trimmed`: malloc was just told to return what it can.
        """
        self.held = held = engine.sizes(tallied_only=True)
        self.inheritance.held(held)
        # The value being inserted is in usage already; counted as cached it is not mistaken for others.
        self.own = held + self.inserting - (self.inheritance.shared if self.inheritance.child else 0)
        reading = self.memory.read()
        clock.tick()
        if reading is not None:
            account = self._accounts.get(reading.source)
            if account is None:  # usage under another ceiling is another number, not a change of this one
                account = self._accounts[reading.source] = self.account.elsewhere()
            account.observe(
                reading.usage,
                self.own + self._theirs(reading, account),
                self.timer(),
                limit=reading.limit,
                announced=self.rooms,
                idle=self.heap.idle(),
                trimmed=trimmed,
                mapped=bool(self.heap.mapped_from),
            )
            self.account = account
            self.reading = reading
            account.reaction = self._reaction()
            self.marks = self.marks_override or Marks.of(reading.limit, len(self.mates))
        return reading

    def _reaction(self) -> float:
        """Return how soon a burst is answered: later, the more have to, and the later the watcher comes."""
        late = max(0.0, self._lateness() - USUAL)
        return REACTION * (1.0 + min(len(self.mates), 8) / 4) + min(late, MOST_LATE)

    def _lateness(self) -> float:
        if not self._late:
            return 0.0
        fade: float = 0.5 ** ((self.timer() - self._late_at) / LATE_HALF_LIFE)
        return self._late * fade

    def came_late(self, seconds: float) -> None:
        """Take note that the watcher came so much later than it wanted to: the machine is busy."""
        late = self._lateness()
        self._late, self._late_at = late + LATE_STEP * max(0.0, seconds - late), self.timer()

    def _theirs(self, reading: Reading, account: Account) -> int:
        """Return what the caches of other processes under this ceiling hold, and tell them of ours.

        They may have taken in as much as they were granted since they last said so: what usage has grown by
        that nothing else explains is theirs, as far as that goes.
        """
        if self.neighbours is None:
            return 0
        self.neighbours.join(reading.shared)
        self.mates = self.neighbours.look(closely=False)
        if not self.mates:
            return 0
        self.neighbours.publish(self.share(), closely=False)
        cached = sum(mate.cached for mate in self.mates)
        unexplained = reading.usage - self.own - cached - account.retained - account.others
        granted = sum(mate.grant for mate in self.mates)
        return min(cached + min(granted, max(0, unexplained)), max(0, reading.usage - self.own))

    def share(self) -> Share:
        """Return what neighbours are to know. What a parent shares with its children it still counts."""
        shared = 0 if self.inheritance.child else self.inheritance.shared
        return Share(self.own, max(0, self.allowance.left), self.rooms, shared)

    def meet(self) -> None:
        """Be seen by neighbours that come, and see them; for the watcher.

        That takes system calls, which let other threads run first: not while memory, or an insert, waits.
        """
        if self.neighbours is not None and self.reading is not None and not self.bursting:
            self.neighbours.publish(self.share())
            self.neighbours.look()

    # -- what follows ----------------------------------------------------------------------------------

    @property
    def kept_free(self) -> int:
        """The headroom (bytes) that reclaim restores: `high` or the user's reserve, plus rooms made."""
        kept = max(self.marks.high, self.reserve) + self.rooms
        return kept + sum(mate.room for mate in self.mates) if self.mates else kept

    @property
    def rooms(self) -> int:
        """What `make_room` blocks still keep free: an eighth more than asked, less what others took."""
        if not self.asked:
            return 0
        taken = self.account.others - min(before for _, before in self.asked)
        asked = sum(amount for amount, _ in self.asked)
        # What is taken in small pieces takes more than their sum, for the holes between them.
        return max(0, asked + asked // 8 - max(0, taken))

    @property
    def cap(self) -> int:
        """The most bytes that caches may hold: what others are expected to take and the free part leave."""
        if self.reading is None:
            return 0
        limit, account, marks = self.reading.limit, self.account, self.marks
        kept = self.kept_free
        rooms = kept - max(marks.high, self.reserve)
        again = max(account.room_for(account.expected - account.others), account.going_on)
        # At the top of what is expected, headroom need not be more than what pressure starts at.
        known = account.others + max(kept, kept - (marks.high - marks.low) // 2 + again)
        first = account.unknown(limit)
        if self.inheritance.shared or (self.mates and any(mate.shared for mate in self.mates)):
            # Several have to evict and trim, little of what is cached comes back, and pages are copied.
            first += marks.min
        else:
            first = account.room_for_first(first)
        return max(0, limit - max(known, account.floor + first + rooms))

    @property
    def bursting(self) -> bool:
        """Whether others grow so fast that usage says little of what was freed, and there is a hurry."""
        return self.account.going_on > self.marks.min

    def view(self, *, calm: bool) -> View:
        """Return what a plan is made from, after a reading."""
        assert self.reading is not None
        self.capped = self.cap
        return View(
            self.reading,
            self.account,
            self.marks,
            self.kept_free,
            self.capped,
            max(0, self.own - self.share().shared),
            self.inheritance.shared,
            self.inserting,
            self.mates,
            calm,
            self.timer(),
        )
