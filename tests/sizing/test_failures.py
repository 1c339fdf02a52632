"""What can go wrong in the walk in C: no memory for any one allocation, leaks, values that fall apart."""

from __future__ import annotations

import collections
import datetime
import functools
import gc
import importlib.util
import io
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ebbcache import sizing

pytestmark = pytest.mark.skipif(
    sizing.IMPLEMENTATION != "native", reason="the C extension is not built, or forbidden by EBBCACHE_PURE"
)


class Pair:
    def __init__(self, left: Any, right: Any) -> None:
        self.left = left
        self.right = right


def graph() -> Any:
    """Return a value in which everything occurs: trees, tops in cycles, leaves in common, all readers."""
    text = "a text that many hold" + str(len(sys.argv))
    rows = [Pair(n / 7, [text, n / 9]) for n in range(40)]
    for row in rows:
        row.right.append(rows)
    return {
        "rows": rows,
        "dict": {n / 3: {text} for n in range(40)},
        "ordered": collections.OrderedDict((text + str(n), n / 3) for n in range(40)),
        "default": collections.defaultdict(list, {n / 3: [n] for n in range(40)}),
        "deque": collections.deque([n / 3] for n in range(40)),
        "proxy": types.MappingProxyType({text: [1.5]}),
        "partial": functools.partial(max, rows),
        "array": np.arange(40.0),
        "objects": np.array([[n / 7, [text]] for n in range(40)], dtype=object),
        "structures": np.zeros(9, dtype=[("a", "f8"), (f"of {len(text)}", "i4")]),
        "scalars": [*np.arange(9.0)],
        "zone": datetime.timezone(datetime.timedelta(minutes=7), text),
        "stream": io.BytesIO(bytes(400)),
        "lock": threading.Lock(),
        "view": memoryview(bytes(400)),
        **more(),
    }


def more() -> dict[str, Any]:
    """Return what C reads of other packages, as far as these are installed."""
    found: dict[str, Any] = {}
    if importlib.util.find_spec("lxml"):
        root = importlib.import_module("lxml.etree").fromstring("<a>" + "<b c='d'>text</b>" * 9 + "</a>")
        found["elements"] = [root, *root]
    if importlib.util.find_spec("PIL"):
        found["image"] = importlib.import_module("PIL.Image").new("P", (40, 50))
    return found


def budgets() -> list[dict[str, Any]]:
    return [{}, {"exact": True}, {"budget": 50}]


@pytest.mark.parametrize("how", budgets(), ids=str)
def test_leaks_nothing(how: dict[str, Any]) -> None:
    value = graph()
    for _ in range(3):
        sizing.sizeof(value, **how)
    gc.collect()
    before = sys.getallocatedblocks(), [sys.getrefcount(part) for part in (value, *value.values())]
    for _ in range(200):
        sizing.sizeof(value, **how)
        sizing.freed_with(value, budget=60)
    gc.collect()
    assert [sys.getrefcount(part) for part in (value, *value.values())] == before[1]
    assert abs(sys.getallocatedblocks() - before[0]) < 150


def test_new_types_and_sizers_leak_nothing() -> None:
    def once() -> None:
        cls = type("Passing", (), {})
        assert sizing.sizeof([cls() for _ in range(3)]) > 0
        sizing._measure_by(sizing.Table({}), None)
        assert sizing.sizeof([cls(), "text"]) > 0

    for _ in range(50):
        once()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(200):
        once()
    gc.collect()
    assert sys.getallocatedblocks() - before < 400


@pytest.mark.parametrize("how", budgets(), ids=str)
def test_no_memory_for_any_one_allocation(how: dict[str, Any]) -> None:
    """Whichever allocation fails, there is an answer or a MemoryError, and the next answer is right."""
    testcapi = pytest.importorskip("_testcapi", reason="needs CPython's own test module")
    value = graph()
    right = sizing.sizeof(value, **how)
    references = [sys.getrefcount(part) for part in value.values()]
    gc.disable()
    try:
        for start in range(1, 2000):
            answered = False
            testcapi.set_nomemory(start, start + 1)
            try:
                sizing.sizeof(value, **how)
                answered = True
            except MemoryError:
                pass
            finally:
                testcapi.remove_mem_hooks()
            if answered and start > 300:
                break
    finally:
        gc.enable()
    gc.collect()  # exceptions in cycles with their frames
    assert [sys.getrefcount(part) for part in value.values()] == references
    assert sizing.sizeof(value, **how) == right


def meddlers(value: list[Any]) -> dict[str, Callable[[], object]]:
    return {
        "clears": value.clear,
        "grows": lambda: value.extend([[0.5]] * 50),
        "sizes": lambda: sizing.sizeof(value),
        "collects": gc.collect,
        "registers": lambda: sizing.register_sizer(type("New", (), {}), lambda obj: 1),
        "raises": lambda: 1 // 0,
        "changes class": lambda: setattr(value[0], "__class__", Pair),
    }


@pytest.mark.parametrize("name", meddlers([]))
@pytest.mark.parametrize("how", budgets(), ids=str)
def test_code_that_runs_in_a_walk_may_do_anything(name: str, how: dict[str, Any]) -> None:
    value: list[Any] = []

    class Meddler:
        def __sizeof__(self) -> int:
            meddlers(value)[name]()
            return 50

    value += [Meddler(), *([n / 7, {"k": n / 9}] for n in range(100)), Meddler(), {Meddler(): Meddler()}]
    assert sizing.sizeof(value, **how) > 0
    assert sizing.sizeof({"k": value}, **how) > 0


def test_other_threads_run_while_a_large_value_is_walked() -> None:
    value = [[n / 7] for n in range(300_000)]
    ran = threading.Event()
    started = threading.Event()

    def other() -> None:
        started.wait()
        ran.set()

    thread = threading.Thread(target=other)
    thread.start()
    started.set()
    for _ in range(1000):
        sizing.sizeof(value, exact=True)
        if ran.is_set():
            break
    thread.join()
    assert ran.is_set()
