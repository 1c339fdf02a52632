"""When to look at memory, and what is done about it: one reading, one plan, by whoever looks.

Two threads look: the watcher, and any thread whose inserts have spent the *allowance*, so that the promise
holds when the watcher starves under the GIL. A look takes in what there is to see (seeing.py), plans
(planning.py), and then either grants a new allowance or frees. A reading that does not move is no reason to
free everything: what was freed counts as credit, and more is freed only while headroom goes on falling. Of
what several processes under one ceiling are short of, each frees its part (shares.py).

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
from typing import Any, Literal

from ebbcache import engine
from ebbcache.governor import allocator
from ebbcache.governor.account import MIB
from ebbcache.governor.planning import Plan, Planner
from ebbcache.governor.seeing import MemorySource, Sight
from ebbcache.governor.shares import Neighbourhood
from ebbcache.governor.trimming import Heap, Level, Malloc
from ebbcache.governor.turns import Turns
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
COLLECT_EVERY = 5.0  # s: between two full garbage collections when nothing else is left
COPIED = 256 << 10  # bytes of shared entries: for giving up more than that malloc is trimmed
LEARN_EVERY = 1.0  # s: how often growth asks malloc what came of what it freed

State = Literal["calm", "soft", "hard", "exhausted"]


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
        self.timer = timer
        self.wake = wake  # the watcher, to do at once what an insert has no time for
        self.allowance = allowance or Allowance()
        self.sight = Sight(memory, timer, Heap(malloc, timer), neighbours, self.allowance)
        self.state: State = "calm"
        self.passes = {"soft": 0, "hard": 0, "growth": 0}
        self.freed = 0
        self.looks = 0
        self._collected_at = self._learnt_at = float("-inf")
        self._looked_at = float("-inf")
        self._futile = 0
        self._wonders = False
        self._news: list[tuple[Any, ...]] = []
        self._grown = 0
        self._planner = Planner()
        self._turns = Turns()

    def after_fork(self) -> None:
        """Begin anew in a forked child: with nobody's turn running, and with what it inherited."""
        self._turns = Turns()
        self.sight.after_fork()
        apart(True)

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

    def _overdraw(self) -> bool:
        """Answer for an insert that cannot look because another thread's look takes long.

        It may add what an eighth of the headroom at the last look allows, all such inserts together.
        """
        reading = self.sight.reading
        if reading is None or self.state in ("hard", "exhausted"):
            return reading is None and self.state == "calm"
        return -self.allowance.left <= max(0, reading.headroom - self.sight.marks.min) // 8

    def _look(self, inserting: int | None = None) -> bool:
        """Read and act; for an insert of so many bytes, or (None) for the watcher, which has more time."""
        self.sight.inserting = inserting or 0
        self.sight.heap.came_in(self.sight.inserting)
        try:
            return self._act(watching=inserting is None)
        finally:
            self.sight.inserting = 0
            # Only now: a handler writes to some file, and memory may have been a matter of milliseconds.
            while self._news:
                log.log(*self._news.pop(0))

    def _act(self, watching: bool) -> bool:
        self.looks += 1
        self._looked_at = self.timer()
        in_doubt = watching and self.sight.inheritance.in_doubt and self.state in ("calm", "soft")
        if in_doubt and self.sight.inheritance.find_out(engine.sizes(tallied_only=True)):
            apart(False)
        reading = self.sight.read()
        if reading is None:
            # Either nothing limits memory, or nothing could be read this time: no licence to grow.
            lost = self.sight.reading is not None
            self.allowance.left = 0 if lost else UNGOVERNED
            return not lost
        before, freed = self._planner.lowest, 0
        if watching and self._wonders:
            self._find_out()
        plan = self._plan()
        if self.sight.heap.mapped_from is None:
            self._map_large()
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
        if self.sight.neighbours is not None and self.sight.mates:
            self.sight.neighbours.publish(self.sight.share(), closely=False)
        # A value that could not stay even if every cache made way for it is not taken in.
        return not exhausted and (not self.sight.inserting or self.sight.inserting <= self.sight.capped)

    def _plan(self) -> Plan:
        return self._planner.plan(self.sight.view(calm=self.state == "calm"))

    # -- freeing ---------------------------------------------------------------------------------------

    def _free(self, plan: Plan, watching: bool, *, tallied_only: bool) -> int:
        """Carry `plan` out, account for the answer, and return the bytes freed.

        Answers that no reading bears out may be lies: then ask only those whose bytes are counted here.
        """
        usage, held, shared = self.sight.account.usage, self.sight.held, self.sight.inheritance.shared
        target = plan.target
        if shared and self.sight.reading is not None:
            # What is not free to give copies pages first, here and in every other process that does so.
            part = self.sight.reading.headroom // (1 + len(self.sight.mates))
            target = min(target, held - shared + max(MIB, part))
        kind = "growth" if plan.growth else "hard" if plan.level == "hard" else "soft"
        self.passes[kind] += 1
        learns = not plan.growth or self.timer() - self._learnt_at >= LEARN_EVERY
        kept = self.sight.heap.free() if learns else 0
        result = engine.reclaim(
            target,
            plan.level == "hard",
            why="growth" if plan.growth else "pressure",
            seconds=self._budget(watching),
            at_once=self.sight.bursting,
            most=usage,
            tallied_only=tallied_only,
        )
        own_first = self.sight.inheritance.child and IMPLEMENTATION == "native"
        gone = self.sight.inheritance.gave(result.freed, held, own_first)
        if not watching:
            self._planner.went_in_a_slice(result.freed, target)
        # Where it is known to take a trim there is no time to look first: that may cost this turn.
        trimmed = plan.level != "calm" and (watching or self.sight.bursting)
        trimmed = trimmed and result.freed >= MIB and self.sight.account.needs_trims
        trimmed = trimmed and self._may_trim(plan.level, watching)
        if trimmed:
            self.sight.heap.trim(at_once=True)
        self._note(result.freed, held, trimmed=trimmed)
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
        if self.sight.bursting:
            return None if watching else LONG_SLICE
        return LONG_SLICE if watching else SLICE

    def _note(self, freed: int, held: int, *, trimmed: bool = False) -> None:
        """Account for `freed` bytes: sizes, `held` before, show theirs, the rest is believed a while."""
        self.freed += freed
        left = engine.sizes(tallied_only=True)
        self.sight.account.claim(freed - max(0, held - left), self.timer())
        self.sight.read(trimmed=trimmed)

    def _follow(self, freed: int, usage: int, kept: int, level: Level, watching: bool) -> None:
        """Find out what the kernel got back of `freed` bytes, and see to it if malloc holds on to them.

        `usage` was before; `kept` is what malloc may hold without being asked to return it.
        """
        at_once = usage - self.sight.account.usage
        if at_once < freed // 2 and self.sight.heap.free() - kept >= freed // 2:
            if not self._may_trim(level, watching):  # malloc could return it: not worth the time yet
                if not self.sight.bursting:
                    self.sight.account.returned(freed, at_once, None)
                    self._wonders = True
                return
            self._trim()
        if not self.sight.bursting:
            self.sight.account.returned(freed, at_once, usage - self.sight.account.usage)

    def _map_large(self) -> None:
        """Have large blocks go back at once when freed, if most bytes are in such, ere any is evicted."""
        assert self.sight.reading is not None
        size = 0
        if 2 * self.sight.held >= self.sight.capped:
            size = self.sight.heap.map_large(self.sight.reading.limit)
        if size:
            text = "most cached bytes are in large values: malloc is to map blocks of %s and more"
            self._news.append((logging.INFO, text, format_bytes(size)))

    @property
    def _pressed(self) -> bool:
        """Whether a burst may want more than the headroom that can be seen: credit is no use to it."""
        sight = self.sight
        assert sight.reading is not None
        return sight.bursting and sight.reading.headroom < sight.kept_free + sight.account.going_on

    def _crowded(self) -> bool:
        """Whether caches make room among themselves while malloc holds much, here and in each neighbour."""
        if self.passes["growth"] == self._grown or not self.sight.heap.may_trim("calm"):
            return False
        self._grown = self.passes["growth"]
        # What large values, now mapped, left in the heap is of no use to those that come after them.
        parts = (8 if self.sight.heap.mapped_from else 1) + 2 * len(self.sight.mates)
        return self.sight.heap.idle() >= max(self.sight.marks.high // parts, MIB)

    def _find_out(self) -> None:
        """Trim to see what comes back, on behalf of an insert that had no time to."""
        if self.sight.heap.may_trim("calm") and self.sight.heap.idle(now=True) >= MIB:
            self._wonders = False
            idle, usage = self.sight.heap.idle(), self.sight.account.usage
            self._trim()
            self.sight.account.trimmed(idle, usage - self.sight.account.usage)

    def _trim_instead(self, plan: Plan, watching: bool) -> bool:
        """Have malloc return what it holds free, if that is worth the time, before anything is evicted."""
        if not self._may_trim(plan.level, watching) or self.sight.heap.idle(now=True) < max(
            MIB, plan.target // 2
        ):
            return False
        self._trim()
        return True

    def _may_trim(self, level: Level, watching: bool) -> bool:
        """Whether to trim now; as long as there is time, an insert leaves that to the watcher."""
        if level == "soft" and self.sight.bursting:
            level = "hard"
        if not self.sight.heap.may_trim(level):
            return False
        if not watching and level != "hard":
            self.wake()
            return False
        return True

    def _trim(self) -> None:
        self.sight.heap.trim(at_once=self.sight.bursting or self.state in ("hard", "exhausted"))
        self.sight.read(trimmed=True)

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
        reading = self.sight.reading
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
            format_bytes(self.sight.account.cached),
            format_bytes(self.sight.account.others),
            "; nothing more can be freed, new values are not kept" if state == "exhausted" else "",
        )
        self._news.append(line)

    # -- for users -------------------------------------------------------------------------------------

    def reclaim(self, target: int | None, hard: bool) -> engine.Reclaimed:
        """Free `target` bytes (None: all) on the user's word, and account for them."""

        def work() -> engine.Reclaimed:
            held = engine.sizes(tallied_only=True)
            result = engine.reclaim(target, hard, why="reclaim")
            if self.sight.reading is not None:
                self._note(result.freed, held)
            return result

        return self._turns.within(PATIENCE, work) or engine.reclaim(target, hard, why="reclaim")

    @contextmanager
    def make_room(self, amount: int) -> Generator[engine.Reclaimed, None, None]:
        """Free what is missing for `amount` bytes, softly first, and keep it from caches in the block."""
        self.look()
        room = (amount, self.sight.account.others)
        self.sight.asked.append(room)
        self.allowance.left = 0
        try:
            yield self._clear_room()
        finally:
            self.sight.asked.remove(room)
            self.allowance.left = 0

    def _clear_room(self) -> engine.Reclaimed:
        # One big allocation needs pages from the kernel: what the allocator retains is no credit here.
        def missing() -> int:
            return max(0, self.sight.kept_free - self.sight.reading.headroom) if self.sight.reading else 0

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
        if self.sight.reading is None or not (self.sight.held or engine.unknown_sizes()):
            return SLOWEST
        # Where the last passes freed nothing, the next will hardly do better at once.
        patience = FASTEST * (1 << min(self._futile, 5))
        return min(SLOWEST, max(patience, self.sight.reading.headroom / BURST / 2))
