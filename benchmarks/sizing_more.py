"""More kinds of values that caches hold: such as were thought of to prove sizes wrong.

They were chosen for being unlike those of `sizing_kinds` and `sizing_holders`, and for what programs do
with them (grown and shrunk, half consumed, made by another library, classes made for one value), before it
was known how they come out. Bound: as `sizing_values` says.
"""

from __future__ import annotations

import abc
import asyncio
import bz2
import collections
import contextvars
import csv
import ctypes
import dataclasses
import datetime
import decimal
import difflib
import functools
import html.parser
import http.client
import inspect
import io
import ipaddress
import itertools
import json
import logging
import lzma
import os
import pathlib
import pickle
import random
import re
import statistics
import struct
import textwrap
import threading
import tokenize
import traceback
import types
import typing
import urllib.request
import uuid
import weakref
import zipfile
import zlib
import zoneinfo
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar

from benchmarks.sizing_kinds import Makers
from benchmarks.sizing_values import Point, SlotRecord

T = TypeVar("T")
NOISE = random.Random(1).randbytes(20_000)
PACKED = bz2.compress(NOISE), lzma.compress(NOISE), zlib.compress(NOISE)


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> float: ...


class Square(Shape):
    def __init__(self, i: int) -> None:
        self.side, self.name = i / 7, f"square {i}"

    def area(self) -> float:
        return self.side**2


class Box(Generic[T]):
    def __init__(self, content: T) -> None:
        self.content = content


class Base:
    __slots__ = ("a",)


class Derived(Base):
    __slots__ = ("__dict__", "__weakref__", "b")

    def __init__(self, i: int) -> None:
        self.a, self.b, self.late = i / 7, f"b {i}", [i / 9]


class Link:
    __slots__ = ("after", "value")

    def __init__(self, value: float, after: Link | None) -> None:
        self.value, self.after = value, after


class Fails(Exception):  # noqa: N818 (it is one of many kinds)
    __slots__ = ("payload",)


class Sentence(str):
    __slots__ = ("words",)


class Number(float):
    def __init__(self, value: float) -> None:
        self.unit = f"unit of {value}"


class Members(set[float]):
    def __init__(self, i: int) -> None:
        super().__init__(n / 7 for n in range(20))
        self.title = f"title {i}"


class Steps(collections.deque[float]):
    def __init__(self, i: int) -> None:
        super().__init__(n / 7 for n in range(100))
        self.title = f"title {i}"


class Event(typing.NamedTuple):
    at: datetime.datetime
    what: dict[str, Any]


@dataclasses.dataclass(slots=True, weakref_slot=True)
class Weak:
    number: float
    name: str


def chain(i: int, length: int) -> Any:
    head: Any = None
    for n in range(length):
        head = [n / 7 + i, head]
    return head


def links(i: int) -> Link | None:
    head = None
    for n in range(1000):
        head = Link(n / 7 + i, head)
    return head


def nested(depth: int) -> Any:
    return functools.reduce(lambda inner, _: (inner,), range(depth), ())


def trie(i: int) -> dict[str, Any]:
    root: dict[str, Any] = {}
    draw = random.Random(i)
    for _ in range(200):
        node = root
        for letter in draw.choices("abcdef", k=6):
            node = node.setdefault(letter, {})
        node["end"] = True
    return root


def neighbours(i: int) -> dict[int, set[int]]:
    draw = random.Random(i)
    return {n: {draw.randrange(1000, 1100) for _ in range(5)} for n in range(1000, 1100)}


def popped(i: int) -> dict[str, float]:
    out = {f"key {i} {n}": n / 7 for n in range(100)}
    for _ in range(60):
        out.popitem()
    return out


def late_dict(i: int) -> Point:
    out = Point(i)
    vars(out)["more"] = i / 9
    out.last = [i / 11]  # type: ignore[attr-defined]
    return out


def exchanged(i: int) -> Point:
    out = Point(i)
    out.__dict__ = {"x": i / 7, "other": f"other {i}"}
    return out


def half(i: int) -> Iterator[float]:
    out = iter([n / 7 + i for n in range(100)])
    for _ in range(50):
        next(out)
    return out


def teed(i: int) -> list[Iterator[float]]:
    first, second = itertools.tee(iter([n / 7 + i for n in range(100)]))
    for _ in range(60):
        next(first)
    return [first, second]


def begun(i: int) -> Any:
    @types.coroutine
    def pause() -> Iterator[None]:
        yield

    async def work() -> list[float]:
        rows = [n / 7 + i for n in range(200)]
        await pause()  # type: ignore[misc]
        return rows

    out = work()
    out.send(None)
    return out


async def numbers(i: int) -> AsyncIterator[float]:
    for n in range(i):
        yield n / 7


def deep_error(i: int) -> Exception:
    def fail(depth: int) -> None:
        rows = [depth / 7, i / 3]
        if depth:
            fail(depth - 1)
        raise RuntimeError(f"deep {i} {len(rows)}")

    try:
        fail(10)
    except RuntimeError as error:
        return error
    raise AssertionError


def noted(i: int) -> Exception:
    try:
        raise ValueError(f"bad {i}")
    except ValueError as error:
        error.add_note(f"note {i}")
        return error


def local_values(i: int) -> threading.local:
    out = threading.local()
    out.rows = [n / 7 + i for n in range(200)]
    return out


def context(i: int) -> contextvars.Context:
    out = contextvars.copy_context()
    for n, variable in enumerate(VARIABLES):
        out.run(variable.set, [n / 7 + i])
    return out


def headers(i: int) -> http.client.HTTPMessage:
    text = b"Content-Type: text/html\r\nX-N: %d\r\nSet-Cookie: a=%d\r\nServer: abc\r\n\r\n"
    return http.client.parse_headers(io.BytesIO(text % (i, i)))


def archive(i: int) -> zipfile.ZipFile:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        out.writestr(f"a {i}.txt", "text" * 100)
        out.writestr("b.txt", b"y" * 300)
    return zipfile.ZipFile(file)


def fed(decoder: Any, data: bytes) -> Any:
    decoder.decompress(data[:-9])
    return decoder


def packing(coder: Any) -> Any:
    coder.compress(NOISE)
    return coder


def read_some(i: int) -> io.StringIO:
    out = io.StringIO(f"line {i}\n" * 100)
    out.readline()
    return out


def table_reader(i: int) -> Any:
    out = csv.reader(io.StringIO(f"a,b,c{i}\n" * 20))
    next(out)
    return out


def compiled(i: int) -> Callable[[int], int]:
    names: dict[str, Any] = {}
    exec(f"def add(a):\n    return a + {i + 1000}", names)
    return names["add"]  # type: ignore[no-any-return]


def fibonacci(i: int) -> Any:
    @functools.cache
    def nth(n: int) -> int:
        return n + i if n < 2 else nth(n - 1) + nth(n - 2)

    nth(200)
    return nth


def parsed_page(i: int) -> html.parser.HTMLParser:
    out = html.parser.HTMLParser()
    out.feed(f"<p class='x{i}'>text</p>" * 10)
    return out


def watched(i: int) -> list[Any]:
    values = [Point(n) for n in range(20)]
    return [values, weakref.WeakKeyDictionary({point: n / 7 for n, point in enumerate(values)})]


def waiting(i: int) -> asyncio.Queue[Any]:
    out: asyncio.Queue[Any] = asyncio.Queue()
    for n in range(30):
        out.put_nowait([n / 7 + i])
    return out


VARIABLES = [contextvars.ContextVar[Any](f"variable {n}") for n in range(20)]
MORE: Makers = {
    "mappingproxy of many": lambda i: types.MappingProxyType({f"{n} {i}": n / 7 for n in range(50)}),
    "UserList": lambda i: collections.UserList([n / 7 + i for n in range(50)]),
    "struct.Struct": lambda i: struct.Struct(f"<{i + 5}sdqI"),
    "decimal.Context": lambda i: decimal.Context(prec=20 + i),
    "thread local": local_values,
    "Context of many": context,
    "ZoneInfo of its own": lambda i: zoneinfo.ZoneInfo.no_cache("Europe/Berlin"),
    "times with zones": lambda i: [
        datetime.time(1, 2, n, tzinfo=datetime.timezone(datetime.timedelta(minutes=n + 1 + i)))
        for n in range(20)
    ],
    "times": lambda i: [datetime.time(1, 2, n) for n in range(20)],
    "networks": lambda i: [ipaddress.ip_network(f"2001:db8:{i:x}:{n:x}::/64") for n in range(10)],
    "paths": lambda i: [pathlib.PurePosixPath(f"/a/b{i}") / f"c{n}" / "d.txt" for n in range(20)],
    "directory entries": lambda i: [*os.scandir("/etc")][:10],
    "uuids": lambda i: [uuid.UUID(int=n + 2**100 + i) for n in range(20)],
    "NormalDist": lambda i: statistics.NormalDist(i / 7, 1.5),
    "big ints": lambda i: [7 ** (n * 20) + i for n in range(30)],
    "ints of sums": lambda i: [10**n + i for n in range(60)],
    "str joined": lambda i: "".join([f"part {n} {i}" for n in range(30)]),
    "str sliced": lambda i: (f"text {i} " * 100)[10:300],
    "letters": lambda i: [*f"hello world {i}" * 10],
    "bytearray shrunk": lambda i: [out := bytearray(5000 + i), out.__delitem__(slice(4000))][0],
    "list shrunk": lambda i: [out := [n / 7 for n in range(1000)], out.__delitem__(slice(50, None))][0],
    "deque rolled": lambda i: collections.deque((n / 7 for n in range(500)), maxlen=100),
    "defaultdict of Counters": lambda i: collections.defaultdict(
        collections.Counter, {f"k{n} {i}": collections.Counter(f"the quick {n} fox") for n in range(9)}
    ),
    "dict popped": popped,
    "dict of mixed keys": lambda i: {i + 1000: "a", f"b{i}": 1.5 * i, (1, i / 7): [1], None: b"x"},
    "set of ints": lambda i: {n * 1000 + i for n in range(500)},
    "frozensets in a frozenset": lambda i: frozenset(frozenset((n / 7, n / 9 + i)) for n in range(30)),
    "matrix": lambda i: [[n * m / 7 + i for n in range(30)] for m in range(30)],
    "lists that grow": lambda i: [[m / 7 for m in range(n)] for n in range(40)],
    "linked list of 10000": lambda i: chain(i, 10_000),
    "linked objects": links,
    "tuples 100000 deep": lambda i: nested(100_000),
    "trie": trie,
    "graph of sets": neighbours,
    "abc instance": Square,
    "generic instance": lambda i: Box[list[float]]([i / 7]),
    "slots inherited": Derived,
    "dataclass with weakrefs": lambda i: Weak(i / 7, f"name {i}"),
    "NamedTuples of dicts": lambda i: [
        Event(datetime.datetime(2020, 1, 1, n), {"k": n / 7, "t": f"x{n} {i}"}) for n in range(20)
    ],
    "instance with more in __dict__": late_dict,
    "instance of another __dict__": exchanged,
    "WeakKeyDictionary": watched,
    "float subclass": lambda i: Number(i / 7),
    "str subclass of ucs2": lambda i: Sentence(f"Жук {i}"),
    "set subclass": Members,
    "deque subclass": Steps,
    "namedtuple of its own": lambda i: collections.namedtuple(f"Own{i}", "a b c")(i / 7, f"b{i}", [i]),
    "dataclass of its own": lambda i: dataclasses.make_dataclass(f"Own{i}", ["a", "b"])(i / 7, f"b{i}"),
    "class of its own with methods": lambda i: type(f"Own{i}", (Square,), {"area": lambda self: i})(i),
    "function compiled": compiled,
    "code compiled": lambda i: compile(f"x = {i + 1000}\ny = [x, 'text {i}']\n" * 20, f"file {i}", "exec"),
    "memoised recursion": fibonacci,
    "iterator half consumed": half,
    "tee": teed,
    "product": lambda i: itertools.product([n / 7 + i for n in range(20)], [f"a{i}"] * 3),
    "coroutine begun": begun,
    "async generator": numbers,
    "exception with a note": noted,
    "exception group": lambda i: ExceptionGroup(f"group {i}", [ValueError(f"a{i}"), OSError(2, f"b{i}")]),
    "exception from deep": deep_error,
    "exception with slots": lambda i: Fails(f"message {i}"),
    "TracebackException": lambda i: traceback.TracebackException.from_exception(deep_error(i)),
    "HTTP headers": headers,
    "Request": lambda i: urllib.request.Request(f"https://example.org/{i}", headers={"X-A": f"v{i}"}),
    "HTML parser": parsed_page,
    "ZipFile": archive,
    "csv reader": table_reader,
    "JSON decoder": lambda i: json.JSONDecoder(object_hook=lambda found: found),
    "tokens": lambda i: [*tokenize.generate_tokens(io.StringIO(f"def f{i}(a):\n    return a\n").readline)],
    "TextWrapper": lambda i: textwrap.TextWrapper(width=i + 20),
    "signature": lambda i: inspect.signature(lambda a, b=i + 5000, *args, c=0, **more: None),
    "SequenceMatcher": lambda i: difflib.SequenceMatcher(None, f"some text {i}" * 9, f"other {i}" * 9),
    "matches": lambda i: [*re.finditer(r"(\w)(\d+)", f"a1 b22 c{i} d4444" * 5)],
    "Pattern of many words": lambda i: [
        re.purge(),
        re.compile("|".join(f"w{n}x{i}" for n in range(99))),
    ][1],
    "LogRecord": lambda i: logging.LogRecord("name", 20, f"/path/{i}", i, f"text {i} %s", (i / 7,), None),
    "asyncio.Queue": waiting,
    "Condition": lambda i: [threading.Condition(), f"text {i}"],
    "unpickled": lambda i: pickle.loads(pickle.dumps([Point(n + i) for n in range(20)])),
    "unpickled slots": lambda i: pickle.loads(
        pickle.dumps(SlotRecord(i, f"r {i}", datetime.datetime.now()))
    ),
    "StringIO read from": read_some,
    "StringIO empty": lambda i: [io.StringIO(), io.BytesIO(), f"text {i}"],
    "TextIOWrapper": lambda i: io.TextIOWrapper(io.BytesIO(bytes(3000 + i))),
    "ctypes array": lambda i: (ctypes.c_double * 500)(),
    "ctypes buffer": lambda i: ctypes.create_string_buffer(1000 + i),
    "zlib decompressor unused": lambda i: zlib.decompressobj(),
    "zlib compressor of much memory": lambda i: zlib.compressobj(9, zlib.DEFLATED, 15, 9),
    "bz2 compressor": lambda i: packing(bz2.BZ2Compressor(1)),
    "bz2 decompressor": lambda i: fed(bz2.BZ2Decompressor(), PACKED[0]),
    "bz2 decompressor unused": lambda i: bz2.BZ2Decompressor(),
    "lzma compressor": lambda i: packing(lzma.LZMACompressor(preset=1)),
    "lzma decompressor": lambda i: fed(lzma.LZMADecompressor(), PACKED[1]),
    "lzma decompressor unused": lambda i: lzma.LZMADecompressor(),
}
