"""The thread that looks when nobody inserts, and what keeps it right through fork and interpreter exit.

One daemon thread a process, started with the first cache or shrinker. It sleeps in `Memory.wait`, which a
kernel event or `wake()` cuts short, then lets the governor look and sweeps entries whose time is up. Events
only wake it: sizes always come from readings. After fork the child has no thread, a governor whose turn may
be held by nobody, and descriptors that it shares with its parent: all three are renewed, the thread on
first use. Bound: an expired entry outlives its deadline by at most `SLOWEST` seconds plus one look.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from typing import Protocol

from ebbcache.forking import in_child, in_parent
from ebbcache.gil import trying
from ebbcache.governor.deciding import SLOWEST, Governor
from ebbcache.memory import Memory

log = logging.getLogger("ebbcache.governor")


class Expiring(Protocol):
    """A cache whose entries have deadlines."""

    def expire(self) -> object:
        """Drop the entries whose time is up."""
        ...

    def seconds_to_expiry(self) -> float | None:
        """Return the seconds until an entry is due, 0 or less if one is, None if none has a deadline."""
        ...


class Watcher:
    """Runs `governor` on `memory` in a thread of its own."""

    def __init__(self, governor: Governor, memory: Memory) -> None:
        self.governor = governor
        self.memory = memory
        self.played = False  # a test plays memory and time: the thread only sweeps
        self.woken_by: dict[str, int] = {}
        self._expiring: dict[int, weakref.ref[Expiring]] = {}
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._failures: set[type[BaseException]] = set()
        self._starting = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether the thread is alive in this process."""
        return self._thread is not None and self._thread.is_alive()

    def ensure_running(self) -> None:
        """Start the thread unless it runs, or the interpreter is on its way out."""
        if self.running or self._stopping:
            return
        # Creating a cache may not fail or wait, so a second thread that comes here meanwhile just goes on.
        starting = self._starting
        for free in trying(starting):
            try:
                if free and not self.running:
                    thread = threading.Thread(target=self._run, name="ebbcache-governor", daemon=True)
                    self._thread = thread  # first: an interrupt may end the wait for its first moment
                    thread.start()
            except RuntimeError as error:  # no more threads, or interpreter shutdown: inserts still look
                log.warning(
                    "the governor's thread could not be started, only inserts watch memory: %s", error
                )
            finally:
                if free:
                    starting.release()
            break

    def watch_expiry(self, cache: Expiring) -> None:
        """Sweep `cache` when its entries are due, for as long as it lives."""
        # Each change of the dict is one atomic operation on int keys, so that neither another thread nor a
        # finaliser can come upon a half-made one.
        key, expiring = id(cache), self._expiring
        expiring[key] = weakref.ref(cache, lambda gone: expiring.pop(key, None))
        self.ensure_running()
        self.memory.wake()

    def failed(self, error: BaseException) -> None:
        """Log that looking at memory failed, once a kind of error; it is tried again."""
        if type(error) not in self._failures:
            self._failures.add(type(error))
            log.error("the governor failed to look at memory; it goes on", exc_info=error)

    def stop(self) -> None:
        """End the thread: at exit, so that it is quiet before modules are torn down."""
        self._stopping = True
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self.memory.wake()
            thread.join(timeout=1.0)
        if self.governor.sight.neighbours is not None:
            self.governor.sight.neighbours.leave()
        self.memory.close()

    def after_fork(self) -> None:
        """Renew, in a forked child, what it cannot share with its parent."""
        self._thread = None
        self._starting = threading.Lock()
        self.governor.after_fork()
        self.governor.allowance.left = 0  # the child's first insert looks for itself, and starts its thread
        self.memory.reopen()

    def _run(self) -> None:
        # Another thread takes over if an interrupt came amid the start of this one.
        while not self._stopping and self._thread in (None, threading.current_thread()):
            try:
                governor = self.governor  # read first: whoever plays says so before putting in another
                if not self.played:
                    governor.look()
                    governor.sight.meet()
                pause = self._sweep(self.governor.interval())
            except BaseException as error:
                # Nothing may end the thread, not even what ends others (SystemExit, CancelledError) when a
                # callback raises it; whatever it was is not repeated at full speed.
                self.failed(error)
                pause = SLOWEST
            if not self._stopping:
                began = time.monotonic()
                reason = self.memory.wait(pause)
                if reason is None and not self.played:  # where time is played, this thread's is another
                    self.governor.sight.came_late(time.monotonic() - began - pause)
                elif reason is not None:
                    self.woken_by[reason] = self.woken_by.get(reason, 0) + 1

    def _sweep(self, pause: float) -> float:
        """Expire what is due, and return `pause` or the time to the next deadline, whichever is sooner."""
        for ref in self._expiring.copy().values():
            cache = ref()
            if cache is None:
                continue
            try:
                due = cache.seconds_to_expiry()
                if due is not None and due <= 0:
                    cache.expire()
                    due = cache.seconds_to_expiry()
            except BaseException as error:  # its timer or listener: the other caches are swept all the same
                self.failed(error)
                continue
            if due is not None:
                pause = min(pause, max(due, 0.001))
        return pause


def install(watcher: Watcher) -> None:
    """Keep `watcher` right for the rest of the process' life: forks and interpreter exit."""
    in_child(watcher.after_fork)
    in_parent(lambda: watcher.governor.sight.inheritance.after_fork(child=False))
    atexit.register(watcher.stop)
