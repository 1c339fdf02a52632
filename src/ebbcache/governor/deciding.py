"""When to look at memory, and what is done about it: one reading, one plan, by whoever looks.

Two threads look: the watcher, and any thread whose inserts have spent the *allowance*, so that the promise
holds when the watcher starves under the GIL. A look reads the nearest ceiling, tells cached, others and
retained apart (account.py), plans (planning.py), and then either grants a new allowance or frees. A reading
that does not move is no reason to free everything: what was freed counts as credit, and more is freed only
while headroom goes on falling. Of what several processes under one ceiling are short of, each frees its
part (neighbours.py).

Bounds: an insert waits at most `WAIT` seconds for another thread's look and frees for at most `SLICE`
seconds itself, unless memory is about to run out; between two readings caches grow by at most a quarter of
what is free for them; one log line a change of state.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Protocol

from ebbcache import engine
from ebbcache.clock import clock
from ebbcache.governor import allocator
from ebbcache.governor.account import MIB, REACTION, Account, Marks
from ebbcache.governor.inheritance import Inheritance
from ebbcache.governor.planning import Plan, Planner, View
from ebbcache.governor.shares import Share
from ebbcache.governor.trimming import Heap, Level, Malloc
from ebbcache.governor.turns import Turns
from ebbcache.memory import Reading
from ebbcache.store import IMPLEMENTATION, Allowance, apart
from ebbcache.units import format_bytes

log = logging.getLogger("ebbcache.governor")

WAIT = 0.002  # s: the longest that an insert waits for another thread's look
SLICE = 0.002  # s: for how long an insert frees memory while there is time
LONG_SLICE = 0.02  # s: the same for the watcher, which holds nobody up, and in a burst of others
PATIENCE = 1.0  # s: the same for a caller who asked for memory by name
FASTEST, SLOWEST = 0.01, 1.0  # s: bounds of the watcher's interval
BURST = 1 << 30  # bytes/s: what others may allocate while nobody looks
UNGOVERNED = 256 * MIB  # bytes: the allowance where nothing limits memory
USUAL = 0.01  # s: how late the watcher may come beside a busy thread,
MOST_LATE = 0.03  # s: how much more is reckoned with,
LATE_HALF_LIFE = 20.0  # s: and for how long
COLLECT_EVERY = 5.0  # s: between two full garbage collections when nothing else is left
COPIED = 256 << 10  # bytes of shared entries: for giving up more than that malloc is trimmed
LEARN_EVERY = 1.0  # s: how often growth asks malloc what came of what it freed

State = Literal["calm", "soft", "hard", "exhausted"]


class MemorySource(Protocol):
    """What the governor needs of `ebbcache.memory.Memory`, or of a stand-in for tests."""

    def read(self) -> Reading | None:
        """Return the nearest ceiling, or None where nothing limits memory."""
        ...


class Neighbourhood(Protocol):
    """What the governor needs of `ebbcache.governor.neighbours.Neighbours`."""

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


class Governor:
    """Decides for one process, with `memory` and `timer` (seconds) injected; watcher.py has the thread."""

    def __init__(
        self,
        memory: MemorySource,
        *,
        timer: Callable[[], float] = time.monotonic,
        allowance: Allowance | None = None,
        malloc: Malloc = allocator,
        neighbours: Neighbourhood | None = None,
        wake: Callable[[], object] = lambda: None,
    ) -> None:
        self.memory = memory
        self.timer = timer
        self.heap = Heap(malloc, timer)
        self.neighbours = neighbours
        self.wake = wake  # the watcher, to do at once what an insert has no time for
        self.allowance = allowance or Allowance()
        self.reserve = 0
        self.marks_override: Marks | None = None
        self.reading: Reading | None = None
        self.marks = Marks(0, 0, 0)
        self.state: State = "calm"
        self.passes = {"soft": 0, "hard": 0, "growth": 0}
        self.freed = 0
        self.looks = 0
        self.account = Account()
        self._accounts: dict[str, Account] = {}
        self._inserting = 0
        self._rooms: list[tuple[int, int]] = []
        self._collected_at = self._learnt_at = float("-inf")
        self._looked_at = float("-inf")
        self._late = self._late_at = 0.0
        self._futile = 0
        self._wonders = False
        self._news: list[tuple[Any, ...]] = []
        self._grown = 0
        self._mates: list[Share] = []
        self._held = self._own = 0
        self.inheritance = Inheritance(timer)
        self._planner = Planner()
        self._turns = Turns()

    def after_fork(self) -> None:
        """Begin anew in a forked child: with nobody's turn running, and with what it inherited."""
        self._turns = Turns()
        self.inheritance.after_fork(child=True)
        apart(True)
        # Others hold what its parent counts as cached, from the first moment on: that is no burst.
        self.account, self._accounts = self.account.elsewhere(), {}
        self._mates = []
        if self.neighbours is not None:
            self.neighbours.after_fork()

    # -- looking ---------------------------------------------------------------------------------------

    def spent(self, size: int) -> bool:
        """Answer whether an insert of `size` bytes is kept, now that the allowance is used up."""
        if self.state == "exhausted" and self.timer() - self._looked_at < FASTEST:
            return False  # nothing can have changed
        kept = self._turns.within(WAIT, partial(self._look, size))
        if kept is not None:
            return kept
        if self._turns.mine():
            # A shrinker, listener or finaliser inserts in the middle of a look.
            return self.state != "exhausted"
        return self._overdraw()

    def look(self) -> None:
        """Read and act once, as the watcher does; passed over while another thread is at it."""
        self._turns.within(WAIT, self._look)

    def meet(self) -> None:
        """Be seen by neighbours that come, and see them; for the watcher.

        That takes system calls, which let other threads run first: not while memory, or an insert, waits.
        """
        if self.neighbours is not None and self.reading is not None and not self._bursting:
            self.neighbours.publish(self._share())
            self.neighbours.look()

    def _overdraw(self) -> bool:
        """Answer for an insert that cannot look because another thread's look takes long.

        It may add what an eighth of the headroom at the last look allows, all such inserts together.
        """
        reading = self.reading
        if reading is None or self.state in ("hard", "exhausted"):
            return reading is None and self.state == "calm"
        return -self.allowance.left <= max(0, reading.headroom - self.marks.min) // 8

    def _look(self, inserting: int | None = None) -> bool:
        """Read and act; for an insert of so many bytes, or (None) for the watcher, which has more time."""
        self._inserting = inserting or 0
        try:
            return self._act(watching=inserting is None)
        finally:
            self._inserting = 0
            # Only now: a handler writes to some file, and memory may have been a matter of milliseconds.
            while self._news:
                log.log(*self._news.pop(0))

    def _act(self, watching: bool) -> bool:
        self.looks += 1
        self._looked_at = self.timer()
        in_doubt = watching and self.inheritance.in_doubt and self.state in ("calm", "soft")
        if in_doubt and self.inheritance.find_out(engine.sizes(tallied_only=True)):
            apart(False)
        reading = self._read()
        if reading is None:
            # Either nothing limits memory, or nothing could be read this time: no licence to grow.
            lost = self.reading is not None
            self.allowance.left = 0 if lost else UNGOVERNED
            return not lost
        before, freed = self._planner.lowest, 0
        if watching and self._wonders:
            self._find_out()
        plan = self._plan()
        if watching and plan.level == "calm" and self._crowded():
            self._trim()
            plan = self._plan()
        wanted = (plan.target > 0 and not plan.growth) or self._pressed
        if wanted and self._trim_instead(plan, watching):
            self._planner.lowest = before  # the fall that this plan answers is still to be made good
            plan = self._plan()
        for again in (False, True):  # a second time where the first did not end hard pressure
            self._enter_state(plan.level)
            if plan.target <= 0:
                break
            was = plan.level
            # A user's shrinker may take its time; as long as there is any, inserts leave it to the watcher.
            caches_only = again or plan.growth or not (watching or plan.level == "hard")
            freed += self._free(plan, watching, tallied_only=caches_only)
            plan = self._plan()
            if not was == plan.level == "hard":
                break
        if plan.level == "hard" and plan.target > 0 and not freed:
            plan = self._last_resort(plan)
        else:
            self._enter_state(plan.level)
        exhausted = self.state == "exhausted"
        # Under soft pressure an insert that freed something may use half of it, and need not look again.
        grant = freed // 2 if plan.level == "soft" and not watching else plan.grant
        self.allowance.left = 0 if exhausted else grant
        if self.neighbours is not None:
            self.neighbours.publish(self._share(), closely=False)
        # A value that could not stay even if every cache made way for it is not taken in.
        return not exhausted and (not self._inserting or self._inserting <= self.cap)

    def _read(self, *, trimmed: bool = False) -> Reading | None:
        self._held = held = engine.sizes(tallied_only=True)
        self.inheritance.held(held)
        # The value being inserted is in usage already; counted as cached it is not mistaken for others.
        self._own = held + self._inserting - (self.inheritance.shared if self.inheritance.child else 0)
        reading = self.memory.read()
        clock.tick()
        if reading is not None:
            account = self._accounts.get(reading.source)
            if account is None:  # usage under another ceiling is another number, not a change of this one
                account = self._accounts[reading.source] = self.account.elsewhere()
            account.observe(
                reading.usage,
                self._own + self._theirs(reading, account),
                self.timer(),
                limit=reading.limit,
                announced=self.rooms,
                idle=self.heap.idle(),
                trimmed=trimmed,
            )
            self.account = account
            self.reading = reading
            account.reaction = self._reaction()
            self.marks = self.marks_override or Marks.of(reading.limit, len(self._mates))
        return reading

    def _reaction(self) -> float:
        """Return how soon a burst is answered: later, the more have to, and the later the watcher comes."""
        late = max(0.0, self._lateness() - USUAL)
        return REACTION * (1.0 + min(len(self._mates), 8) / 4) + min(late, MOST_LATE)

    def _lateness(self) -> float:
        fade: float = 0.5 ** ((self.timer() - self._late_at) / LATE_HALF_LIFE)
        return self._late * fade

    def came_late(self, seconds: float) -> None:
        """Take note that the watcher came so much later than it wanted to: the machine is busy."""
        self._late, self._late_at = max(seconds, self._lateness()), self.timer()

    def _theirs(self, reading: Reading, account: Account) -> int:
        """Return what the caches of other processes under this ceiling hold, and tell them of ours.

        They may have taken in as much as they were granted since they last said so: what usage has grown by
        that nothing else explains is theirs, as far as that goes.
        """
        if self.neighbours is None:
            return 0
        self.neighbours.join(reading.shared)
        self.neighbours.publish(self._share(), closely=False)
        self._mates = self.neighbours.look(closely=False)
        cached = sum(mate.cached for mate in self._mates)
        unexplained = reading.usage - self._own - cached - account.retained - account.others
        granted = sum(mate.grant for mate in self._mates)
        return min(cached + min(granted, max(0, unexplained)), max(0, reading.usage - self._own))

    def _share(self) -> Share:
        """Return what neighbours are to know. What a parent shares with its children it still counts."""
        shared = 0 if self.inheritance.child else self.inheritance.shared
        return Share(self._own, max(0, self.allowance.left), self.rooms, shared)

    # -- deciding --------------------------------------------------------------------------------------

    @property
    def kept_free(self) -> int:
        """The headroom (bytes) that reclaim restores: `high` or the user's reserve, plus rooms made."""
        return max(self.marks.high, self.reserve) + self.rooms + sum(mate.room for mate in self._mates)

    @property
    def rooms(self) -> int:
        """What `make_room` blocks still keep free: all they asked for, less what others took meanwhile."""
        if not self._rooms:
            return 0
        taken = self.account.others - min(before for _, before in self._rooms)
        return max(0, sum(amount for amount, _ in self._rooms) - max(0, taken))

    @property
    def cap(self) -> int:
        """The most bytes that caches may hold: what others are expected to take and the free part leave."""
        if self.reading is None:
            return 0
        limit, account, trim = self.reading.limit, self.account, self.heap.took
        rooms = self.kept_free - max(self.marks.high, self.reserve)
        again = account.room_for(account.expected - account.others)
        known = account.others + max(again, account.going_on) + self.kept_free
        unknown = account.floor + account.room_for(account.unknown(limit), trim) + rooms
        return max(0, limit - max(known, unknown))

    @property
    def neighbour_count(self) -> int:
        """How many other processes have caches under the same ceiling."""
        return len(self._mates)

    def _plan(self) -> Plan:
        assert self.reading is not None
        return self._planner.plan(
            View(
                self.reading,
                self.account,
                self.marks,
                self.kept_free,
                self.cap,
                self._share().free,
                self.inheritance.shared,
                self._inserting,
                self._mates,
                self.state == "calm",
                self.timer(),
            )
        )

    # -- freeing ---------------------------------------------------------------------------------------

    def _free(self, plan: Plan, watching: bool, *, tallied_only: bool) -> int:
        """Carry `plan` out, account for the answer, and return the bytes freed.

        Answers that no reading bears out may be lies: then ask only those whose bytes are counted here.
        """
        usage, held, shared = self.account.usage, self._held, self.inheritance.shared
        target = plan.target
        if shared and self.reading is not None:
            # What is not free to give copies pages first, here and in every other process that does so.
            target = min(target, held - shared + max(MIB, self.reading.headroom // (1 + len(self._mates))))
        kind = "growth" if plan.growth else "hard" if plan.level == "hard" else "soft"
        self.passes[kind] += 1
        learns = not plan.growth or self.timer() - self._learnt_at >= LEARN_EVERY
        kept = self.heap.free() if learns else 0
        result = engine.reclaim(
            target,
            plan.level == "hard",
            why="growth" if plan.growth else "pressure",
            seconds=self._budget(watching),
            at_once=self._bursting,
            most=usage,
            tallied_only=tallied_only,
        )
        own_first = self.inheritance.child and IMPLEMENTATION == "native"
        gone = self.inheritance.gave(result.freed, held, own_first)
        if not watching:
            self._planner.went_in_a_slice(result.freed, target)
        self._note(result.freed, held)
        self._futile = 0 if result.freed else self._futile + 1
        if gone:
            if gone >= COPIED:  # undoes the copying
                self._trim()
            return result.freed
        if learns and result.freed >= MIB:
            self._learnt_at = self.timer()
            self._follow(result.freed, usage, 0 if plan.level != "calm" else kept, plan.level, watching)
        return result.freed

    def _budget(self, watching: bool) -> float | None:
        """Return for how many seconds to free softly; None: until it is done."""
        if self._bursting:
            return None if watching else LONG_SLICE
        return LONG_SLICE if watching else SLICE

    def _note(self, freed: int, held: int) -> None:
        """Account for `freed` bytes: sizes, `held` before, show theirs, the rest is believed a while."""
        self.freed += freed
        left = engine.sizes(tallied_only=True)
        self.account.claim(freed - max(0, held - left), self.timer())
        self._read()

    def _follow(self, freed: int, usage: int, kept: int, level: Level, watching: bool) -> None:
        """Find out what the kernel got back of `freed` bytes, and see to it if malloc holds on to them.

        `usage` was before; `kept` is what malloc may hold without being asked to return it.
        """
        at_once = usage - self.account.usage
        if at_once < freed // 2 and self.heap.free() - kept >= freed // 2:
            if not self._may_trim(level, watching):  # malloc could return it: not worth the time yet
                if not self._bursting:
                    self.account.returned(freed, at_once, None)
                    self._wonders = True
                return
            self._trim()
        if not self._bursting:
            self.account.returned(freed, at_once, usage - self.account.usage)

    @property
    def _bursting(self) -> bool:
        """Whether others grow so fast that usage says little of what was freed, and there is a hurry."""
        return self.account.going_on > self.marks.min

    @property
    def _pressed(self) -> bool:
        """Whether a burst may want more than the headroom that can be seen: credit is no use to it."""
        assert self.reading is not None
        return self._bursting and self.reading.headroom < self.kept_free + self.account.going_on

    def _crowded(self) -> bool:
        """Whether caches make room among themselves while malloc holds much that nobody uses."""
        if self.passes["growth"] == self._grown or not self.heap.may_trim("calm"):
            return False
        self._grown = self.passes["growth"]
        return self.heap.idle() >= max(self.marks.high, MIB)

    def _find_out(self) -> None:
        """Trim to see what comes back, on behalf of an insert that had no time to."""
        if self.heap.may_trim("calm") and self.heap.idle(now=True) >= MIB:
            self._wonders = False
            idle, usage = self.heap.idle(), self.account.usage
            self._trim()
            self.account.trimmed(idle, usage - self.account.usage)

    def _trim_instead(self, plan: Plan, watching: bool) -> bool:
        """Have malloc return what it holds free, if that is worth the time, before anything is evicted."""
        if not self._may_trim(plan.level, watching) or self.heap.idle(now=True) < max(
            MIB, plan.target // 2
        ):
            return False
        self._trim()
        return True

    def _may_trim(self, level: Level, watching: bool) -> bool:
        """Whether to trim now; as long as there is time, an insert leaves that to the watcher."""
        if level == "soft" and self._bursting:
            level = "hard"
        if not self.heap.may_trim(level):
            return False
        if not watching and level != "hard":
            self.wake()
            return False
        return True

    def _trim(self) -> None:
        self.heap.trim(at_once=self._bursting or self.state in ("hard", "exhausted"))
        self._read(trimmed=True)

    def _last_resort(self, plan: Plan) -> Plan:
        """Nobody has anything to free: collect what lies in cycles now and then, or give up for now."""
        now = self.timer()
        if self.state != "exhausted" and now - self._collected_at >= COLLECT_EVERY:
            self._collected_at = now
            gc.collect()
            self._trim()
            plan = self._plan()
        self._enter_state("exhausted" if plan.level == "hard" else plan.level)
        return plan

    def _enter_state(self, state: State) -> None:
        if self.state == "exhausted" and state != "calm":
            return  # admission comes back with calm, not with every byte
        if state == self.state:
            return
        was, self.state = self.state, state
        reading = self.reading
        if reading is None:
            return
        line = (
            logging.WARNING if state == "exhausted" else logging.INFO,
            "memory pressure: %s (was %s): headroom %s of %s (%s), caches %s, others %s%s",
            state,
            was,
            format_bytes(reading.headroom),
            format_bytes(reading.limit),
            reading.source,
            format_bytes(self.account.cached),
            format_bytes(self.account.others),
            "; nothing more can be freed, new values are not kept" if state == "exhausted" else "",
        )
        self._news.append(line)

    # -- for users -------------------------------------------------------------------------------------

    def reclaim(self, target: int | None, hard: bool) -> engine.Reclaimed:
        """Free `target` bytes (None: all) on the user's word, and account for them."""

        def work() -> engine.Reclaimed:
            held = engine.sizes(tallied_only=True)
            result = engine.reclaim(target, hard, why="reclaim")
            if self.reading is not None:
                self._note(result.freed, held)
            return result

        return self._turns.within(PATIENCE, work) or engine.reclaim(target, hard, why="reclaim")

    @contextmanager
    def make_room(self, amount: int) -> Generator[engine.Reclaimed, None, None]:
        """Free what is missing for `amount` bytes, softly first, and keep it from caches in the block."""
        self.look()
        room = (amount, self.account.others)
        self._rooms.append(room)
        self.allowance.left = 0
        try:
            yield self._clear_room()
        finally:
            self._rooms.remove(room)
            self.allowance.left = 0

    def _clear_room(self) -> engine.Reclaimed:
        # One big allocation needs pages from the kernel: what the allocator retains is no credit here.
        def missing() -> int:
            return max(0, self.kept_free - self.reading.headroom) if self.reading else 0

        wanted = missing()
        result = self.reclaim(wanted, False)
        if missing() and result.freed:
            self._turns.within(PATIENCE, self._trim)
        if not missing():
            return result
        harder = self.reclaim(missing(), True)
        return replace(
            harder,
            target=wanted,
            freed=result.freed + harder.freed,
            by=result.by + harder.by,
            seconds=result.seconds + harder.seconds,
        )

    def interval(self) -> float:
        """Return the seconds to the next look: no burst may run through half the headroom before it."""
        if self.reading is None or not (self._held or engine.unknown_sizes()):
            return SLOWEST
        # Where the last passes freed nothing, the next will hardly do better at once.
        patience = FASTEST * (1 << min(self._futile, 5))
        return min(SLOWEST, max(patience, self.reading.headroom / BURST / 2))
