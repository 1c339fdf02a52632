"""When to free and how much: one reading, one decision, by whoever looks.

Two threads look: the watcher, and any thread whose inserts have spent the *allowance*, so that the promise
holds when the watcher starves under the GIL. A look reads the nearest ceiling, tells cached, others and
retained apart (account.py), and then either grants a new allowance or frees: `high - headroom - credit`
bytes, softly under `low`, hard under `min`. Caches may grow into what others are not expected to take; at
that cap they make room among themselves. A reading that does not move is no reason to free everything: what
was freed counts as credit, and more is freed only while headroom goes on falling.

Bounds: an insert waits at most `WAIT` seconds for another thread's look; between two readings caches grow
by at most a quarter of what is free for them; one log line a change of state.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol, TypeVar

from ebbcache import engine
from ebbcache.clock import clock
from ebbcache.governor import allocator
from ebbcache.governor.account import MIB, Account, Marks
from ebbcache.memory import Reading
from ebbcache.store import Allowance
from ebbcache.units import format_bytes

log = logging.getLogger("ebbcache.governor")

WAIT = 0.005  # s: the longest that an insert waits for another thread's look
PATIENCE = 1.0  # s: the same for a caller who asked for memory by name
FASTEST, SLOWEST = 0.01, 1.0  # s: bounds of the watcher's interval
BURST = 1 << 30  # bytes/s: what others may allocate while nobody looks
SMALLEST_GRANT = 64 << 10  # bytes: under this a look would cost more than it guards
UNGOVERNED = 256 * MIB  # bytes: the allowance where nothing limits memory
COLLECT_EVERY = 5.0  # s: between two full garbage collections when nothing else is left
ASK_EVERY = 0.25  # s: between two questions what malloc holds free
LEARN_EVERY = 1.0  # s: how often growth asks malloc what came of what it freed
TRIM_SHARE = {"calm": 1 / 50, "soft": 1 / 20, "hard": 1 / 3}  # of the time may be spent in malloc_trim

T = TypeVar("T")
Level = Literal["calm", "soft", "hard"]
State = Literal["calm", "soft", "hard", "exhausted"]


class MemorySource(Protocol):
    """What the governor needs of `ebbcache.memory.Memory`, or of a stand-in for tests."""

    def read(self) -> Reading | None:
        """Return the nearest ceiling, or None where nothing limits memory."""
        ...


class Malloc(Protocol):
    """What the governor needs of `ebbcache.governor.allocator`."""

    def free_bytes(self) -> int:
        """Return the bytes that malloc holds free."""
        ...

    def trim(self) -> None:
        """Have malloc return what it can."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """One decision: how urgent it is, the bytes to free, and the bytes to let in until the next look.

    With `growth`, caches make room for their own inserts, and nobody else is asked.
    """

    level: Level
    target: int
    grant: int
    growth: bool = False


class Turn:
    """Somebody's turn to look: whose, and a lock that is free when it is over."""

    __slots__ = ("over", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.over = threading.Lock()
        self.over.acquire()


class Governor:
    """Decides for one process, with `memory` and `timer` (seconds) injected; watcher.py has the thread."""

    def __init__(
        self,
        memory: MemorySource,
        *,
        timer: Callable[[], float] = time.monotonic,
        allowance: Allowance | None = None,
        malloc: Malloc = allocator,
    ) -> None:
        self.memory = memory
        self.malloc = malloc
        self.timer = timer
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
        self._hard_headroom: int | None = None
        self._collected_at = self._learnt_at = self._trimmed_until = float("-inf")
        self._trim_took = 0.0
        self._ask_malloc_at = float("-inf")
        self._idle = self._hollow = 0
        self._looked_at = float("-inf")
        self._futile = 0
        self.renew_lock()

    def renew_lock(self) -> None:
        """Forget who was looking: a forked child inherits the turn of a thread that it does not have."""
        self._gate = threading.RLock()
        self._turn: Turn | None = None

    # -- looking ---------------------------------------------------------------------------------------

    def spent(self, size: int) -> bool:
        """Answer whether an insert of `size` bytes is kept, now that the allowance is used up."""
        if self.state == "exhausted" and self.timer() - self._looked_at < FASTEST:
            return False  # nothing can have changed
        kept = self._in_turn(WAIT, partial(self._look, size))
        if kept is not None:
            return kept
        running = self._turn
        if running is not None and running.thread == threading.get_ident():
            # A shrinker, listener or finaliser inserts in the middle of a look.
            return self.state != "exhausted"
        return self._overdraw()

    def look(self) -> None:
        """Read and act once, as the watcher does; passed over while another thread is at it."""
        self._in_turn(WAIT, self._look)

    def _in_turn(self, seconds: float, work: Callable[[], T]) -> T | None:
        """Return what `work()` does; None, undone, if another thread's turn lasts longer than `seconds`.

        A turn is a token, not a lock around data: nobody waits for it longer than `seconds`, so the user's
        callbacks that run during a turn hold nobody up. It is taken and given up in straight-line code, and
        the `finally` is entered before it is taken: no exception of a signal handler leaves it taken.
        """
        turn = Turn()
        try:
            return work() if self._take(turn, seconds) else None
        finally:
            with self._gate:
                if self._turn is turn:
                    self._turn = None
                    self._inserting = 0
            turn.over.release()

    def _take(self, turn: Turn, seconds: float) -> bool:
        """Make `turn` the one that runs, if need be after another thread's, within `seconds`."""
        with self._gate:
            running = self._turn
            if running is None:
                self._turn = turn
        if running is not None and running.thread != turn.thread and running.over.acquire(timeout=seconds):
            running.over.release()
            with self._gate:
                if self._turn is None:
                    self._turn = turn
        return self._turn is turn

    def _overdraw(self) -> bool:
        """Answer for an insert that cannot look because another thread's look takes long.

        It may add what an eighth of the headroom at the last look allows, all such inserts together.
        """
        reading = self.reading
        if reading is None or self.state in ("hard", "exhausted"):
            return reading is None and self.state == "calm"
        return -self.allowance.left <= max(0, reading.headroom - self.marks.min) // 8

    def _look(self, inserting: int = 0) -> bool:
        self._inserting = inserting
        self.looks += 1
        self._looked_at = self.timer()
        reading = self._read()
        if reading is None:
            # Either nothing limits memory, or nothing could be read this time: no licence to grow.
            lost = self.reading is not None
            self.allowance.left = 0 if lost else UNGOVERNED
            return not lost
        before, freed = self._hard_headroom, 0
        plan = self._plan(reading)
        if plan.target > 0 and not plan.growth and self._trim_instead(plan):
            self._hard_headroom = before  # the fall that this plan answers is still to be made good
            plan = self._plan(self.reading or reading)
        for again in (False, True):  # a second time where the first did not end hard pressure
            self._enter_state(plan.level)
            if plan.target <= 0:
                break
            was = plan.level
            freed += self._free(plan, tallied_only=again or plan.growth)
            plan = self._plan(self.reading or reading)
            if not was == plan.level == "hard":
                break
        if plan.level == "hard" and plan.target > 0 and not freed:
            plan = self._last_resort(plan)
        else:
            self._enter_state(plan.level)
        exhausted = self.state == "exhausted"
        self.allowance.left = 0 if exhausted else plan.grant
        # A value that could not stay even if every cache made way for it is not taken in.
        return not exhausted and self._inserting <= self.cap

    def _read(self, *, trimmed: bool = False) -> Reading | None:
        # The value being inserted is in usage already; counted as cached it is not mistaken for others.
        cached = engine.sizes(tallied_only=True) + self._inserting
        reading = self.memory.read()
        clock.tick()
        if reading is not None:
            account = self._accounts.get(reading.source)
            if account is None:  # usage under another ceiling is another number, not a change of this one
                account = self._accounts[reading.source] = self.account.elsewhere()
            account.observe(
                reading.usage,
                cached,
                self.timer(),
                announced=self.rooms,
                idle=self._idle_bytes(),
                trimmed=trimmed,
            )
            self.account = account
            self.reading = reading
            self.marks = self.marks_override or Marks.of(reading.limit)
        return reading

    def _idle_bytes(self) -> int:
        """Return what malloc holds free and the kernel has not got back, as of a moment ago.

        Asked again when that takes a hundredth of the time at most. Pages that a trim returned out of the
        middle of the heap still are free blocks to malloc, until they are used again.
        """
        now = self.timer()
        if now >= self._ask_malloc_at:
            free = self.malloc.free_bytes()
            self._hollow = min(self._hollow, free)
            self._idle = free - self._hollow
            self._ask_malloc_at = now + max(ASK_EVERY, 100 * (self.timer() - now))
        return self._idle

    # -- deciding --------------------------------------------------------------------------------------

    @property
    def kept_free(self) -> int:
        """The headroom (bytes) that reclaim restores: `high` or the user's reserve, plus rooms made."""
        return max(self.marks.high, self.reserve) + self.rooms

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
        limit, account = self.reading.limit, self.account
        taken = max(account.expected + self.kept_free, account.floor + account.unknown(limit) + self.rooms)
        return max(0, limit - taken)

    def _plan(self, reading: Reading) -> Plan:
        account, marks = self.account, self.marks
        extra = self.kept_free - marks.high
        short = marks.high + extra - reading.headroom - account.credit
        left = reading.headroom
        if reading.soft:
            # Crossing a soft ceiling (memory.high) gets a process slowed down, not killed: memory is nearly
            # out when that one is crossed, or when the nearest hard one is close.
            left += marks.min
            if reading.hard_headroom is not None:
                left = min(left, reading.hard_headroom)
        if left < marks.min:
            short += account.in_flight  # no time for mere words
            return Plan("hard", max(short, self._fallen(left), self._inserting), 0)
        self._hard_headroom = None
        room = reading.headroom + account.credit - extra
        if room < marks.low or (self.state != "calm" and short > 0):
            return Plan("soft", short, 0)
        # Half of what is retained counts: inserts are likely to reuse it, a burst of others is not.
        room = min(self.cap - account.cached - account.retained // 2, room - marks.high)
        if room >= SMALLEST_GRANT:
            return Plan("calm", 0, max(room // 4, SMALLEST_GRANT))
        over = max(account.cached - self.cap, 0)
        if not over and not self._inserting:
            return Plan("calm", 0, max(room, 0))
        # At the cap as much is freed as comes in, a batch at a time so that a look pays for itself. Where
        # others pushed the cap down, everybody is asked, and there is no hurry.
        batch = max(min(account.cached, self.cap) // 64, SMALLEST_GRANT)
        target = min(over, max(4 * batch, self._inserting)) + batch
        return Plan("calm", target, batch, growth=over <= self._inserting + SMALLEST_GRANT)

    def _fallen(self, headroom: int) -> int:
        """Return what to free under `min`, where the kernel must get memory back, whatever the credit.

        Headroom that fell on since the last hard pass has to be made good, by more than it fell if lately
        only a part of what was freed came back. Headroom that stands still asks for nothing more.
        """
        before = self.marks.min if self._hard_headroom is None else self._hard_headroom
        self._hard_headroom = min(before, headroom)
        return int(max(0, before - headroom) * self.account.to_return_one)

    # -- freeing ---------------------------------------------------------------------------------------

    def _free(self, plan: Plan, *, tallied_only: bool) -> int:
        """Carry `plan` out, account for the answer, and return the bytes freed.

        Answers that no reading bears out may be lies: then ask only those whose bytes are counted here.
        """
        usage, cached = self.account.usage, self.account.cached - self._inserting
        kind = "growth" if plan.growth else "hard" if plan.level == "hard" else "soft"
        self.passes[kind] += 1
        learns = not plan.growth or self.timer() - self._learnt_at >= LEARN_EVERY
        kept = self.malloc.free_bytes() if learns else 0
        result = engine.reclaim(
            plan.target,
            plan.level == "hard",
            why="growth" if plan.growth else "pressure",
            most=usage,
            tallied_only=tallied_only,
        )
        self._note(result.freed, cached)
        self._futile = 0 if result.freed else self._futile + 1
        if learns and result.freed >= MIB:
            self._learnt_at = self.timer()
            self._follow(result.freed, usage, 0 if plan.level != "calm" else kept, plan.level)
        return result.freed

    def _note(self, freed: int, cached: int) -> None:
        """Account for `freed` bytes: stated sizes show theirs at once, the rest is believed for a while."""
        self.freed += freed
        left = engine.sizes(tallied_only=True)
        self.account.claim(freed - max(0, cached - left), self.timer())
        self._read()

    def _follow(self, freed: int, usage: int, kept: int, level: Level) -> None:
        """Find out what the kernel got back of `freed` bytes, and see to it if malloc holds on to them.

        `usage` was before; `kept` is what malloc may hold without being asked to return it.
        """
        if usage - self.account.usage < freed // 2 and self.malloc.free_bytes() - kept >= freed // 2:
            if not self._may_trim(level):
                return  # malloc could return it, but it is not worth the time yet: nothing was learnt
            self._trim()
        self.account.returned(freed, usage - self.account.usage)

    def _trim_instead(self, plan: Plan) -> bool:
        """Have malloc return what it holds free, if that is worth the time, before anything is evicted."""
        if not self._may_trim(plan.level):
            return False
        self._ask_malloc_at = float("-inf")  # this needs the present figure
        if self._idle_bytes() < max(MIB, plan.target // 2):
            return False
        self._trim()
        return True

    def _may_trim(self, level: Level) -> bool:
        return (self.timer() - self._trimmed_until) * TRIM_SHARE[level] >= self._trim_took

    def _trim(self) -> None:
        began = self.timer()
        self.malloc.trim()
        self._trimmed_until = self.timer()
        self._trim_took = self._trimmed_until - began
        self._idle, self._hollow = 0, self.malloc.free_bytes()
        self._read(trimmed=True)

    def _last_resort(self, plan: Plan) -> Plan:
        """Nobody has anything to free: collect what lies in cycles now and then, or give up for now."""
        now = self.timer()
        if self.state != "exhausted" and now - self._collected_at >= COLLECT_EVERY:
            self._collected_at = now
            gc.collect()
            self._trim()
            plan = self._plan(self.reading) if self.reading else plan
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
        log.log(
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

    # -- for users -------------------------------------------------------------------------------------

    def reclaim(self, target: int | None, hard: bool) -> engine.Reclaimed:
        """Free `target` bytes (None: all) on the user's word, and account for them."""

        def work() -> engine.Reclaimed:
            cached = engine.sizes(tallied_only=True)
            result = engine.reclaim(target, hard, why="reclaim")
            if self.reading is not None:
                self._note(result.freed, cached)
            return result

        return self._in_turn(PATIENCE, work) or engine.reclaim(target, hard, why="reclaim")

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
            self._in_turn(PATIENCE, self._trim)
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
        if self.reading is None or not self.account.cached:
            return SLOWEST
        # Where the last passes freed nothing, the next will hardly do better at once.
        patience = FASTEST * (1 << min(self._futile, 5))
        return min(SLOWEST, max(patience, self.reading.headroom / BURST / 2))
