"""`Memory`: every source folded into one reading, the nearest ceiling's, and one place to wait.

The nearest ceiling is the one with the least headroom; a source that fails is left out, never taken for
plenty of room. Reading waits for no lock: it walks a tuple of sources that is replaced as a whole when the
process moves to another cgroup. Bound: a reading is one or two `pread`s for each source with a limit
(tens of microseconds in all); limits and the process's cgroup are half a second old at most.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import cast

from ebbcache.gil import holding, trying
from ebbcache.memory import cgroup1, cgroup2, events, psi, systemd
from ebbcache.memory.files import explain
from ebbcache.memory.finding import Found, find
from ebbcache.memory.reading import Missing, Reading, Source, SourceState, Survey, WakeupState
from ebbcache.memory.waiting import Candidate, Wakeups

_log = logging.getLogger("ebbcache.memory")

REFRESH = 0.5
"""Seconds after which limits are read again,"""

REFRESH_CLOSE = 0.02
"""Seconds, and the same while less than an eighth of the limit is left: it may be on its way down."""

RESOLVE = 5.0
"""Seconds after which everything is looked for anew: controllers get turned on, files readable."""

TAKEN = 16 << 30
"""Bytes a second that nobody takes: what is left more than that under a farther ceiling was left before."""

RETRY = 1.0
"""Seconds between two attempts to find everything anew because something could not be read."""


def _limit(limit: int | None) -> int | None:
    if limit is not None and (isinstance(limit, bool) or not isinstance(cast(object, limit), int)):
        raise TypeError(f"limit must be an int (bytes) or None, not {limit!r}")
    if limit is not None and limit <= 0:
        raise ValueError(f"limit must be positive, got {limit!r}")
    return limit


class Memory:
    """Where this process stands, and what wakes those who want to know.

    `limit` (bytes) is a ceiling of the user's own on the process's resident set. `root` is where /proc and
    /sys are looked for, so that a recorded tree can stand in for a machine; `timer` tells the seconds that
    the age of limits is measured in. Raises TypeError or ValueError for a limit that makes no sense, and
    otherwise never: what cannot be read is in the survey.

    `read()`, `wake()` and `set_limit()` may be called from any thread, `wait()` from one at a time.

    >>> memory = Memory()
    >>> reading = memory.read()
    >>> reading is None or reading.headroom == reading.limit - reading.usage
    True
    >>> memory.close()
    """

    def __init__(
        self, *, limit: int | None = None, root: str = "/", timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = _limit(limit)
        self._prefix = os.path.abspath(root).rstrip("/") if root != "/" else ""
        self._timer = timer
        self._start()

    def _start(self) -> None:
        # Re-entrant: a signal handler or finaliser may come here while its own thread holds it.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._closed = False
        # Nothing is opened before somebody asks: what imports this may yet fork and close all descriptors.
        self._opened = False
        self._found = Found()
        self._wakeups = Wakeups()
        self._nearest = ""
        self._close = False
        self._lost: dict[str, Missing] = {}
        self._told: set[str] = set()
        self._stale = True
        self._far: dict[Source, tuple[int, float]] = {}  # headroom in bytes, and when it was read
        self._refresh_at = self._resolve_at = self._retry_at = -math.inf

    def read(self) -> Reading | None:
        """Return where the process stands under its nearest ceiling; None if nothing could be read.

        Costs tens of microseconds, takes no lock that another thread may hold for long, and raises nothing.
        """
        try:
            return self._read()
        except MemoryError:  # the few bytes it takes cannot be had: nobody can say that there is room
            return None

    def _read(self) -> Reading | None:
        now = self._timer()
        if now >= self._refresh_at:
            self._keep_up(now)
        reading, failed = self._least(self._found.sources, now)
        if (failed or reading is None) and now >= self._retry_at and self._look_again(now):
            reading, failed = self._least(self._found.sources)
        if failed:
            self._announce()
        return reading

    def _least(self, sources: tuple[Source, ...], now: float | None = None) -> tuple[Reading | None, bool]:
        """Return the nearest ceiling's reading, and whether a source failed.

        With `now` given, what cannot be the nearest is not read: where the last reading left so much more
        than there is now under the nearest that nobody can have taken it since.
        """
        nearest: tuple[int, int, int, bool, Source] | None = None
        hard: int | None = None
        failed = False
        far = self._far if now is not None else {}
        for source in sources:
            if not source.limited:
                continue
            if nearest is not None and now is not None and source in far:
                left, at = far[source]
                if left - abs(now - at) * TAKEN > nearest[0] and not nearest[3]:
                    continue
            try:
                ceilings = source.ceilings(now)
            except (OSError, ValueError) as error:
                failed = True
                source.error = explain(error)
                if source.name == self._nearest:
                    self._lost[source.name] = Missing(
                        source.name, source.path, f"was the nearest ceiling until it failed: {source.error}"
                    )
                continue
            source.error = None
            if self._lost and source.stale is None:
                self._lost.pop(source.name, None)
                self._told.discard(source.name)
            for limit, usage, soft in ceilings:
                headroom = limit - usage
                if now is not None:
                    far[source] = (headroom, now)
                if nearest is None or headroom < nearest[0]:
                    nearest = (headroom, limit, usage, soft, source)
                if not soft and (hard is None or headroom < hard):
                    hard = headroom
        if nearest is None:
            return None, failed
        headroom, limit, usage, soft, source = nearest
        self._nearest = source.name
        self._close = headroom < limit // 8
        if soft:
            return Reading(
                limit, usage, headroom, f"{source.name} (high)", True, hard, source.shared
            ), failed
        return Reading(limit, usage, headroom, source.name, shared=source.shared), failed

    def _if_free(self, work: Callable[[], object]) -> bool:
        """Do `work` unless another thread holds the lock; return whether it was done."""
        # A reader never waits: whoever holds the lock is doing the same work.
        lock = self._lock
        for free in trying(lock):
            try:
                if free:
                    work()
                return free
            finally:
                if free:
                    lock.release()
        raise AssertionError("a lock is free or it is not")

    def _keep_up(self, now: float) -> None:
        """Read the limits again, or find everything anew if the process was moved, or it is time to."""
        if not self._opened:
            # The one time that a reader waits for another: there is nothing to read yet.
            holding(self._lock, partial(self._resolve_first, now))
        if not self._if_free(partial(self._refresh, now)):
            return
        # A limit that cannot be read stays what it was; but that may also mean that the cgroup is gone.
        if now >= self._retry_at and any(source.stale is not None for source in self._found.sources):
            self._look_again(now)

    def _refresh(self, now: float) -> None:
        self._refresh_at = now + (REFRESH_CLOSE if self._close else REFRESH)
        self._far = {}
        if now >= self._resolve_at or self._found.moved():
            self._resolve_at = now + RESOLVE
            self._resolve()
            return
        for source in self._found.sources:
            try:
                self._stale |= source.refresh()
                source.stale = None
            except (OSError, ValueError) as error:
                source.stale = f"limit could not be read again: {explain(error)}"

    def _look_again(self, now: float) -> bool:
        return self._if_free(partial(self._retry, now))

    def _retry(self, now: float) -> None:
        self._retry_at = now + RETRY
        self._resolve()

    def _resolve_first(self, now: float) -> None:
        if not self._opened:
            self._resolve_at = now + RESOLVE
            self._resolve()

    def _resolve(self) -> None:
        """Find everything anew; what there was stays if the process is short of descriptors or memory."""
        if self._closed:
            return
        moved = self._found.moved()
        try:
            found = find(self._prefix, self._limit)
        except OSError as error:
            if not self._found.sources:
                self._found = Found(missing=(Missing("everything", self._prefix or "/", explain(error)),))
            self._opened = True
            return
        if moved:
            # Those were the ceilings of another place, and what died there may live here.
            self._lost.clear()
            self._wakeups.died.clear()
        self._found, self._far = found, {}
        self._stale = self._opened = True

    def _announce(self) -> None:
        for name, lost in self._lost.copy().items():
            if name not in self._told:
                self._told.add(name)
                _log.warning("memory source %s (%s) %s", name, lost.path, lost.why)

    def set_limit(self, limit: int | None) -> None:
        """Set or (None) lift the user's own ceiling on this process's resident set, in bytes."""
        _limit(limit)
        holding(self._lock, partial(self._put_limit, limit))

    def _put_limit(self, limit: int | None) -> None:
        self._limit = limit
        self._found = self._found.with_limit(limit)
        self._lost.pop("limit", None)

    def wait(self, timeout: float) -> str | None:
        """Wait at most `timeout` seconds for something that makes it worth reading again.

        Returns the name of what it was ("psi", "memory.events", "pressure_level", "usage_threshold",
        "systemd"), "wake" for `wake()`, None when the time ran out, and "closed" at once after `close()`. A
        wake before the call ends it at once.
        """
        if math.isnan(timeout):
            raise ValueError(f"timeout must be a number of seconds, got {timeout!r}")
        end = time.monotonic() + timeout
        while True:
            wakeups = self._wakeups
            if self._closed:
                return "closed"
            self._arrange()
            name, lost = wakeups.wait(end - time.monotonic())
            if self._closed:
                return "closed"
            if lost:  # most likely with the cgroup that the process was in
                holding(self._lock, self._resolve_lost)
            if name is not None:
                self._refresh_at = -math.inf  # an event may well mean that the limit was lowered
                return name
            if not lost:
                return None

    def wake(self) -> None:
        """End the wait that is running, or else the next one; from any thread, or from a signal handler."""
        self._wakeups.wake()

    def _resolve_lost(self) -> None:
        self._stale = True
        self._resolve()

    def _arrange(self) -> None:
        """Arm what there is to arm, if anything changed since the last time."""
        holding(self._lock, self._arm)

    def _arm(self) -> None:
        if not self._opened:
            self._resolve()
        if self._stale and not self._closed:
            self._stale = False
            try:
                self._wakeups.arrange(self._wanted())
            except BaseException:  # an interrupt: what is not armed yet still is to be
                self._stale = True
                raise

    def _wanted(self) -> list[list[Candidate]]:
        """Return groups of candidates; of each group one is enough, and the first is the best."""
        groups: list[list[Candidate]] = []
        if not systemd.off(os.environ):
            asked = systemd.candidate(os.environ, self._prefix)
            stalls = [psi.candidate(path) for path in self._found.pressure]
            groups.append(stalls if asked is None else [asked, *stalls])
        for source in self._found.sources:
            if isinstance(source, cgroup2.Level) and source.limited:
                groups.append([events.memory_events(source.directory)])
            elif isinstance(source, cgroup1.Level) and source.limit is not None:
                groups.append([events.pressure_level(source.directory)])
                groups.append([events.usage_thresholds(source.directory, source.limit)])
        return groups

    def survey(self) -> Survey:
        """Read everything, arm what can be armed, return all that was found or not; takes milliseconds."""
        looked = holding(self._lock, self._look)
        if looked is None:
            return Survey(None, (), ())
        found, woken = looked
        reading = self._least(found.sources)[0]
        states: list[SourceState] = []
        for source in found.sources:
            states += self._states(source, reading)
        states += [SourceState(m.name, m.path, error=m.why) for m in (*found.missing, *self._lost.values())]
        if systemd.off(os.environ):
            why = f"turned off by {systemd.WATCH}={systemd.OFF}"
            woken += tuple(WakeupState("psi", path, False, error=why) for path in found.pressure)
        return Survey(reading, tuple(states), woken)

    def _look(self) -> tuple[Found, tuple[WakeupState, ...]] | None:
        if self._closed:
            return None
        self._resolve()
        self._arm()
        return self._found, self._wakeups.states()

    def _states(self, source: Source, reading: Reading | None) -> Iterator[SourceState]:
        """Yield one state for each ceiling of a source, or one that says that there is none, or why not."""
        try:
            ceilings = source.ceilings()
        except (OSError, ValueError) as error:
            yield SourceState(source.name, source.path, error=explain(error), note=source.note)
            return
        if not ceilings:
            yield SourceState(source.name, source.path, error=source.stale, note=source.note)
        for limit, usage, soft in ceilings:
            name = f"{source.name} (high)" if soft else source.name
            binding = reading is not None and reading.source == name
            headroom = limit - usage
            yield SourceState(
                name, source.path, limit, usage, headroom, soft, binding, source.stale, source.note
            )

    def close(self) -> None:
        """Let go of every descriptor; a running `wait()` ends, `read()` returns None from now on."""
        holding(self._lock, self._close_all).wake()

    def _close_all(self) -> Wakeups:
        self._closed = True
        before, self._wakeups = self._wakeups, Wakeups()
        self._found, self._far = Found(), {}
        return before

    def reopen(self) -> None:
        """Start afresh: in the child after a fork, whose descriptors are its parent's and read its parent.

        Nothing that the parent holds is touched: poll keeps no state in the kernel, and a trigger or
        notification lives until the last copy of its descriptor is closed.
        """
        if os.getpid() != self._pid:
            # The parent's other threads do not live on here, yet their frames hold on to what they read.
            for kept in (*self._found.kept(), *self._wakeups.kept()):
                kept.close()
        self._start()
