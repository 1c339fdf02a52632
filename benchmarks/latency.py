"""What one operation costs: hits, misses, inserts, decorated calls, next to dict, functools, other caches.

All contenders take turns within a round, and each round gives ratios; the medians of these are shown, for
they stand still where nanoseconds wander with the machine's load. Fresh random orders are drawn for each
round, as replaying one lets linked lists prefetch their own future. ebbcache runs with everything on: sizes
measured, registered, governor running; the others as they come.

    python benchmarks/latency.py              everything, some minutes and 2 GiB
    python benchmarks/latency.py --quick      1,000 entries only

With EBBCACHE_NATIVE=1 in the environment it is the native store that is measured.

Packages that are not installed are left out: cachebox, cachetools, lru-dict, moka-py, theine.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib
import os
import random
import statistics
import sys
import threading
from collections.abc import Callable, Iterable
from time import perf_counter, sleep
from typing import Any

import ebbcache
from ebbcache.store import IMPLEMENTATION

Run = Callable[[], float]
"""Does some operations and answers seconds for each."""


def module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def compare(title: str, runs: dict[str, Run], base: str, rounds: int) -> None:
    """Print one row: each contender's median ratio to `base`, and its fastest round in nanoseconds."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(run())
    cells = []
    for name, seconds in times.items():
        ratios = [one / other for one, other in zip(seconds, times[base], strict=True)]
        cells.append(f"{name} {statistics.median(ratios):.2f} ({min(seconds) * 1e9:.0f})")
    print(f"{title:34} {'   '.join(cells)}", flush=True)


# ------------------------------------------------------------------------------------------ decorated calls

CALLS = {
    "one int": "one(1234)",
    "two positional": "two(1234, 77)",
    "keyword": "keyword(x=1234, y=5)",
    "none": "none()",
    "method": "owner.method(1234)",
}


def decorators() -> dict[str, Callable[[Any], Any]]:
    found: dict[str, Callable[[Any], Any]] = {
        "functools": functools.lru_cache(maxsize=None),
        "ebbcache.lru_cache": ebbcache.lru_cache(maxsize=None),
        "ebbcache.cached": ebbcache.cached,
    }
    if cachebox := module("cachebox"):
        found["cachebox"] = cachebox.cached(cachebox.LRUCache(0))
    if cachetools := module("cachetools"):
        found["cachetools"] = lambda function: cachetools.cached(cachetools.LRUCache(1 << 20))(function)
    if moka := module("moka_py"):
        found["moka-py"] = moka.cached(maxsize=1024)
    if theine := module("theine"):
        found["theine"] = theine.Memoize(1024, None)
    return found


def caller(decorate: Callable[[Any], Any], call: str) -> Run:
    @decorate
    def one(x: int) -> int:
        return x

    @decorate
    def two(a: int, b: int) -> int:
        return a

    @decorate
    def keyword(x: int = 0, y: int = 1) -> int:
        return x

    @decorate
    def none() -> int:
        return 1

    class Owner:
        @decorate
        def method(self, x: int) -> int:
            return x

    names = {
        "one": one,
        "two": two,
        "keyword": keyword,
        "none": none,
        "owner": Owner(),
        "now": perf_counter,
    }
    loop = "\n        ".join([call] * 10)
    text = "def run():\n    t = now()\n"
    text += f"    for _ in range(1000):\n        {loop}\n    return (now() - t) / 1e4\n"
    exec(text, names)
    run: Run = names["run"]  # type: ignore[assignment]
    run()
    return run


def calls(rounds: int) -> None:
    for title, call in CALLS.items():
        runs = {}
        for name, decorate in decorators().items():
            try:
                runs[name] = caller(decorate, call)
            except Exception as error:  # what a peer cannot do
                print(f"  ({name} fails on {title}: {error!r})")
        compare(f"call, {title}", runs, "functools", rounds)


# ------------------------------------------------------------------------------------------------- mappings


def mappings(size: int | None) -> dict[str, Any]:
    """Return empty mappings; `size` limits them."""
    most = size or 1 << 21
    found: dict[str, Any] = {} if size else {"dict": {}}
    found |= {
        "LRUCache": ebbcache.LRUCache(size),
        "LFUCache": ebbcache.LFUCache(size),
        "DensityCache": ebbcache.DensityCache(size),
        "TTLCache": ebbcache.TTLCache(size, ttl=3600.0),
    }
    if cachebox := module("cachebox"):
        found["cachebox"] = cachebox.LRUCache(size or 0)
    if lru := module("lru"):
        found["lru-dict"] = lru.LRU(most)
    if cachetools := module("cachetools"):
        found["cachetools"] = cachetools.LRUCache(most)
    if moka := module("moka_py"):
        found["moka-py"] = Moka(moka.Moka(most))
    return found


class Moka:
    """moka-py's cache as a mapping, through its own bound methods."""

    def __init__(self, cache: Any) -> None:
        self.get = cache.get
        self.set = cache.set

    def __setitem__(self, key: Any, value: Any) -> None:
        self.set(key, value)


def get(mapping: Any, keys: Iterable[Any]) -> None:
    look = mapping.get
    for key in keys:
        look(key)


def subscript(mapping: Any, keys: Iterable[Any]) -> None:
    for key in keys:
        mapping[key]


def contains(mapping: Any, keys: Iterable[Any]) -> None:
    for key in keys:
        key in mapping  # noqa: B015


def store(mapping: Any, keys: Iterable[Any]) -> None:
    for key in keys:
        mapping[key] = key


def delete(mapping: Any, keys: Iterable[Any]) -> None:
    for key in keys:
        del mapping[key]


def over(operation: Callable[[Any, Any], None], mapping: Any, draw: Callable[[], list[Any]]) -> Run:
    def run() -> float:
        keys = draw()
        began = perf_counter()
        operation(mapping, keys)
        return (perf_counter() - began) / len(keys)

    return run


def filled(size: int) -> tuple[dict[str, Any], list[int]]:
    found = mappings(None)
    keys = [1000 + n for n in range(size)]
    for mapping in found.values():
        for key in keys:
            mapping[key] = key
    return found, keys


def hits(size: int, rounds: int) -> None:
    found, keys = filled(size)
    many = min(max(size, 20_000), 100_000)
    where = f"{size:,} entries"

    def identical() -> list[Any]:
        return random.choices(keys, k=many)

    def distinct() -> list[Any]:
        return [key + 0 for key in random.choices(range(1000, 1000 + size), k=many)]

    def absent() -> list[Any]:
        return [-key for key in identical()]

    def plain(without: str) -> dict[str, Any]:
        return {name: each for name, each in found.items() if name != without}

    for title, operation, draw, some in [
        ("get, identical keys", get, identical, found),
        ("get, equal keys", get, distinct, found),
        ("get, miss", get, absent, found),
        ("subscript", subscript, identical, plain("moka-py")),
        ("contains", contains, identical, plain("moka-py")),
        ("update", store, identical, found),
    ]:
        runs = {name: over(operation, each, draw) for name, each in some.items()}
        compare(f"{title}, {where}", runs, "dict", rounds)

    def deleting(mapping: Any) -> Run:
        def run() -> float:
            gone = random.sample(keys, min(size, 20_000) // 2)
            began = perf_counter()
            delete(mapping, gone)
            seconds = (perf_counter() - began) / len(gone)
            store(mapping, gone)
            return seconds

        return run

    compare(f"delete, {where}", {name: deleting(m) for name, m in plain("moka-py").items()}, "dict", rounds)


def inserts(size: int, rounds: int) -> None:
    fresh = iter(range(10**7, 10**9))
    kinds: dict[str, Callable[[int], Any]] = {
        "int": lambda n: n,
        "str": lambda n: f"value {n}",
        "bytes": lambda n: b"%d" % n,
    }
    for kind, make in kinds.items():
        found = mappings(size)

        def inserting(mapping: Any, make: Callable[[int], Any] = make) -> Run:
            def run() -> float:
                pairs = [(n, make(n)) for n in (next(fresh) for _ in range(20_000))]
                began = perf_counter()
                for key, value in pairs:
                    mapping[key] = value
                return (perf_counter() - began) / len(pairs)

            run()
            return run

        base = next((name for name in ("cachebox", "lru-dict", "cachetools") if name in found), "LRUCache")
        runs = {name: inserting(each) for name, each in found.items()}
        compare(f"insert evicting, {kind} values", runs, base, rounds)


# ------------------------------------------------------------------------------- memory, collector, threads


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def memory(size: int) -> None:
    """Print the bytes an entry takes beyond key and value, by what the resident memory of a child grew."""
    cells = []
    for name in mappings(None):
        there, here = os.pipe()
        if os.fork() == 0:
            keys = [10**6 + n for n in range(size)]
            mapping = mappings(None)[name]
            gc.collect()
            before = resident()
            for key in keys:
                mapping[key] = None
            grown = resident() - before
            began = perf_counter()
            gc.collect()
            os.write(
                here, f"{name} {grown / size:.0f} (gc {(perf_counter() - began) * 1e3:.0f} ms)".encode()
            )
            os._exit(0)
        os.wait()
        cells.append(os.read(there, 200).decode())
        os.close(here)
        os.close(there)
    print(f"{f'bytes an entry, {size:,} entries':34} {'   '.join(cells)}", flush=True)


def threads(size: int, rounds: int) -> None:
    found, keys = filled(size)
    for count in (1, 2, 8):

        def together(mapping: Any, count: int = count) -> Run:
            def run() -> float:
                drawn = [random.choices(keys, k=40_000) for _ in range(count)]
                start = threading.Barrier(count + 1)

                def work(mine: list[int]) -> None:
                    start.wait()
                    get(mapping, mine)

                workers = [threading.Thread(target=work, args=(mine,)) for mine in drawn]
                for worker in workers:
                    worker.start()
                sleep(0.01)
                start.wait()
                began = perf_counter()
                for worker in workers:
                    worker.join()
                return (perf_counter() - began) / (40_000 * count)

            return run

        compare(
            f"get, {count} threads together", {n: together(m) for n, m in found.items()}, "dict", rounds
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 entries only")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {IMPLEMENTATION} store. Medians of ratios to dict, functools")
    print("or (inserts) the fastest peer; in brackets the fastest round, nanoseconds.\n")
    calls(arguments.rounds)
    hits(1000, arguments.rounds)
    inserts(1000, arguments.rounds)
    threads(1000, max(3, arguments.rounds // 3))
    if not arguments.quick:
        memory(1_000_000)
        hits(1_000_000, max(3, arguments.rounds // 3))


if __name__ == "__main__":
    main()
