"""The program that has to survive: requests to a cache, and other memory use beside them.

    python -m benchmarks.survival.program SPEC

SPEC is one JSON object (see play.py and scenarios.py). The program tells what happens in lines of JSON on
standard output, a pipe that play.py reads: a report every 50 ms from a thread that only reads counters,
events of its loads, and a summary at the end. Times are CLOCK_MONOTONIC, which the sampler outside shares.
A pause is the time of one `get` or one insert, without the making of the value and without the collector's.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import random
import sys
import threading
import time
from typing import Any

from benchmarks.survival.loads import Loads
from benchmarks.survival.values import KINDS, number_of

REPORT_EVERY = 0.05
SKEW = (
    3.0  # popularity falls with rank ** -(1 - 1 / SKEW): the top third of the values gets 69 % of requests
)


def tell(kind: str, **fields: Any) -> None:
    """Write one record; a single write of less than PIPE_BUF bytes, so that threads and forks never mix."""
    record = {"k": kind, "t": round(time.monotonic(), 4), "pid": os.getpid()} | fields
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(record).encode()[:4000] + b"\n")


class Pauses:
    """A histogram of nanoseconds: four buckets to each power of two, and the longest exactly."""

    def __init__(self) -> None:
        self.counts = [0] * 256
        self.longest = self.longest_cpu = 0
        self.longest_at = 0.0

    def add(self, ns: int) -> None:
        bits = ns.bit_length()
        self.counts[bits * 4 + (ns >> (bits - 3) & 3) if bits > 2 else ns] += 1
        if ns > self.longest:
            self.longest = ns
            self.longest_at = time.monotonic()

    def merge(self, other: Pauses) -> None:
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        if other.longest > self.longest:
            self.longest, self.longest_at = other.longest, other.longest_at
        self.longest_cpu = max(self.longest_cpu, other.longest_cpu)

    def quantile(self, share: float) -> float:
        """Return the milliseconds (upper edge of the bucket) that `share` of the pauses do not exceed."""
        wanted, seen = share * sum(self.counts), 0
        for at, count in enumerate(self.counts):
            seen += count
            if seen and seen >= wanted:
                ns = (4 + at % 4 + 1) << max(0, at // 4 - 3) if at >= 12 else at
                return min(ns, self.longest) / 1e6
        return 0.0

    def summary(self) -> dict[str, float]:
        return {
            "count": sum(self.counts),
            "p999": round(self.quantile(0.999), 4),
            "max": round(self.longest / 1e6, 4),
            "max_cpu": round(self.longest_cpu / 1e6, 4),
            "at": round(self.longest_at, 3),
        }


class Collector:
    """How long the garbage collector ran so far; its pauses are CPython's, with or without a cache."""

    def __init__(self) -> None:
        self.ns = self._began = 0
        gc.callbacks.append(self._called)

    def _called(self, phase: str, info: object) -> None:
        if phase == "start":
            self._began = time.perf_counter_ns()
        else:
            self.ns += time.perf_counter_ns() - self._began


class Front:
    """The cache in front: ebbcache without a size, or an unbounded dict, or an LRU of fixed size."""

    def __init__(self, name: str, values: str) -> None:
        self.name, _, size = name.partition(":")
        self.governor: Any = None
        self.cache: Any
        if self.name == "ebbcache":
            import ebbcache
            from ebbcache import governor

            self.governor = governor.the_watcher.governor
            self.cache = ebbcache.LRUCache(name="front")
            self.get, self.set = self.cache.get, self.cache.__setitem__
        elif self.name == "unbounded":
            self.cache = {}
            self.get, self.set = self.cache.get, self.cache.__setitem__
        else:
            import cachetools

            import ebbcache

            self.cache = cachetools.LRUCache(int(size), getsizeof=ebbcache.sizeof)
            lock = threading.Lock()

            def get(key: int) -> Any:
                with lock:
                    return self.cache.get(key)

            def set(key: int, value: Any) -> None:
                with lock, contextlib.suppress(ValueError):  # larger than the whole cache
                    self.cache[key] = value

            self.get, self.set = get, set
        self._mean = KINDS[values].mean

    def cached(self) -> int:
        if self.name == "ebbcache":
            return int(self.cache.nbytes)
        return len(self.cache) * self._mean if self.name == "unbounded" else int(self.cache.currsize)

    def inside(self) -> dict[str, Any]:
        """Return what the governor makes of it; attributes only, no look."""
        if self.governor is None:
            return {}
        one = self.governor
        return {
            "state": one.state,
            "cap": one.sight.cap,
            "others": one.sight.account.others,
            "retained": one.sight.account.retained,
            "passes": [one.passes[kind] for kind in ("soft", "hard", "growth")],
            "freed": one.freed,
        }


class Requests:
    """One stream of requests, its counts and its pauses; `mode` is "both", "insert" or "read"."""

    def __init__(self, program: Program, seed: int, count: int, mode: str = "both") -> None:
        self.program = program
        self.chance = random.Random(seed)
        self.count = count
        self.mode = mode
        self.done = self.hits = self.misses = self.failed = 0
        self.errors: list[str] = []
        self.on_hit, self.on_insert = Pauses(), Pauses()

    def run(self) -> None:
        program, chance, mode = self.program, self.chance, self.mode
        get, put, make = program.front.get, program.front.set, program.kind.make
        universe, spread, fresh = program.universe, chance.random, program.spec.get("fresh", False)
        began, pace = time.monotonic(), program.seconds / self.count
        collector = program.collector
        clock, cpu = time.perf_counter_ns, time.thread_time_ns
        for number in range(self.count):
            elapsed = time.monotonic() - began
            if program.stop or elapsed > program.longest:
                break
            ahead = number * pace - elapsed
            if ahead > 0.002:
                time.sleep(ahead)
            n = (
                number + (self.count << 8) * (mode == "insert")
                if fresh
                else int(universe * spread() ** SKEW)
            )
            try:
                collected, start = collector.ns, clock()
                value = get(n)
                took = clock() - start - (collector.ns - collected)
                if value is not None:
                    self.hits += 1
                    self.on_hit.add(max(0, took))
                elif mode == "read":
                    self.misses += 1
                else:
                    self.misses += 1
                    value = make(n)
                    collected, used, start = collector.ns, cpu(), clock()
                    put(n, value)
                    took = clock() - start - (collector.ns - collected)
                    used = cpu() - used - (collector.ns - collected)
                    self.on_insert.add(max(0, took))
                    if used > self.on_insert.longest_cpu:
                        self.on_insert.longest_cpu = used
                if value is not None and number_of(value) != n:
                    raise LookupError(f"asked for value {n}, got value {number_of(value)}")
            except Exception as error:
                self.failed += 1
                if len(self.errors) < 5:
                    self.errors.append(repr(error)[:200])
            value = None
            self.done = number + 1

    def summary(self) -> dict[str, Any]:
        return {
            "hits": self.hits,
            "misses": self.misses,
            "failed": self.failed,
            "errors": self.errors,
            "on_hit": self.on_hit.summary(),
            "on_insert": self.on_insert.summary(),
        }


class Said(logging.Handler):
    """What the library logged, told as events."""

    def emit(self, record: logging.LogRecord) -> None:
        tell("log", level=record.levelname, text=record.getMessage()[:300])


class Program:
    """One process: its cache, its streams of requests, its loads, its reports."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.kind = KINDS[spec["values"]]
        self.limit: int = spec["limit"]
        self.seconds: float = spec["seconds"]
        self.universe = max(1, int(spec.get("universe", 3.0) * self.limit / self.kind.mean))
        self.stop = False
        self.longest = float("inf")
        self.streams: list[Requests] = []
        self.collector = Collector()
        self.kind.make(1)  # whatever it imports is the program's own, not the cache's
        if any(load.get("how") == "numpy" for load in spec.get("loads", [])):
            import numpy  # noqa: F401
        self.front = Front(spec["front"], spec["values"])
        self.loads = Loads(self.progress, tell, self.limit)
        if "EBBCACHE_QUIET" not in os.environ:
            logger = logging.getLogger("ebbcache")
            logger.addHandler(Said())
            logger.setLevel(logging.INFO)
            logger.propagate = False

    def progress(self) -> float:
        if not self.streams:
            return (time.monotonic() - self.began) / self.seconds
        return sum(one.done for one in self.streams) / sum(one.count for one in self.streams)

    def report(self) -> None:
        """Tell the counters every 50 ms; a report that comes late tells of a stopped interpreter."""
        while not self.stop:
            hits = sum(one.hits for one in self.streams)
            misses = sum(one.misses for one in self.streams)
            tell(
                "r",
                cached=self.front.cached(),
                own=self.loads.own,
                hits=hits,
                misses=misses,
                inserted=misses * self.kind.mean,
                progress=round(self.progress(), 4),
                **self.front.inside(),
            )
            time.sleep(REPORT_EVERY)

    def start(self) -> None:
        gc.collect()
        self.began = time.monotonic()
        tell("start", values=self.spec["values"], small=self.kind.small)
        time.sleep(0.1)  # the sampler outside sees what the program is without its cache

    def serve(self, seeds: list[tuple[int, int, str]]) -> None:
        """Run a stream for each of `seeds` (seed, count, mode), the loads beside them, then summarise."""
        self.streams = [Requests(self, *each) for each in seeds]
        self.began = time.monotonic()
        beside = [threading.Thread(target=self.report, daemon=True)]
        beside += [
            threading.Thread(target=self.loads.run, args=(load,), daemon=True)
            for load in self.spec.get("loads", [])
        ]
        for thread in beside:
            thread.start()
        threads = [threading.Thread(target=one.run) for one in self.streams[1:]]
        for thread in threads:
            thread.start()
        self.streams[0].run()
        for thread in threads:
            thread.join()
        self.stop = True
        self.summarise()

    def summarise(self) -> None:
        total = self.streams[0]
        for other in self.streams[1:]:
            total.hits += other.hits
            total.misses += other.misses
            total.failed += other.failed
            total.errors += other.errors
            total.on_hit.merge(other.on_hit)
            total.on_insert.merge(other.on_insert)
        tell("end", cached=self.front.cached(), **total.summary())


def main() -> None:
    spec = json.loads(sys.argv[1])
    if spec.get("workers"):
        from benchmarks.survival.workers import serve

        serve(Program(spec))
        return
    program = Program(spec)
    if spec.get("shrinkers"):
        from benchmarks.survival import hostile

        hostile.register(spec["shrinkers"], program)
    program.start()
    threads = spec.get("threads")
    if threads:
        count = spec["requests"] // (2 * threads)
        modes = ["insert", "read"] * threads
        program.serve([(spec["seed"] * 100 + at, count, mode) for at, mode in enumerate(modes)])
        from benchmarks.survival import invariants

        tell("checks", wrong=invariants.wrong(program.front))
    else:
        program.serve([(spec["seed"], spec["requests"], "both")])
    os._exit(0)  # load threads may be in the middle of something


if __name__ == "__main__":
    main()
