"""Kinds of values that caches hold, from the standard library: each a function of a number that makes one.

Bound: as `sizing_values` says.
"""

from __future__ import annotations

import argparse
import array
import ast
import collections
import datetime
import decimal
import fractions
import functools
import hashlib
import heapq
import inspect
import io
import ipaddress
import itertools
import operator
import os
import pathlib
import random
import re
import sqlite3
import string
import struct
import threading
import types
import urllib.parse
import uuid
import weakref
import zlib
from collections.abc import Callable
from typing import Any
from xml.dom import minidom

from benchmarks.sizing_values import (
    POOL,
    RNG,
    SERVICE,
    SHARED_ROWS,
    STREAM,
    WATCHED,
    ZONE,
    Cached,
    Client,
    Color,
    Deleted,
    Dictlike,
    Flags,
    HalfSlotted,
    Keywords,
    Late,
    Listlike,
    Named,
    Page,
    Point,
    Record,
    Single,
    SlotRecord,
    Slotted,
    Text,
    Tupled,
    Typed,
    Whole,
    Wide,
    buffered,
    cached_utf8,
    chained,
    closure,
    config,
    context,
    cookies,
    document,
    etree,
    future,
    geojson,
    grown_list,
    linked,
    looked_at,
    memoized,
    message,
    modern_message,
    queued,
    raised,
    ring,
    rows_of,
    shrunk_dict,
    started,
    tree,
    weak_values,
    written,
)

Makers = dict[str, Callable[[int], Any]]

SCALARS: Makers = {
    "str ascii": lambda i: f"value {i} " * 5,
    "str latin-1": lambda i: f"é{i} " * 50,
    "str ucs2": lambda i: f"Ж{i} " * 50,
    "str ucs4": lambda i: f"\U0001f600{i} " * 50,
    "str long": lambda i: f"{i:08}" * 2000,
    "str with utf-8": cached_utf8,
    "bytes": lambda i: b"%d" % i * 40,
    "bytes of 100 kB": lambda i: bytes(100_000 + i),
    "bytes of 1 MB": lambda i: bytes(1_000_000 + i),
    "int": lambda i: i + 1000,
    "int big": lambda i: 3**1000 + i,
    "int grown": lambda i: (1 << 2000) - (1 << 1999) + i,
    "float": lambda i: i / 7,
    "complex": lambda i: complex(i, 1),
    "bytearray": lambda i: bytearray(700 + i),
    "bytearray grown": lambda i: functools.reduce(operator.iadd, [b"some bytes"] * 100, bytearray()),
    "Decimal": lambda i: decimal.Decimal(f"{i}.25"),
    "Decimal long": lambda i: decimal.Decimal(f"{i}." + "1" * 200),
    "Fraction": lambda i: fractions.Fraction(i + 1000, 7919),
    "datetime": lambda i: datetime.datetime(2020, 1, 1, 0, 0, i % 60),
    "datetime with zone": lambda i: datetime.datetime(2020, 1, 1, 0, 0, i % 60, tzinfo=ZONE),
    "datetimes with zones of their own": lambda i: [
        datetime.datetime.fromisoformat(f"2020-01-01T00:00:{n:02}+01:{i % 60:02}") for n in range(20)
    ],
    "timezone": lambda i: datetime.timezone(datetime.timedelta(minutes=i + 1), f"zone {i}"),
    "stat_result": lambda i: os.stat("/"),
    "date": lambda i: datetime.date(2020, 1, 1 + i % 28),
    "timedelta": lambda i: datetime.timedelta(seconds=i + 1000),
    "uuid": lambda i: uuid.UUID(int=i + 2**100),
    "IPv4Address": lambda i: ipaddress.ip_address(f"10.0.{i % 250}.7"),
    "IPv4Network": lambda i: ipaddress.ip_network(f"10.{i % 250}.0.0/16"),
    "Path": lambda i: pathlib.PurePosixPath(f"/a/b/{i}"),
    "Path used": lambda i: [path := pathlib.Path(f"/a/b/{i}"), str(path), path.name, hash(path)][0],
    "slice": lambda i: slice(i + 1000, i + 2000),
    "range": lambda i: range(i + 1000, i + 20000),
}
CONTAINERS: Makers = {
    "list of floats": grown_list,
    "list of ints": lambda i: [n + 1000 for n in range(200)],
    "list empty": lambda i: [],
    "list of None": lambda i: [None] * (1000 + i),
    "list of lists": lambda i: [[n / 3] for n in range(100)],
    "list of tuples": lambda i: [(n + 1000, n / 3, f"{n} {i}") for n in range(100)],
    "tuple": lambda i: (i + 1000, f"name {i}", i / 7),
    "tuple long": lambda i: tuple(n / 3 for n in range(300)),
    "dict small": lambda i: {f"k{i}": i / 7, f"l{i}": f"text {i}"},
    "dict of 10": lambda i: {f"key {i} {n}": n / 7 for n in range(10)},
    "dict int keys": lambda i: {n + 1000: f"value {n}" for n in range(100)},
    "dict tuple keys": lambda i: {(n, f"k{i}"): n / 7 for n in range(100)},
    "dict literal keys": lambda i: {
        "id": i + 1000,
        "name": f"name {i}",
        "price": i / 7,
        "tags": [f"tag {i}"],
    },
    "dict large": lambda i: {f"key {i} {n}": n / 3 for n in range(1000)},
    "dict shrunk": shrunk_dict,
    "dict empty": lambda i: {},
    "dict cleared": lambda i: [made := {n: n for n in range(100)}, made.clear()][0],
    "dict of vars": lambda i: vars(Point(i)),
    "set": lambda i: {f"member {n} of {i}" for n in range(100)},
    "set small": lambda i: {i / 7, i / 9},
    "frozenset": lambda i: frozenset(n / 3 for n in range(50)),
    "deque": lambda i: collections.deque((n / 3 for n in range(1000)), maxlen=2000),
    "deque small": lambda i: collections.deque([i / 7]),
    "OrderedDict": lambda i: collections.OrderedDict((f"key {i} {n}", n / 3) for n in range(100)),
    "OrderedDict int keys": lambda i: collections.OrderedDict((n + 1000, n / 3) for n in range(50)),
    "defaultdict": lambda i: collections.defaultdict(list, {f"k {i} {n}": [n / 3] for n in range(30)}),
    "Counter": lambda i: collections.Counter(f"word {n} of {i}" for n in range(40)),
    "ChainMap": lambda i: collections.ChainMap({f"a{i}": i / 7}, {f"b{i}": i / 9}),
    "UserDict": lambda i: collections.UserDict({f"a{i} {n}": n / 7 for n in range(20)}),
    "array": lambda i: array.array("d", range(1000)),
    "array grown": lambda i: [out := array.array("q"), [out.append(n) for n in range(1000)]][0],
    "memoryview alone": lambda i: memoryview(bytes(1000 + i)),
    "memoryview slice": lambda i: memoryview(bytes(4000 + i))[100:200],
    "BytesIO": buffered,
    "BytesIO of bytes": lambda i: io.BytesIO(bytes(5000 + i)),
    "StringIO": written,
    "StringIO of str": lambda i: io.StringIO(f"some text {i} " * 100),
    "heap": lambda i: [out := [(RNG.random(), n + i) for n in range(100)], heapq.heapify(out)][0],
    "queue": queued,
    "mappingproxy": lambda i: types.MappingProxyType({f"a {i}": i / 7}),
    "WeakValueDictionary": weak_values,
    "WeakSet": lambda i: weakref.WeakSet(WATCHED[:20]),
    "pooled strings": lambda i: [POOL[n % 50] for n in range(i, i + 200)],
    "shared rows": lambda i: {"id": i + 1000, "rows": [SHARED_ROWS[n % 20] for n in range(i, i + 10)]},
    "same list twice": lambda i: [shared := [n / 3 for n in range(100)], shared, [shared]],
    "repeated leaf": lambda i: [f"the same text {i}" * 20] * 100,
    "interned keys": lambda i: [{"left": n / 7, "right": n / 9} for n in range(100)],
    "cycle": linked,
    "ring": ring,
    "tree with parents": tree,
    "JSON document": document,
    "JSON of 1000 rows": lambda i: document(i, 1000),
    "GeoJSON": geojson,
    "struct unpacked": lambda i: [*struct.iter_unpack("dqd", bytes(range(240)) * 2)],
    "rows of csv": lambda i: [f"{i},{n},text {n},{n / 7}".split(",") for n in range(50)],
}
INSTANCES: Makers = {
    "namedtuple": lambda i: Named(i / 7, f"name {i}", b"%d" % i * 9),
    "namedtuples": lambda i: [Named(n / 7, f"name {n}", b"%d" % i) for n in range(50)],
    "dataclass": lambda i: Record(i + 1000, f"record {i}", [f"tag {i}"]),
    "dataclass slots": lambda i: SlotRecord(
        i + 1000, f"r {i}", datetime.datetime(2020, 1, 1, 0, 0, i % 60)
    ),
    "dataclass nested": lambda i: Record(i + 1000, f"r {i}", [], Record(i + 2000, f"p {i}", [f"t {i}"])),
    "TypedDict": lambda i: Typed(number=i + 1000, name=f"name {i}"),
    "instance": Point,
    "instance wide": Wide,
    "instance late": Late,
    "instance of one dict": Single,
    "instance of keywords": lambda i: Keywords(a=i / 7, b=f"text {i}", c=[i / 9]),
    "instance less an attribute": Deleted,
    "list subclass with attributes": Page,
    "class of its own": lambda i: type("Own", (Page,), {})(i),
    "instance with __dict__ used": looked_at,
    "instance slots": Slotted,
    "instance slots and dict": HalfSlotted,
    "instances in a list": lambda i: [Point(n) for n in range(50)],
    "cached_property": lambda i: [out := Cached(i), out.rows][0],
    "SimpleNamespace": lambda i: types.SimpleNamespace(a=i / 7, b=f"text {i}"),
    "argparse.Namespace": lambda i: argparse.Namespace(a=i / 7, b=f"text {i}", c=[f"{i}"]),
    "list subclass": lambda i: Listlike(n / 3 for n in range(100)),
    "dict subclass": Dictlike,
    "str subclass": lambda i: Text(f"some text {i}"),
    "int subclass": lambda i: Whole(i + 1000),
    "tuple subclass": lambda i: Tupled(n / 7 for n in range(20)),
    "enum members": lambda i: [Color.RED, Color.BLUE, Flags.A | Flags.B, f"text {i}"],
    "shared service": Client,
    "exception": lambda i: ValueError(f"message {i}", i + 1000.5),
    "exception caught": raised,
    "exception chained": chained,
    "partial": lambda i: functools.partial(max, [n + 1000 + i for n in range(20)], key=None),
    "bound method": lambda i: Point(i).__init__,
    "closure": closure,
    "lambda": lambda i: lambda x=f"default {i}": x,
    "lru_cache": memoized,
    "iterator": lambda i: iter([n / 3 for n in range(50)]),
    "dict items": lambda i: {f"key {i} {n}": n / 7 for n in range(20)}.items(),
    "generator": lambda i: (n for n in [x / 3 for x in range(50)]),
    "generator started": started,
    "chain": lambda i: itertools.chain([n / 7 for n in range(20)], [i + 1000]),
    "map": lambda i: map(str, [n / 7 + i for n in range(20)]),
    "weakref": lambda i: [weakref.ref(SERVICE), f"text {i}"],
    "lock": lambda i: [threading.Lock(), threading.RLock(), f"text {i}"],
    "Event": lambda i: threading.Event(),
    "Context": context,
    "Future": future,
    "hash of OpenSSL": lambda i: hashlib.sha3_256(b"%d" % i),
    "hash object": lambda i: hashlib.blake2b(b"%d" % i),
    "Random": lambda i: random.Random(i),
    "itemgetter": lambda i: operator.itemgetter(f"key {i}", f"other {i}"),
    "string.Template": lambda i: string.Template(f"hello $name {i}" * 10),
}
TEXTS: Makers = {
    "XML": etree,
    "minidom": lambda i: minidom.parseString(f"<a><b x='{i}'>text {i}</b>" + "<c>more</c>" * 5 + "</a>"),
    "email": message,
    "email with attachment": modern_message,
    "re.Match": lambda i: re.search(r"(\d+)-(\w+)", f"some text {i}-word and more of it {i}" * 10),
    "re.Pattern": lambda i: [re.purge(), re.compile(f"(a{i}|b+)[c-z]*(?P<name>x{i})")][1],
    "ast": lambda i: ast.parse(f"def f{i}(a, b):\n    return a + b * {i + 1000}\n" * 5),
    "code": lambda i: [compile(f"x = {i + 1000}", f"file {i}", "exec"), f"text {i}"][1:],
    "signature": lambda i: inspect.Signature([inspect.Parameter(f"p{i}", inspect.Parameter.KEYWORD_ONLY)]),
    "SplitResult": lambda i: [
        urllib.parse.clear_cache(),
        urllib.parse.urlsplit(f"https://example.org/{i}?q={i}"),
    ][1],
    "ConfigParser": config,
    "SimpleCookie": cookies,
    "sqlite tuples": rows_of,
    "sqlite Rows": lambda i: rows_of(i, sqlite3.Row),
    "zlib compressor": lambda i: zlib.compressobj(level=1),
    "zlib decompressor": lambda i: [out := zlib.decompressobj(), out.decompress(STREAM)][0],
}
STANDARD: Makers = {**SCALARS, **CONTAINERS, **INSTANCES, **TEXTS}
