"""The demo's two parties: a neighbour that takes memory and gives it back, and a service that serves.

The neighbour is a thread that holds touched memory in pieces of 1 MiB. The service answers requests from
one function decorated with `@cached`, and puts every request to two caches of fixed size as well. Those
two are shadows: real caches of this library, given the same keys, sizes and costs, but holding the numbers
in place of the documents. They hit and miss exactly as full ones would, yet leave the memory to the cache
that is on show; two full caches in one process would fight over it. Bound: a shadow costs some 300 bytes
and a few microseconds an entry.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from ebbcache.caches import DensityCache, LRUCache
from ebbcache.demo.record import Counts
from ebbcache.demo.workload import Document, Library
from ebbcache.memoize import cached
from ebbcache.sizing import sizeof

MIB = 1024 * 1024

PLAN: tuple[tuple[float, float], ...] = (
    (0.00, 0.0),
    (0.32, 0.0),
    (0.38, 1.0),
    (0.44, 1.0),
    (0.46, 0.0),
    (0.86, 0.0),
    (0.90, 1.0),
    (0.95, 1.0),
    (0.97, 0.0),
)
"""What the neighbour does: at this part of the time it holds that part of its peak; in between, a ramp."""

_STEP = 0.01  # seconds between two steps of a ramp


class Neighbour:
    """Something else that wants memory: up to `peak` bytes over `seconds`, as `plan` says."""

    def __init__(self, peak: int, seconds: float, plan: Sequence[tuple[float, float]] = PLAN) -> None:
        self.peak = peak
        self._seconds = seconds
        self._plan = plan
        self._pieces: list[bytes] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="neighbour", daemon=True)

    @property
    def held(self) -> int:
        """Bytes it holds now."""
        return len(self._pieces) * MIB

    def start(self) -> None:
        """Begin the plan."""
        self._thread.start()

    def stop(self) -> None:
        """Give everything back and end the thread."""
        self._stop.set()
        self._thread.join()
        self._pieces.clear()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(_STEP):
            self.hold(round(self.share((time.monotonic() - began) / self._seconds) * self.peak / MIB))

    def share(self, at: float) -> float:
        """Return the part of its peak that it holds when the part `at` of the time is over."""
        for (start, before), (end, after) in pairwise(self._plan):
            if start <= at < end:
                return before + (after - before) * (at - start) / (end - start)
        return self._plan[-1][1]

    def hold(self, pieces: int) -> None:
        """Take or give back memory until `pieces` MiB are held."""
        del self._pieces[pieces:]
        while len(self._pieces) < pieces:
            # Repeating a byte writes every page; a bytearray of zeros would be memory in name only.
            self._pieces.append(b"\xa5" * MIB)


class Service:
    """Serves documents of `library` in the order of `requests`, beside two shadows of `fixed_bytes`."""

    def __init__(self, library: Library, requests: Iterator[int], fixed_bytes: int) -> None:
        self._requests = requests
        self._costs: dict[int, float] = {}
        self._sizes: dict[int, int] = {}
        self._lru = LRUCache[int, int](maxbytes=fixed_bytes, sizeof=_stated, register=False)
        self._same = DensityCache[int, int](maxbytes=fixed_bytes, sizeof=_stated, register=False)
        self.counts = Counts()
        self.saved = [0.0, 0.0, 0.0]
        """Seconds of work that ebbcache, the fixed LRU and the fixed twin spared."""

        def make(number: int) -> Document:
            began = time.perf_counter()
            document = library.make(number)
            self._costs[number] = time.perf_counter() - began
            self._sizes[number] = sizeof(document) + sizeof(number)
            self._missed = True
            return document

        self._missed = False
        self.document = cached(make)

    @property
    def fixed(self) -> int:
        """Bytes that the fixed LRU cache would hold."""
        return self._lru.nbytes

    def serve(self, until: Callable[[], bool]) -> None:
        """Serve one request after another until `until()` holds."""
        for number in self._requests:
            if until():
                return
            self.serve_one(number)

    def serve_one(self, number: int) -> Document:
        """Serve document `number`, and let the shadows see the request."""
        self._missed = False
        document = self.document(number)
        hits = (not self._missed, self._shadow(self._lru, number), self._shadow(self._same, number))
        cost = self._costs[number]
        self.saved = [saved + cost * hit for saved, hit in zip(self.saved, hits, strict=True)]
        was = self.counts
        # One new tuple, so that the recorder's thread never sees half a request.
        self.counts = Counts(
            was.requests + 1, was.hits + hits[0], was.lru_hits + hits[1], was.same_hits + hits[2]
        )
        return document

    def _shadow(self, shadow: LRUCache[int, int] | DensityCache[int, int], number: int) -> bool:
        if shadow.get(number) is not None:
            return True
        shadow.set(number, self._sizes[number], cost=self._costs[number])
        return False


def _stated(key: int, value: int) -> int:
    return value
