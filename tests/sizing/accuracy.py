"""Ground truth for sizes: make copies of a value, drop half of them, and add up the blocks that went back.

tracemalloc knows every block that Python or numpy asked an allocator for; each is rounded here as that
allocator rounds it. ``python tests/sizing/accuracy.py`` prints estimates beside the truth, for ebbcache,
pympler and `sys.getsizeof`; with ``--json`` it prints what the tests judge. They run it in a process of its
own, where no other thread allocates or frees while the values do.
"""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import gc
import io
import itertools
import json
import logging
import math
import pathlib
import random
import re
import statistics
import sys
import threading
import time
import tracemalloc
import types
import typing
import uuid
import weakref
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from typing import Any

import numpy as np

from ebbcache.sizing import chunks

COPIES = 40
_PYTHON = 0  # tracemalloc's domain for Python's own blocks


def _held() -> int:
    """Return the bytes in all blocks that tracemalloc knows, as the allocators round them."""
    traces = tracemalloc.take_snapshot().traces._traces  # type: ignore[attr-defined]
    return sum(
        chunks.chunk(size) if domain == _PYTHON else chunks.malloc_chunk(size)
        for domain, size, *_ in traces
    )


def freed(
    make: Callable[[int], Any], size: Callable[[Any], int], copies: int = COPIES
) -> tuple[float, float]:
    """Return the bytes that dropping a value of `make` frees, and what `size` said of it, on average."""
    for i in range(40):  # classes, caches and free lists settle
        value = make(i)
    size(value)
    del value
    gc.freeze()  # else every collection goes through the whole test session
    gc.collect()
    tracemalloc.start(1)
    try:
        values: list[Any] = [None] * copies
        for i in range(copies):
            values[i] = make(i)
        gc.collect()  # empties the free lists, whose blocks look like the value's
        half = copies // 2
        said = [size(values[i]) for i in range(half)]
        gc.collect()
        before = _held()
        for i in range(half):
            values[i] = None
        gc.collect()
        after = _held()
    finally:
        tracemalloc.stop()
        gc.unfreeze()
    return (before - after) / half, statistics.fmean(said)


class Point:
    def __init__(self, i: int) -> None:
        self.x = i + 0.5
        self.y = i + 0.25
        self.label = f"point {i}"


class Single:
    def __init__(self, i: int) -> None:
        self.only = {"value": i + 1000}


class Slotted:
    __slots__ = ("a", "b", "c")

    def __init__(self, i: int) -> None:
        self.a, self.b, self.c = float(i), f"slot {i}", [i + 1000]


@dataclasses.dataclass
class Record:
    number: int
    name: str
    tags: list[str]
    parent: Record | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SlotRecord:
    number: int
    name: str
    at: datetime.datetime


class Named(typing.NamedTuple):
    a: float
    b: str
    c: bytes


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Node:
    def __init__(self, value: float) -> None:
        self.value = value
        self.parent: Node | None = None
        self.children: list[Node] = []

    def add(self, child: Node) -> Node:
        child.parent = self
        self.children.append(child)
        return child


class Service:
    def __init__(self) -> None:
        self.blob = [bytes(1000) for _ in range(500)]
        self.log = logging.getLogger("service")


class Client:
    def __init__(self, i: int) -> None:
        self.service = SERVICE
        self.log = SERVICE.log
        self.state = bytearray(300 + i)


class Listlike(list[Any]):
    pass


class Dictlike(dict[Any, Any]):
    def __init__(self, i: int) -> None:
        super().__init__({f"key {i} {n}": n / 3 for n in range(20)})
        self.extra = f"extra {i}"


class Text(str):
    pass


class Whole(int):
    pass


SERVICE = Service()
POOL = [f"pooled value number {n}" for n in range(50)]
RNG = random.Random(1)


def tree(i: int) -> Node:
    root = Node(float(i))
    for _ in range(5):
        child = root.add(Node(RNG.random()))
        for _ in range(3):
            child.add(Node(RNG.random()))
    return root


def linked(i: int) -> list[Any]:
    first: list[Any] = [i + 1000]
    last = first
    for n in range(50):
        last.append([n + 1000.5, last])
        last = last[-1]
    return first


def document(i: int) -> Any:
    text = json.dumps(
        {
            "id": i + 1000,
            "title": f"document {i} " * 3,
            "rows": [
                {"n": n + 1000, "price": n / 7, "name": f"row {n} of {i}", "ok": n % 2 == 0}
                for n in range(60)
            ],
        }
    )
    return json.loads(text)


def grown_list(i: int) -> list[float]:
    out: list[float] = []
    for n in range(100):
        out.append(n + i / 7)  # noqa: PERF401 (appending leaves room to spare)
    return out


def cached_utf8(i: int) -> str:
    text = f"žluťoučký kůň {i} " * 20
    np.str_(text).encode()
    "".join([text]).encode()
    json.dumps(text, ensure_ascii=False)
    str.encode(text, "utf-8")
    return text


def shrunk_dict(i: int) -> dict[str, float]:
    out = {f"key {i} {n}": n / 3 for n in range(1000)}
    for n in range(990):
        del out[f"key {i} {n}"]
    return out


def ordered(i: int) -> collections.OrderedDict[str, float]:
    return collections.OrderedDict((f"key {i} {n}", n / 3) for n in range(100))


def looked_at(i: int) -> Point:
    point = Point(i)
    _ = point.__dict__
    return point


def object_array(i: int) -> np.ndarray[Any, Any]:
    out = np.empty(100, dtype=object)
    for n in range(100):
        out[n] = f"element {n} of {i}"
    return out


def raised(i: int) -> Exception:
    return ValueError(f"message {i}", i + 1000.5)


def buffered(i: int) -> io.BytesIO:
    out = io.BytesIO()
    out.write(bytes(5000 + i))
    return out


def filled_queue(i: int) -> collections.deque[float]:
    return collections.deque((n / 3 for n in range(1000)), maxlen=2000)


def numbered(i: int) -> Callable[[], int]:
    return functools.partial(max, [n + 1000 + i for n in range(20)], key=None)


def split_columns(i: int) -> list[Any]:
    return [*np.arange(8000.0).reshape(8, 1000)]


KINDS: dict[str, Callable[[int], Any]] = {
    "str ascii": lambda i: f"value {i} " * 5,
    "str latin-1": lambda i: f"é{i} " * 50,
    "str ucs2": lambda i: f"Ж{i} " * 50,
    "str ucs4": lambda i: f"\U0001f600{i} " * 50,
    "str long": lambda i: f"{i:08}" * 2000,
    "bytes": lambda i: b"%d" % i * 40,
    "int": lambda i: i + 1000,
    "int big": lambda i: 3**1000 + i,
    "float": lambda i: i / 7,
    "complex": lambda i: complex(i, 1),
    "bytearray": lambda i: bytearray(700 + i),
    "Decimal": lambda i: decimal.Decimal(f"{i}.25"),
    "Decimal long": lambda i: decimal.Decimal(f"{i}." + "1" * 200),
    "Fraction": lambda i: fractions.Fraction(i + 1000, 7919),
    "datetime": lambda i: datetime.datetime(2020, 1, 1, 0, 0, i % 60),
    "timedelta": lambda i: datetime.timedelta(seconds=i + 1000),
    "uuid": lambda i: uuid.UUID(int=i + 2**100),
    "Path": lambda i: pathlib.PurePosixPath(f"/a/b/{i}"),
    "list of floats": grown_list,
    "list of ints": lambda i: [n + 1000 for n in range(200)],
    "list empty": lambda i: [],
    "list of lists": lambda i: [[n / 3] for n in range(100)],
    "tuple": lambda i: (i + 1000, f"name {i}", i / 7),
    "tuple long": lambda i: tuple(n / 3 for n in range(300)),
    "dict small": lambda i: {f"k{i}": i / 7, f"l{i}": f"text {i}"},
    "dict of 10": lambda i: {f"key {i} {n}": n / 7 for n in range(10)},
    "dict int keys": lambda i: {n + 1000: f"value {n}" for n in range(100)},
    "dict literal keys": lambda i: {
        "id": i + 1000,
        "name": f"name {i}",
        "price": i / 7,
        "tags": [f"tag {i}"],
    },
    "dict large": lambda i: {f"key {i} {n}": n / 3 for n in range(1000)},
    "dict shrunk": shrunk_dict,
    "dict empty": lambda i: {},
    "set": lambda i: {f"member {n} of {i}" for n in range(100)},
    "set small": lambda i: {i / 7, i / 9},
    "frozenset": lambda i: frozenset(n / 3 for n in range(50)),
    "deque": filled_queue,
    "deque small": lambda i: collections.deque([i / 7]),
    "OrderedDict": ordered,
    "defaultdict": lambda i: collections.defaultdict(list, {f"k {i} {n}": [n / 3] for n in range(30)}),
    "Counter": lambda i: collections.Counter(f"word {n} of {i}" for n in range(40)),
    "ChainMap": lambda i: collections.ChainMap({f"a{i}": i / 7}, {f"b{i}": i / 9}),
    "array": lambda i: array.array("d", range(1000)),
    "memoryview alone": lambda i: memoryview(bytes(1000 + i)),
    "BytesIO": buffered,
    "namedtuple": lambda i: Named(i / 7, f"name {i}", b"%d" % i * 9),
    "dataclass": lambda i: Record(i + 1000, f"record {i}", [f"tag {i}"]),
    "dataclass slots": lambda i: SlotRecord(
        i + 1000, f"record {i}", datetime.datetime(2020, 1, 1, 0, 0, i % 60)
    ),
    "dataclass nested": lambda i: Record(i + 1000, f"r {i}", [], Record(i + 2000, f"p {i}", [f"t {i}"])),
    "instance": Point,
    "instance of one dict": Single,
    "instance with __dict__ used": looked_at,
    "instance slots": Slotted,
    "instances in a list": lambda i: [Point(n) for n in range(50)],
    "SimpleNamespace": lambda i: types.SimpleNamespace(a=i / 7, b=f"text {i}"),
    "list subclass": lambda i: Listlike(n / 3 for n in range(100)),
    "dict subclass": Dictlike,
    "str subclass": lambda i: Text(f"some text {i}"),
    "int subclass": lambda i: Whole(i + 1000),
    "exception": raised,
    "partial": numbered,
    "bound method": lambda i: Point(i).__init__,
    "tree with parents": tree,
    "cycle": linked,
    "JSON document": document,
    "XML": lambda i: ElementTree.fromstring(
        f"<a><b x='{i}'>text {i}</b>" + f"<c>more {i}</c>" * 20 + "</a>"
    ),
    "shared service": Client,
    "pooled strings": lambda i: [POOL[n % 50] for n in range(i, i + 200)],
    "enum members": lambda i: [Color.RED, Color.BLUE, f"text {i}"],
    "same list twice": lambda i: [shared := [n / 3 for n in range(100)], shared, [shared]],
    "repeated leaf": lambda i: [f"the same text {i}" * 20] * 100,
    "iterator": lambda i: iter([n / 3 for n in range(50)]),
    "generator": lambda i: (n for n in [x / 3 for x in range(50)]),
    "weakref": lambda i: [weakref.ref(SERVICE), f"text {i}"],
    "lock": lambda i: [threading.Lock(), f"text {i}"],
    "mappingproxy": lambda i: types.MappingProxyType({f"a {i}": i / 7}),
    "ndarray float": lambda i: np.arange(2000.0),
    "ndarray small": lambda i: np.arange(5),
    "ndarray 3-d": lambda i: np.zeros((10, 10, 10), dtype=np.float32),
    "ndarray view of own": lambda i: np.arange(2000.0).reshape(20, 100)[::2],
    "ndarray rows": split_columns,
    "ndarray view of shared": lambda i: SHARED[i : i + 100],
    "ndarray object": object_array,
    "ndarray str": lambda i: np.array([f"text {n} of {i}" for n in range(50)]),
    "ndarray structured": lambda i: np.zeros(100, dtype=[("a", "f8"), ("b", "i4")]),
    "ndarray masked": lambda i: np.ma.masked_array(np.arange(1000.0), mask=np.arange(1000) % 2 == 0),
    "ndarrays in a dict": lambda i: {f"a{i}": np.arange(500.0), f"b{i}": np.ones(300, dtype=bool)},
    "numpy scalar": lambda i: np.float64(i / 7),
}
SHARED = np.arange(100_000.0)


def within(said: float, truth: float, part: float) -> bool:
    """Return whether `said` is right to a `part` of the `truth`, or to 32 bytes."""
    return abs(said - truth) <= max(32.0, part * truth)


def microseconds(size: Callable[[Any], int], value: Any) -> float:
    """Return the CPU time that one call takes, the best of five."""
    size(value)
    loops = 1
    while True:
        best = math.inf
        for _ in range(5):
            start = time.process_time()
            for _ in itertools.repeat(None, loops):
                size(value)
            best = min(best, time.process_time() - start)
        if best > 0.002:
            return best / loops * 1e6
        loops *= 10 if best < 0.0002 else 3


def main(only: str = "") -> None:
    """Print the table."""
    from pympler.asizeof import asizeof

    from ebbcache.sizing import sizeof

    tools: dict[str, Callable[[Any], int]] = {
        "ebbcache": sizeof,
        "pympler": asizeof,
        "getsizeof": sys.getsizeof,
    }
    score = {name: collections.Counter[str]() for name in tools}
    times: dict[str, list[float]] = {name: [] for name in tools}
    print(f"{'value':30}{'truth':>9} " + "".join(f"{name:>12} {'us':>8}" for name in tools))
    for kind, make in KINDS.items():
        if not re.search(only, kind):
            continue
        line = f"{kind:30}"
        for number, (name, size) in enumerate(tools.items()):
            try:
                truth, said = freed(make, size)
                spent = microseconds(size, make(1))
            except Exception as error:
                line += f"{type(error).__name__:>21}"
                score[name]["failed"] += 1
                continue
            if number == 0:
                line += f"{truth:9.0f} "
            times[name].append(spent)
            score[name]["5%"] += within(said, truth, 0.05)
            score[name]["25%"] += within(said, truth, 0.25)
            line += f"{said:11.0f}{' ' if within(said, truth, 0.05) else '*'} {spent:8.1f}"
        print(line, flush=True)
    for name in tools:
        spent_all = times[name]
        print(
            f"{name:12} of {len(spent_all)}: within 5% (or 32 bytes) {score[name]['5%']},"
            f" within 25% {score[name]['25%']}, failed {score[name]['failed']}; microseconds:"
            f" median {statistics.median(spent_all):.1f},"
            f" geometric mean {statistics.geometric_mean(spent_all):.1f}"
        )


def measure() -> dict[str, dict[str, float]]:
    """Return, for each kind, what dropping a value frees, what `sizeof` said, and what it frees unsized."""
    from ebbcache.sizing import sizeof

    found: dict[str, dict[str, float]] = {}
    for kind, make in KINDS.items():
        truth, said = freed(make, sizeof)
        sized, _ = freed(make, sizeof, 8)
        left_alone, _ = freed(make, lambda value: 0, 8)
        found[kind] = {"truth": truth, "said": said, "sized": sized, "left alone": left_alone}
    return found


if __name__ == "__main__":
    if sys.argv[1:] == ["--json"]:
        print(json.dumps(measure()))
    else:
        main(*sys.argv[1:])
