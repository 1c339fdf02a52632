"""The eviction engine: divide a target over all shrinkers, call them, check what they answer.

Shares follow the *waterline* (the design's value density): shrinkers tally their bytes by density
class, the tallies are added up, and everyone gives what lies below the class at which the bytes come to
the target, so that the least valuable bytes of the process go first, whoever holds them. It is the
equal-marginal-value rule of economics; rounds that ask again for what is missing come from Linux's
mm/vmscan. Bounds: one pass at a time in a process; never more than the missing bytes are asked for at any
moment, so a pass overshoots at most by what its very last call gave too much; at most 64 rounds.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ebbcache.clock import clock
from ebbcache.forking import in_child
from ebbcache.gil import taking
from ebbcache.shrinkers import Gave, Offer, Shrinker, registered
from ebbcache.units import parse_bytes

__all__ = ["Gave", "Pass", "Reclaimed", "current_pass", "divide", "reclaim", "sizes"]

ROUNDS = 64
SLICE = 0.002  # s: for so long a cache may keep other threads waiting in a pass that has time


def _taken_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass under way: `hard` or soft, and `why`, in the words of whoever started it."""

    hard: bool
    why: str
    thread: int = field(default_factory=threading.get_ident, repr=False)
    # Released at the end. A bare lock, because an Event is Python code that a finaliser may re-enter.
    over: threading.Lock = field(default_factory=_taken_lock, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Reclaimed:
    """What a reclaim came to: `freed` bytes of a `target` (None: all), given `by` whom, in `seconds`.

    `busy`: another thread's pass was under way, so nothing was done here; look at memory again. `nested`:
    this thread is inside a shrinker already, so nothing was done.
    """

    target: int | None
    freed: int
    hard: bool
    why: str
    by: tuple[Gave, ...]
    seconds: float
    busy: bool = False
    nested: bool = False


class _State:
    """The pass that runs in this process, if any; `gate` guards that field over straight-line code."""

    __slots__ = ("gate", "running")

    def __init__(self) -> None:
        # Re-entrant: a garbage collection on the way out of it may run a finaliser that reclaims.
        self.gate = threading.RLock()
        self.running: Pass | None = None


_state = _State()


def _after_fork() -> None:
    # The thread that ran the pass does not exist in the child. If the fork happened inside a shrinker,
    # the child may never return from it (multiprocessing), so that pass must not count either.
    _state.gate = threading.RLock()
    _state.running = None


in_child(_after_fork)


def current_pass() -> Pass | None:
    """Return the pass that this thread runs, None if it runs none. O(1); tells caches why they evict."""
    running = _state.running
    return running if running is not None and running.thread == threading.get_ident() else None


def sizes(*, tallied_only: bool = False) -> int:
    """Return the bytes that all registered shrinkers together say they hold. One call of each `size`.

    With `tallied_only` those that keep a tally: caches, whose bytes are counted here and no mere words.
    """
    most, total = _machine(), 0
    for shrinker in registered():
        if shrinker.tallies or not tallied_only:
            total += min(shrinker.held() or 0, most)
    return total


def unknown_sizes() -> bool:
    """Return whether somebody is registered who states no size that is counted here."""
    return any(not each.tallies for each in registered())


def reclaim(
    target: int | str | None,
    hard: bool = False,
    *,
    why: str = "reclaim",
    seconds: float | None = None,
    most: int | None = None,
    wait: float = 0.005,
    tallied_only: bool = False,
    at_once: bool = False,
) -> Reclaimed:
    """Have the registered shrinkers free `target` bytes (None: all they can) and say who freed what.

    Soft passes skip shrinkers that were slow lately, and ask nobody any more once `seconds` have gone by;
    caches, which free any amount, are asked for no more at a time than they do in a slice of `SLICE`
    seconds, unless all of it is needed `at_once`. Hard passes ask everyone, however long it takes. No
    answer counts for more than `most` bytes (default: the machine's memory) or than the size stated just
    before the call. With `tallied_only` only those that keep a tally are asked: caches make room among
    themselves, with memory not yet short.

    If another thread's pass is under way this waits for its end, at most `wait` seconds, and then returns
    a result with `busy` set either way: what was needed before may not be needed any more. Called from
    inside a shrinker it returns at once with `nested` set. Only exceptions that are no Exception
    (KeyboardInterrupt, SystemExit) come out of a callback. Cost: a few microseconds a shrinker, plus
    their tallies and what they do.
    """
    if target is not None:
        target = parse_bytes(target, "target")
    start = clock.tick()
    mine = Pass(bool(hard), why)
    running: Pass | None = None
    by: dict[int, Gave] = {}
    try:
        # No call and no allocation inside: neither an interrupt nor a finaliser can come in between, and
        # `finally` gives back exactly what was taken.
        gate = _state.gate
        for _ in taking(gate):
            try:
                running = _state.running
                if running is None:
                    _state.running = mine
            finally:
                gate.release()
            break
        if running is None:
            playing = [s for s in registered() if s.tallies or not tallied_only]
            most = _machine() if most is None else most
            _run(playing, target, mine.hard, by, seconds, most, at_once or mine.hard)
        elif running.thread != mine.thread and running.over.acquire(timeout=max(wait, 0.0)):
            running.over.release()
    finally:
        if _state.running is mine:  # nobody else changes it as long as it is
            _state.running = None
        mine.over.release()
    return Reclaimed(
        target,
        sum(gave.freed for gave in by.values()),
        mine.hard,
        why,
        tuple(by.values()),
        clock.tick() - start,
        busy=running is not None and running.thread != mine.thread,
        nested=running is not None and running.thread == mine.thread,
    )


@functools.cache
def _machine() -> int:
    """Return the bytes of memory that this machine has: nobody can free more."""
    # psutil would have to be imported, slowly, by the governor's thread: a child that is forked meanwhile
    # would wait for that import for ever.
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not POSIX
        return sys.maxsize


def _run(
    shrinkers: Sequence[Shrinker],
    target: int | None,
    hard: bool,
    by: dict[int, Gave],
    seconds: float | None,
    most: int,
    at_once: bool,
) -> None:
    """Ask in rounds until `target` is met or nobody gives any more; note everyone's part in `by`."""
    end = None if hard or seconds is None else clock.now + seconds
    playing: list[tuple[int, Shrinker]] = list(enumerate(shrinkers))
    freed = 0
    for _ in range(ROUNDS):
        if target is not None and freed >= target:
            return
        playing = [(i, s) for i, s in playing if s.registered and (hard or not s.resting(clock.now))]
        offers: list[Offer] = []
        for _, shrinker in playing:
            # Alone, it gets everything, and need not tell where it would begin.
            offers.append(shrinker.offer(hard, most, tally=target is not None and len(playing) > 1))
            if end is not None and clock.now >= end:
                return
        if target is None:
            shares = [most if offer.held is None else offer.held for offer in offers]
        else:
            shares = [min(share, most) for share in divide(target - freed, offers)]
        idle: set[int] = set()
        # The largest shares first: if somebody gives more than asked, the dust at the end need not move.
        for at in sorted(range(len(shares)), key=shares.__getitem__, reverse=True):
            number, shrinker = playing[at]
            share = shares[at] if target is None else min(shares[at], target - freed)
            if share == 0:
                break  # so are all that follow
            while True:
                # Not in one go, as long as there is time: other threads want to run in between.
                left = SLICE if end is None else min(SLICE, end - clock.now)
                piece = share if at_once else min(share, shrinker.within(left))
                gave = shrinker.ask(piece, hard, most)
                freed += gave.freed
                share -= gave.freed
                _note(by, number, gave)
                if (target is not None and freed >= target) or (end is not None and clock.now >= end):
                    return
                if gave.freed < piece or share <= 0:
                    break
            if gave.freed == 0:
                idle.add(number)
        if not any(shares):
            return
        playing = [(i, s) for i, s in playing if i not in idle]


def _note(by: dict[int, Gave], number: int, gave: Gave) -> None:
    before = by.get(number)
    if before is None:
        by[number] = gave
    else:
        by[number] = Gave(
            gave.name,
            before.asked + gave.asked,
            before.freed + gave.freed,
            before.seconds + gave.seconds,
            gave.error or before.error,
        )


def divide(target: int, offers: Sequence[Offer]) -> list[int]:
    """Return everyone's share of `target` bytes, in the order of `offers`. Pure; O(classes + offers).

    Those with a tally share by the waterline; those without are taken in proportion to the size they
    state, or to what they are likely to give. The shares add up to `target`, or to all that is held if
    that is less and everyone states a size; nobody is asked for more than it holds.

    >>> old, fresh = Offer(100, {-30: 80, -10: 20}), Offer(100, {-10: 100})
    >>> divide(60, [old, fresh])
    [60, 0]
    >>> divide(140, [old, fresh])
    [90, 50]
    """
    tallies = {at: _within(o.tally, o.held) for at, o in enumerate(offers) if o.tally is not None}
    known = {at: sum(tally.values()) for at, tally in tallies.items()}
    known |= {at: o.held for at, o in enumerate(offers) if o.tally is None and o.held is not None}
    # A newcomer that states nothing counts as an average one; one that gave nothing lately, for little.
    average = max(sum(known.values()) // len(known), 1) if known else 1
    unknown = {
        at: average if o.likely is None else max(o.likely, average // 16, 1)
        for at, o in enumerate(offers)
        if at not in known
    }
    shares = [0] * len(offers)
    total = sum(known.values())
    if target >= total + sum(unknown.values()):
        for at, held in known.items():
            shares[at] = held
        for at, share in zip(unknown, _pro_rata(target - total, list(unknown.values())), strict=True):
            shares[at] = share
        return shares
    others = {at: held for at, held in known.items() if at not in tallies} | unknown
    below = sum(known[at] for at in tallies)
    waterline, *rest = _pro_rata(target, [below, *others.values()])
    for at, share in zip(others, rest, strict=True):
        shares[at] = share
    for at, share in _waterline(waterline, tallies).items():
        shares[at] = share
    return shares


def _within(tally: Mapping[int, int], held: int | None) -> Mapping[int, int]:
    """Return `tally`, an estimate, cut to the bytes `held`, from the densest class down."""
    if held is None or sum(tally.values()) <= held:
        return tally
    cut: dict[int, int] = {}
    for density in sorted(tally):
        cut[density] = min(tally[density], held)
        held -= cut[density]
    return cut


def _waterline(target: int, tallies: Mapping[int, Mapping[int, int]]) -> dict[int, int]:
    """Divide `target`, which the tallies cover: whole classes from the lowest, the last one pro rata."""
    sea: Counter[int] = Counter()
    for tally in tallies.values():
        sea.update(tally)
    shares = dict.fromkeys(tallies, 0)
    for density in sorted(sea):
        here = [tally.get(density, 0) for tally in tallies.values()]
        for at, share in zip(tallies, _pro_rata(min(target, sea[density]), here), strict=True):
            shares[at] += share
        target -= sea[density]
        if target <= 0:
            break
    return shares


def _pro_rata(amount: int, weights: Sequence[int]) -> list[int]:
    """Split `amount` in proportion to `weights`, to the byte.

    Rounding the running sum keeps the total exact in one go, and lets no part exceed its weight as long
    as `amount` does not exceed the sum of all.
    """
    total = sum(weights)
    if total == 0:
        return [0] * len(weights)
    shares: list[int] = []
    seen = given = 0
    for weight in weights:
        seen += weight
        upto = amount * seen // total
        shares.append(upto - given)
        given = upto
    return shares
