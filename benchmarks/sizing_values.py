"""Makers of values that take more than a line: what `sizing_kinds` lists.

What a value weighs depends on how it came to be (grown or copied, looked at, shared), so the makers do what
programs do. Bound: no maker keeps anything, but for pools at module level that values share.
"""

from __future__ import annotations

import asyncio
import configparser
import contextlib
import contextvars
import dataclasses
import datetime
import email
import email.message
import email.policy
import enum
import functools
import http.cookies
import io
import json
import logging
import queue
import random
import sqlite3
import typing
import weakref
import zlib
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree


class Point:
    def __init__(self, i: int) -> None:
        self.x = i + 0.5
        self.y = i + 0.25
        self.label = f"point {i}"


class Wide:
    def __init__(self, i: int) -> None:
        for n in range(40):
            setattr(self, f"field_{n}", n + i + 0.5)


class Late:
    """Some attributes come after construction, and not always."""

    def __init__(self, i: int) -> None:
        self.first = i + 0.5
        if i % 2:
            self.odd = f"odd {i}"
        if i % 5 == 0:
            self.fifth = [i + 1000]


class Single:
    def __init__(self, i: int) -> None:
        self.only = {"value": i + 1000}


class Keywords:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Deleted:
    def __init__(self, i: int) -> None:
        self.a, self.b, self.c = i / 7, i / 8, i / 9
        del self.b


class Slotted:
    __slots__ = ("a", "b", "c")

    def __init__(self, i: int) -> None:
        self.a, self.b, self.c = float(i), f"slot {i}", [i + 1000]


class HalfSlotted(Slotted):
    """A `__dict__` beside inherited slots."""

    def __init__(self, i: int) -> None:
        super().__init__(i)
        self.d = f"more {i}"


class Cached:
    def __init__(self, i: int) -> None:
        self.seed = i + 1000

    @functools.cached_property
    def rows(self) -> list[float]:
        return [self.seed + n / 7 for n in range(50)]


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


class Typed(typing.TypedDict):
    number: int
    name: str


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Flags(enum.Flag):
    A = 1
    B = 2


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


class Page(list[Any]):
    def __init__(self, i: int) -> None:
        super().__init__(n / 7 for n in range(20))
        self.number = i + 1000
        self.title = f"page {i}"


class Dictlike(dict[Any, Any]):
    def __init__(self, i: int) -> None:
        super().__init__({f"key {i} {n}": n / 3 for n in range(20)})
        self.extra = f"extra {i}"


class Text(str):
    pass


class Whole(int):
    pass


class Tupled(tuple[Any, ...]):
    pass


class FailedError(Exception):
    def __init__(self, message: str, payload: list[int]) -> None:
        super().__init__(message)
        self.payload = payload


class Watched:
    """Something that weak references may refer to."""

    def __init__(self, i: int) -> None:
        self.name = f"watched {i}"


SERVICE = Service()
POOL = [f"pooled value number {n}" for n in range(50)]
WATCHED = [Watched(n) for n in range(50)]
SHARED_ROWS = [{"name": f"shared row {n}", "values": [n / 7] * 20} for n in range(20)]
RNG = random.Random(1)
ZONE = zoneinfo.ZoneInfo("UTC")
CONTEXT: contextvars.ContextVar[Any] = contextvars.ContextVar("context")


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


def ring(i: int) -> Node:
    first = last = Node(i / 7)
    for n in range(20):
        node = Node(n / 7)
        node.parent = last
        last = node
    first.parent = last
    return first


def document(i: int, rows: int = 60) -> Any:
    text = json.dumps(
        {
            "id": i + 1000,
            "title": f"document {i} " * 3,
            "rows": [
                {"n": n + 1000, "price": n / 7, "name": f"row {n} of {i}", "ok": n % 2 == 0}
                for n in range(rows)
            ],
        }
    )
    return json.loads(text)


def geojson(i: int) -> Any:
    return json.loads(
        json.dumps(
            {
                "type": "FeatureCollection",
                "features": [
                    {
                        "type": "Feature",
                        "geometry": {
                            "type": "Polygon",
                            "coordinates": [[[n / 7, m / 7] for m in range(8)]],
                        },
                        "properties": {"name": f"feature {n} of {i}", "none": None},
                    }
                    for n in range(10)
                ],
            }
        )
    )


def grown_list(i: int) -> list[float]:
    out: list[float] = []
    for n in range(100):
        out.append(n + i / 7)  # noqa: PERF401 (appending leaves room to spare)
    return out


def cached_utf8(i: int) -> str:
    """Text whose UTF-8 form hangs on to it, as sqlite3 and others leave it."""
    text = f"žluťoučký kůň {i} " * 20
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("select ?", (text,)).fetchall()
    return text


def shrunk_dict(i: int) -> dict[str, float]:
    out = {f"key {i} {n}": n / 3 for n in range(1000)}
    for n in range(990):
        del out[f"key {i} {n}"]
    return out


def looked_at(i: int) -> Point:
    point = Point(i)
    _ = point.__dict__
    return point


def raised(i: int) -> Exception:
    """An exception that was caught: its traceback keeps the frame, and the frame its variables."""
    rows = [n / 7 + i for n in range(100)]
    try:
        raise FailedError(f"failed on {len(rows)}", [i + 1000])
    except FailedError as error:
        return error


def chained(i: int) -> Exception:
    try:
        try:
            int(f"no number {i}")
        except ValueError as error:
            raise KeyError(f"key {i}") from error
    except KeyError as error:
        return error


def buffered(i: int) -> io.BytesIO:
    out = io.BytesIO()
    out.write(bytes(5000 + i))
    return out


def written(i: int) -> io.StringIO:
    out = io.StringIO()
    for n in range(100):
        out.write(f"line {n} of {i}\n")
    return out


def counted(i: int) -> Iterator[float]:
    rows = [n / 7 for n in range(50)]
    for n, row in enumerate(rows):
        yield row * i + n


def started(i: int) -> Iterator[float]:
    running = counted(i)
    next(running)
    return running


def closure(i: int) -> Callable[[], float]:
    rows = [n / 7 + i for n in range(50)]

    def total() -> float:
        return sum(rows)

    return total


def memoized(i: int) -> Callable[[int], str]:
    @functools.lru_cache(maxsize=100)
    def text(n: int) -> str:
        return f"text {n} of {i}"

    for n in range(50):
        text(n)
    return text


def message(i: int) -> email.message.Message:
    return email.message_from_string(
        f"From: a{i}@example.org\nTo: b@example.org\nSubject: message {i}\nX-Number: {i}\n\n"
        + "text\n" * 40
    )


def modern_message(i: int) -> email.message.EmailMessage:
    out = email.message.EmailMessage()
    out["Subject"] = f"message {i}"
    out["From"] = f"a{i}@example.org"
    out.set_content("text of the message\n" * 20)
    out.add_attachment(bytes(2000), maintype="application", subtype="octet-stream", filename=f"{i}.bin")
    return out


def etree(i: int) -> ElementTree.Element:
    return ElementTree.fromstring(
        f"<a><b x='{i}' y='2'>text {i}</b>" + f"<c>more {i}<d k='v{i}'/>tail</c>" * 20 + "</a>"
    )


def weak_values(i: int) -> weakref.WeakValueDictionary[str, Watched]:
    return weakref.WeakValueDictionary({f"key {i} {n}": WATCHED[n] for n in range(20)})


def rows_of(i: int, factory: Any = None) -> list[Any]:
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.row_factory = factory
        return database.execute(
            "with recursive n(x) as (select 1 union all select x + 1 from n where x < 30)"
            " select x + 1000 as a, 'row ' || x || ?, x / 7.0 as b from n",
            (str(i),),
        ).fetchall()


def config(i: int) -> configparser.ConfigParser:
    out = configparser.ConfigParser()
    out.read_string("".join(f"[section {i} {n}]\nkey = value {n}\nother = {i}\n" for n in range(5)))
    return out


def queued(i: int) -> queue.Queue[Any]:
    out: queue.Queue[Any] = queue.Queue()
    for n in range(20):
        out.put([n / 7 + i])
    return out


def cookies(i: int) -> http.cookies.SimpleCookie:
    return http.cookies.SimpleCookie(f"session=abc{i}; theme=dark{i}")


def context(i: int) -> contextvars.Context:
    out = contextvars.Context()
    out.run(CONTEXT.set, [n / 7 + i for n in range(30)])
    return out


def future(i: int) -> asyncio.Future[Any]:
    loop = LOOP[0]
    out = loop.create_future()
    out.set_result([n / 7 + i for n in range(30)])
    return out


STREAM = zlib.compress(b"".join(b"line %d of a text\n" % n for n in range(9999)))[:500]
LOOP = [asyncio.new_event_loop()]
