"""The walks in C and in Python: the same answers on random graphs of objects, near ones on samples."""

from __future__ import annotations

import collections
import ctypes
import datetime
import functools
import gc
import io
import os
import platform
import random
import sys
import threading
import types
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbcache import sizing
from ebbcache.sizing import walk

pytestmark = pytest.mark.skipif(
    sizing.IMPLEMENTATION != "native", reason="the C extension is not built, or forbidden by EBBCACHE_PURE"
)


class Pair:
    def __init__(self, left: Any = None, right: Any = None) -> None:
        self.left = left
        self.right = right


class Slots:
    __slots__ = ("left", "right")

    def __init__(self, left: Any = None, right: Any = None) -> None:
        self.left = left
        self.right = right


class Both(Slots):
    pass


class Named(NamedTuple):
    left: Any
    right: Any


class Rows(list[Any]):
    pass


class Table(dict[Any, Any]):
    pass


class Text(str):
    pass


class Whole(int):
    pass


class Claiming(list[Any]):
    def __sizeof__(self) -> int:
        return 5000


for _ in range(32):  # the arrays of a class's first instances have room to spare, which only C can see
    Pair()

POOL = ["pooled " + str(n) for n in range(8)]
LEAVES: list[Callable[[int], Any]] = [
    float,
    lambda n: n + 1000,
    lambda n: 3 ** (n % 200),
    str,
    lambda n: f"é{n}" * n,
    lambda n: f"Ж{n}",
    lambda n: str(n).encode() * n,
    lambda n: complex(n, 1),
    lambda n: n % 2 == 0,
    lambda n: None,
    lambda n: POOL[n % 8],
    lambda n: bytearray(n),
    lambda n: Text(f"text {n}"),
    lambda n: Whole(n + 1000),
    lambda n: (),
    lambda n: range(n + 1000),
]
HOLDERS: list[Callable[[list[Any]], Any]] = [
    list,
    tuple,
    lambda kids: {f"key {n}": kid for n, kid in enumerate(kids)},
    lambda kids: {n / 7: kid for n, kid in enumerate(kids)},
    lambda kids: {f"key {n} of {id(kids)}" for n in range(len(kids))},
    lambda kids: frozenset(n / 3 for n in range(len(kids))),
    collections.deque,
    lambda kids: collections.OrderedDict((f"key {n}", kid) for n, kid in enumerate(kids)),
    lambda kids: collections.OrderedDict((n / 9, kid) for n, kid in enumerate(kids)),
    lambda kids: collections.defaultdict(list, {f"key {n}": kid for n, kid in enumerate(kids)}),
    lambda kids: collections.defaultdict(list, {n / 5: kid for n, kid in enumerate(kids)}),
    lambda kids: Pair(*(kids * 2)[:2]),
    lambda kids: Slots(*(kids * 2)[:2]),
    lambda kids: Named(*(kids * 2 + [1.5, 2.5])[:2]),
    Rows,
    lambda kids: Table({n / 5: kid for n, kid in enumerate(kids)}),
    Claiming,
    lambda kids: types.SimpleNamespace(**{f"name{n}": kid for n, kid in enumerate(kids)}),
    lambda kids: functools.partial(max, *kids),
    lambda kids: iter([*kids]),
    lambda kids: ValueError(*kids),
    lambda kids: types.MappingProxyType({f"proxied {n}": kid for n, kid in enumerate(kids)}),
]

leaf = st.tuples(st.sampled_from(LEAVES), st.integers(0, 300))
holder = st.tuples(st.sampled_from(HOLDERS), st.lists(st.integers(0, 10**6), max_size=20))


def build(specs: list[tuple[Any, Any]], loops: list[tuple[int, int]]) -> list[Any]:
    """Return objects of which each holds some of those before it, and some lists those after it."""
    made: list[Any] = []
    for make, what in specs:
        kids = [made[n % len(made)] for n in what] if isinstance(what, list) and made else []
        made.append(make(kids if isinstance(what, list) else what))
    lists = [one for one in made if type(one) is list]
    for n, m in loops if lists else []:
        lists[n % len(lists)].append(made[m % len(made)])
    return made


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """No collection between two looks: it would empty the free lists of what the other one looks at."""
    gc.disable()
    yield
    gc.enable()


def both(value: Any, budget: int | None = None, *, evicted: bool = False) -> tuple[int, int]:
    """Return what C says and what Python says, neither knowing what the other found."""
    sizing._measure_by(sizing.Table({}), None)
    if evicted:
        native = sizing.freed_with(value, budget=budget or sys.maxsize)
    else:
        native = sizing.sizeof(value, exact=budget is None, budget=budget or 1)
    sizing._measure_by(sizing.Table({}), None)
    if evicted and type(value) is not int:
        return native, walk.weigh(sizing._table, value, budget or sys.maxsize, evicted=True)
    return native, sizing.python_sizeof(value, exact=budget is None, budget=budget or 1)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(leaf | holder, min_size=1, max_size=40),
    st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=5),
    st.integers(0, 1000),
)
def test_same_answers(specs: list[tuple[Any, Any]], loops: list[tuple[int, int]], root: int) -> None:
    made = build(specs, loops)
    value = made[root % len(made)]
    for evicted in (False, True):
        native, python = both(value, evicted=evicted)
        assert native == python
    del made[:]
    native, python = both(value)
    assert native == python
    native, python = both(value, 10_000)
    assert native == python


@settings(deadline=None, max_examples=60)
@given(st.lists(leaf | holder, min_size=1, max_size=40), st.integers(1, 200))
def test_any_budget_gives_an_answer(specs: list[tuple[Any, Any]], budget: int) -> None:
    value = build(specs, [])
    assert sizing.sizeof(value, budget=budget) >= 0
    assert sizing.freed_with(value, budget=budget) >= 0


class Own(list[Any]):
    def __init__(self, *values: Any) -> None:
        super().__init__([1.5])
        self.values = values


class Stamped(int):
    def __init__(self, *values: Any) -> None:
        self.values = values


class OwnTable(dict[Any, Any]):
    def __init__(self, *values: Any) -> None:
        super().__init__({"a": 1.5})
        self.values = values


class OwnQueue(collections.deque[Any]):
    def __init__(self, *values: Any) -> None:
        super().__init__(values)
        self.values = values


class Written(str):
    values: Any


def attributes() -> Iterator[Any]:
    """Yield instances whose attributes lie in all the ways that there are."""
    yield Pair(1.5, [2.5])
    for count in (1, 7, 29, 30, 31, 60):
        yield types.SimpleNamespace(**{f"a{count}_{n}": n / 7 for n in range(count)})
        cls = type("Fresh", (), {})
        for _ in range(3):
            one = cls()
            for n in range(count):
                setattr(one, f"b{count}_{n}", n / 7)
            yield one
    asked = Pair(1.5, 2.5)
    _ = asked.__dict__
    yield asked
    less = Pair(1.5, 2.5)
    del less.left
    yield less
    replaced = Pair()
    replaced.__dict__ = {"left": [1.5]}
    yield replaced
    yield from (Own(1.5, 2.5), Stamped(7000), OwnTable(2.5), OwnQueue(3.5), ValueError(1.5))
    written = Written("some text")
    written.values = [1.5]
    yield written
    more = Own(1.5)
    for n in range(40):
        setattr(more, f"a{n}", n / 7)
    yield more
    yield Both(1.5, [2.5])


class Matrix(np.ndarray[Any, Any]):
    pass


ZONE = datetime.timezone(datetime.timedelta(hours=1))
RECORDS = np.zeros(50, dtype=[("a", "f8"), ("b", "i4")])


def compiled(text: str) -> Any:
    names: dict[str, Any] = {"table": [n / 7 for n in range(99)], "__name__": "of no module"}
    exec(text, names)
    return names.pop("f")


def caught(text: str) -> Exception:
    kept = [text, 1.5]
    try:
        raise ValueError(text, len(kept))
    except ValueError as error:
        return error


READ_IN_PLACE: dict[str, Callable[[], Any]] = {
    "array": lambda: np.arange(300.0),
    "array of no dimension": lambda: np.array(1.5),
    "empty array": lambda: np.empty((0, 3)),
    "view of its own array": lambda: np.arange(600.0).reshape(20, 30)[::2],
    "view of another's": lambda: RECORDS["a"],
    "array of texts": lambda: np.array(["some text", "another"] * 9),
    "array of times": lambda: np.arange(9).astype("M8[s]"),
    "array of objects": lambda: np.array([[1.5], {"a": 2.5}, None], dtype=object),
    "structure": lambda: np.zeros(9, dtype=RECORDS.dtype)[1],
    "structure of another's": lambda: RECORDS[1],
    "array of a subclass": lambda: np.arange(30.0).view(Matrix),
    "time with a zone of its own": lambda: datetime.datetime.fromisoformat("2020-01-01T00:00:00+01:30"),
    "time with another's": lambda: datetime.datetime(2020, 1, 1, tzinfo=ZONE),
    "times": lambda: [datetime.datetime(2020, 1, 1 + n) for n in range(9)],
    "objects in the order of Fortran": lambda: np.array([[1.5, [2.5]], [None, "text"]], object, order="F"),
    "view of objects": lambda: np.array([[1.5], {"a": 2.5}, None, 7.5], dtype=object)[1:],
    "array of structures with a dtype of its own": lambda: np.zeros(
        9, dtype=[("a", "f8"), ("of its own", "i4")]
    ),
    "array of long texts": lambda: np.array([f"a text that is long enough {n}" for n in range(9)], "T"),
    "records": lambda: np.rec.fromarrays([np.arange(9.0), np.arange(9)], dtype=RECORDS.dtype),
    "masked array": lambda: np.ma.masked_array(np.arange(99.0), mask=np.arange(99) % 2 == 0),
    "scalars": lambda: [*np.arange(9.0), np.str_("text"), np.datetime64("2020-01-01")],
    "iterator over an array": lambda: np.arange(99.0).flat,
    "structure with a dtype of its own": lambda: np.zeros(9, dtype=[("of its own too", "i4")])[1],
    "bytes in memory": lambda: io.BytesIO(bytes(3000)),
    "bytes in memory, written": lambda: [(out := io.BytesIO()), out.write(bytes(300))][0],
    "lock": threading.Lock,
    "zone": lambda: datetime.timezone(datetime.timedelta(minutes=7), "of its own"),
    "decompressor": zlib.decompressobj,
    "method of a list": lambda: [1.5].append,
    "exception that was caught": lambda: caught("some text"),
    "function": lambda: lambda x=[1.5]: (x, READ_IN_PLACE),
    "function of no module": lambda: compiled("def f(): return table"),
    "struct with hidden fields": lambda: os.stat("."),
}


@pytest.mark.parametrize("name", READ_IN_PLACE)
def test_same_answers_for_what_c_reads_in_place(name: str) -> None:
    value = READ_IN_PLACE[name]()
    native, python = both(value)
    assert native == python > 0
    native, python = both([value, [value], 1.5])
    assert native == python


def test_samples_of_objects_in_arrays_are_near_each_other() -> None:
    value = np.empty((300, 200), dtype=object)
    for n in range(value.size):
        value[n % 300, n // 300] = [n / 7] * (n % 4)
    whole, same = both(value)
    assert whole == same
    native, python = both(value, 5000)
    assert native == pytest.approx(python, rel=0.05)
    assert native == pytest.approx(whole, rel=0.1)


TREES = {
    "bare": "<a/>",
    "doctype": "<!DOCTYPE a [<!ENTITY x 'yes'>]><!-- b --><a>&x; <![CDATA[<raw>]]><b c='1'>x<d/></b></a>"
    "<?p i?>",
    "texts": "<a>" + "<b>Ж%s</b>a text that is longer" % ("long " * 9) * 20 + "</a>",
    "namespaces": "<a xmlns='urn:a' xmlns:b='urn:b'><b:c b:d='e'/><!-- in --></a>",
}


@pytest.mark.parametrize("name", TREES)
def test_nodes_of_lxml_are_counted_alike(name: str) -> None:
    etree = pytest.importorskip("lxml.etree")
    root = etree.fromstring(TREES[name])
    native, python = both(root)
    assert native == python > 0
    for each in (
        root.getroottree(),
        [*root.iter()],
        [root, root],
        [etree.fromstring(TREES[name]) for _ in "abc"],
    ):
        native, python = both(each)
        assert native == python
    for each in root.iter():
        native, python = both(each)
        assert native == python
    del each
    child = root[0] if len(root) else root
    del root
    native, python = both(child)
    assert native == python
    for each in (etree.Comment("alone"), etree.Element("alone"), etree.ElementTree()):
        native, python = both(each)
        assert native == python


ARROW: dict[str, Callable[[Any], Any]] = {
    "array": lambda pa: pa.array([1.5, None, 2.5] * 99),
    "texts": lambda pa: pa.array(["some text", "another"] * 99),
    "lists": lambda pa: pa.array([[n, n] for n in range(99)]),
    "structs": lambda pa: pa.array([{"a": n, "b": str(n)} for n in range(99)]),
    "words": lambda pa: pa.array(["some text", "another"] * 99).dictionary_encode(),
    "nothing": lambda pa: pa.array([]),
    "slice": lambda pa: pa.array([1.5] * 999)[5:7],
    "column": lambda pa: pa.chunked_array([[1.5] * 99, [2.5] * 9]),
    "table": lambda pa: pa.table({"a": [1.5] * 99, "b": ["text"] * 99}),
    "batch": lambda pa: pa.table({"a": [1.5] * 99, "b": ["text"] * 99}).to_batches()[0],
    "buffer": lambda pa: pa.py_buffer(bytes(3000)),
    "same twice": lambda pa: [one := pa.array([1.5] * 999), one[5:7], pa.table({"a": one})],
}


@pytest.mark.parametrize("name", ARROW)
def test_same_answers_for_arrow(name: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from ebbcache.sizing.holders import arrow

    value = ARROW[name](pyarrow)
    for each in (value, [value, ARROW[name](pyarrow)]):
        arrow._first.clear()  # else the first to be asked is charged
        native = sizing.sizeof(each)
        arrow._first.clear()
        assert native == sizing.python_sizeof(each) > 100


TENSORS: dict[str, Callable[[Any], Any]] = {
    "tensor": lambda torch: torch.arange(999.0),
    "view": lambda torch: torch.arange(999.0)[5:7],
    "view and base": lambda torch: [base := torch.arange(999.0), base[5:7], base.expand(5, 999)],
    "gradient": lambda torch: trained(torch),
    "graph": lambda torch: (torch.ones(99, requires_grad=True) * 2).exp(),
    "sparse": lambda torch: torch.eye(20).to_sparse(),
    "parameter": lambda torch: torch.nn.Parameter(torch.ones(99)),
    "layer": lambda torch: torch.nn.Linear(9, 5),
    "empty": lambda torch: torch.empty(0),
}


def trained(torch: Any) -> Any:
    out = torch.ones(99, requires_grad=True)
    (out * 2).sum().backward()
    return out


@pytest.mark.parametrize("name", TENSORS)
def test_same_answers_for_tensors(name: str) -> None:
    make = functools.partial(TENSORS[name], pytest.importorskip("torch"))
    value = make()
    native, python = both(value)
    assert native == python > 100
    native, python = both([make(), make()])
    assert native == python > 200
    native, python = both([value, value, make()])
    assert native == python > 100


def test_an_element_counts_its_document_if_nobody_else_holds_it() -> None:
    etree = pytest.importorskip("lxml.etree")
    root = etree.fromstring(TREES["texts"])
    assert sizing.sizeof(root) > 5000
    kept = root[0]
    assert sizing.sizeof(kept) < 500
    assert sizing.sizeof([root, kept]) > 5000
    assert sizing.sizeof(etree.fromstring(TREES["texts"])[0]) > 5000


def test_arrays_take_their_buffers_and_views_the_base_that_nobody_else_holds() -> None:
    whole = np.arange(3000.0)
    assert 24_000 < sizing.sizeof(whole) < 24_300
    assert sizing.sizeof(whole[:5]) < 300
    assert sizing.sizeof(np.arange(3000.0)[:5]) > 24_000
    assert sizing.sizeof([np.arange(3000.0)[:5], whole[:5]]) == pytest.approx(24_600, abs=300)


def test_a_time_holds_its_zone() -> None:
    alone = sizing.sizeof(datetime.datetime(2020, 1, 1))
    own = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(minutes=7), "zone"))
    assert sizing.sizeof(own) > alone + 64
    assert sizing.sizeof(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)) == alone


def test_same_answers_for_attributes() -> None:
    for value in attributes():
        native, python = both(value)
        assert native == python, vars(value)


def rows(count: int) -> list[Any]:
    rng = random.Random(5)
    return [
        {"id": n + 1000, "name": f"row {n}", "tags": [f"tag {rng.random()}" for _ in range(n % 5)]}
        for n in range(count)
    ]


@pytest.mark.parametrize(
    "make",
    [
        lambda: rows(20_000),
        lambda: {f"key {n}": row for n, row in enumerate(rows(20_000))},
        lambda: [Pair(n / 7, [n / 9]) for n in range(30_000)],
        lambda: {n / 7 for n in range(60_000)},
        lambda: collections.OrderedDict((n, str(n)) for n in range(50_000)),
        lambda: collections.Counter(f"word {n}" for n in range(50_000)),
        lambda: collections.deque(rows(20_000)),
    ],
    ids=["rows", "dict", "instances", "set", "ordered", "counter", "deque"],
)
def test_samples_are_near_each_other(make: Callable[[], Any]) -> None:
    value = make()
    whole, same = both(value)
    assert whole == same
    native, python = both(value, 5000)
    assert native == pytest.approx(python, rel=0.05)
    assert native == pytest.approx(whole, rel=0.05)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not os.environ.keys().isdisjoint({"LD_PRELOAD", "PYTHONMALLOC"}),
    reason="only glibc's malloc tells how large a block is, and only where it is in use",
)
def test_only_c_sees_what_bytes_keep_of_a_larger_block() -> None:
    text = bytes([7]) * 9_000
    whole = sizing.sizeof(text)
    length = ctypes.c_ssize_t.from_address(id(text) + object.__basicsize__)
    try:
        length.value = 1_000  # as makers of bytes do that do not cut off what they have too much
        assert sizing.python_sizeof(text) < 1_100
        assert whole <= sizing.sizeof(text) <= whole + 16
        assert sizing.sizeof((text, 1)) - sizing.sizeof((b"", 1)) >= whole
        length.value = 10  # as far as can be seen that is pymalloc's, which cannot be asked
        assert sizing.sizeof(text) < 100
    finally:
        length.value = 9_000
