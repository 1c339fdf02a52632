"""The rows of the latency section: which operations are timed, on what, in which order of keys.

At 1,000 entries everything is in the processor's caches, and a round's contenders get the same keys. At
1,000,000 what counts is how often memory is waited for, so each run draws an order of its own: replaying
one lets linked lists prefetch their own future, and who follows another finds keys fetched already.
ebbcache runs with everything on: sizes measured, registered as shrinker, governor running.
"""

from __future__ import annotations

import functools
import gc
import itertools
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter_ns, process_time_ns
from typing import Any

import ebbcache
from benchmarks.peers import POLICIES, UNLIMITED, Contender, decorators, mapped, mappings, memoised
from benchmarks.rounds import Keys, Row, Run, loop

FIRST = 1000
"""Where keys begin: CPython keeps smaller ints for ever, so equal ones would be identical."""

CALLS = {
    "one int": "one(1234)",
    "two positional": "two(1234, 77)",
    "keyword": "keyword(x=1234, y=5)",
    "none": "none()",
    "method": "owner.method(1234)",
}


@dataclass(frozen=True)
class Scope:
    """How much to measure."""

    many: int = 20_000
    """Operations in a run."""
    pure: bool = False
    """Whether only peers in Python are worth the time, because ebbcache's own store is in Python."""
    wanted: Callable[[str], bool] = lambda name: True

    def chosen(self, found: dict[str, Any], base: str) -> dict[str, Any]:
        slow = {"cachebox", "lru-dict", "moka-py", "theine", "methodtools"} if self.pure else set()
        return {n: each for n, each in found.items() if n == base or (n not in slow and self.wanted(n))}


def settle() -> None:
    """Keep the collector from charging one contender for the entries of all."""
    gc.collect()
    gc.freeze()


# ------------------------------------------------------------------------------------------ decorated calls


def calling(decorate: Callable[[Any], Any], call: str, many: int) -> Run:
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

    turns = many // 10
    text = f"for _ in range({turns}):\n            " + "; ".join([call] * 10)
    names = {"one": one, "two": two, "keyword": keyword, "none": none, "owner": Owner()}
    used = {name: each for name, each in names.items() if call.startswith(name)}
    run = loop(text, process_time_ns, count=str(turns * 10), **used)
    run([])
    return run


def calls(scope: Scope) -> Iterator[Row]:
    """Hits of decorated functions."""
    for title, call in CALLS.items():
        runs = {}
        for name, decorate in scope.chosen(decorators(), "functools").items():
            try:
                runs[name] = calling(decorate, call, scope.many)
            except TypeError:  # not every peer decorates whatever there is
                continue
        yield Row(f"call, {title}", "functools", runs)


def misses(scope: Scope) -> Iterator[Row]:
    """Calls that miss, compute next to nothing, and evict."""
    fresh = itertools.count(10**7)

    def draw() -> Keys:
        return list(itertools.islice(fresh, scope.many // 4))

    runs = {}
    for name, decorate in scope.chosen(decorators(1000), "functools").items():
        runs[name] = loop("for key in keys: call(key)", process_time_ns, call=decorate(lambda key: key))
        runs[name](list(range(2000)))
    settle()
    yield Row("call, miss that evicts", "functools", runs, draw, consumed=True)


# ------------------------------------------------------------------------------------------------- mappings


def getting(each: Contender, now: Callable[[], int] = process_time_ns) -> Run:
    return loop("for key in keys: get(key)", now, get=each.get)


def containing(each: Contender) -> Run:
    return loop("for key in keys: key in mapping", process_time_ns, mapping=each.mapping)


def updating(each: Contender) -> Run:
    if each.set is not None:
        return loop("for key in keys: set(key, key)", process_time_ns, set=each.set)
    return loop("for key in keys: mapping[key] = key", process_time_ns, mapping=each.mapping)


def deleting(each: Contender) -> Run:
    """Delete what is there, and put it back outside the time."""
    if each.delete is not None:
        once = loop("for key in keys: delete(key)", process_time_ns, delete=each.delete)
    else:
        once = loop("for key in keys: del mapping[key]", process_time_ns, mapping=each.mapping)

    def run(keys: Keys) -> float:
        nanoseconds, halves = 0.0, [keys[n : n + 500] for n in range(0, len(keys), 500)]
        for half in halves:
            nanoseconds += once(half) * len(half)
            each.fill(half, half)
        return nanoseconds / len(keys)

    return run


def filled(scope: Scope, size: int) -> tuple[dict[str, Contender], Keys]:
    """Return all contenders, each with the same `size` entries and no limit."""
    keys = list(range(FIRST, FIRST + size))
    found = {"dict": mapped({})}
    for policy in POLICIES:
        for name, each in mappings(policy).items():
            if name not in found and (size <= 100_000 or name != "TTLCache"):
                found[name] = each
    found["functools"] = memoised(functools.lru_cache(maxsize=UNLIMITED))
    found["cached"] = memoised(ebbcache.cached)
    chosen: dict[str, Contender] = scope.chosen(found, "dict")
    for each in chosen.values():
        each.fill(keys, keys)
    settle()
    return chosen, keys


def mapping_rows(scope: Scope, size: int) -> Iterator[Row]:
    """All operations that do not evict."""
    found, keys = filled(scope, size)
    many, fresh, where = scope.many, size > 100_000, f"{size:,} entries"
    caches = {name: each for name, each in found.items() if name not in ("functools", "cached")}
    operators = {name: each for name, each in caches.items() if each.has}

    def identical() -> Keys:
        return random.choices(keys, k=many)

    def equal() -> Keys:
        return [key + 0 for key in random.choices(range(FIRST, FIRST + size), k=many)]

    def absent() -> Keys:
        return [-key for key in random.choices(range(FIRST, FIRST + size), k=many)]

    def each_once() -> Keys:
        if size < many:
            return [key for _ in range(many // size) for key in random.sample(keys, size)]
        return random.sample(keys, many)

    def over(make: Callable[[Contender], Run], those: dict[str, Contender]) -> dict[str, Run]:
        return {name: make(each) for name, each in those.items()}

    yield Row(f"get, identical keys, {where}", "dict", over(getting, found), identical, fresh)
    yield Row(f"get, equal keys, {where}", "dict", over(getting, found), equal, fresh)
    yield Row(f"get, miss, {where}", "dict", over(getting, caches), absent, fresh)
    yield Row(f"contains, {where}", "dict", over(containing, operators), identical, fresh)
    yield Row(f"update, {where}", "dict", over(updating, caches), identical, fresh)
    yield Row(f"delete, {where}", "dict", over(deleting, caches), each_once, fresh)
    for name, each in found.items():
        if name not in ("functools", "cached", "theine", "moka-py") and len(each.mapping) != size:
            raise RuntimeError(f"{name} holds {len(each.mapping):,} of {size:,} entries")
    if size <= 100_000:
        text = [f"key number {key}" for key in keys]
        for each in found.values():
            each.fill(text, text)
        yield Row(
            f"get, equal str keys, {where}",
            "dict",
            over(getting, found),
            lambda: [f"key number {key}" for key in random.choices(range(FIRST, FIRST + size), k=many)],
            fresh=True,  # a str remembers its hash
        )


# ----------------------------------------------------------------------------------- inserts, TTL, threads

KINDS: dict[str, Callable[[int], Any]] = {
    "int": lambda n: n,
    "str": lambda n: f"value {n}",
    "bytes": lambda n: b"value %d" % n,
}


def insert_rows(scope: Scope, policies: tuple[str, ...] = POLICIES) -> Iterator[Row]:
    """Inserts into full caches of 1,000 entries: each evicts one."""
    fresh = itertools.count(10**7)
    for policy, (kind, make) in itertools.product(policies, KINDS.items()):

        def draw(make: Callable[[int], Any] = make) -> Keys:
            return [(n, make(n)) for n in itertools.islice(fresh, scope.many // 2)]

        found = mappings(policy, 1000)
        base = next(iter(found))
        runs = {}
        for name, each in scope.chosen(found, base).items():
            if each.set is not None:
                run = loop("for key, value in keys: set(key, value)", process_time_ns, set=each.set)
            else:
                text = "for key, value in keys: mapping[key] = value"
                run = loop(text, process_time_ns, mapping=each.mapping)
            runs[name] = run
        settle()
        yield Row(f"insert that evicts, {policy}, {kind} values", base, runs, draw, consumed=True)


def ttl_rows(scope: Scope) -> Iterator[Row]:
    """Hits where entries have a time to live."""
    keys = list(range(FIRST, FIRST + 1000))
    found: dict[str, Contender] = scope.chosen({"dict": mapped({}), **mappings("ttl")}, "dict")
    for each in found.values():
        each.fill(keys, keys)
    settle()
    runs = {name: getting(each) for name, each in found.items()}
    yield Row("get, TTL, 1,000 entries", "dict", runs, lambda: random.choices(keys, k=scope.many))


def together(each: Contender, count: int, many: int, keys: Keys) -> Run:
    """Return what runs `count` threads at once and answers wall-clock nanoseconds by operation."""

    def run(_: Keys) -> float:
        drawn = [random.choices(keys, k=many) for _ in range(count)]
        start = threading.Barrier(count + 1)
        runs = [getting(each, perf_counter_ns) for _ in range(count)]

        def work(get: Run, mine: Keys) -> None:
            start.wait()
            get(mine)

        workers = [threading.Thread(target=work, args=pair) for pair in zip(runs, drawn, strict=True)]
        for worker in workers:
            worker.start()
        start.wait()
        began = perf_counter_ns()
        for worker in workers:
            worker.join()
        return (perf_counter_ns() - began) / (many * count)

    return run


def thread_rows(scope: Scope, size: int) -> Iterator[Row]:
    """Hits of several threads at once, beside functools' lru_cache."""
    keep = {"dict", "LRUCache", "DensityCache", "cached", "functools", "cachebox", "lru-dict", "cachetools"}
    narrow = Scope(scope.many, scope.pure, lambda name: name in keep | {"moka-py"} and scope.wanted(name))
    found, keys = filled(narrow, size)
    for count in (1, 2, 8):
        runs = {name: together(each, count, scope.many, keys) for name, each in found.items()}
        yield Row(f"get, {count} thread{'s' * (count > 1)}, {size:,} entries", "functools", runs)
