"""Values that caches hold, from third-party packages: each family imports its package only when asked to.

Families that are not installed are left out. Bound as in `sizing_kinds`.
"""

from __future__ import annotations

import io
import mmap
import os
import tempfile
from collections.abc import Callable
from typing import Any

from benchmarks.sizing_kinds import Makers


def numpy_arrays() -> Makers:
    import numpy as np

    shared = np.arange(100_000.0)
    record = np.dtype([("a", "f8"), ("b", "i4")])
    file = tempfile.NamedTemporaryFile(delete=False)  # noqa: SIM115
    file.write(bytes(1 << 20))
    file.close()

    def objects(i: int) -> Any:
        out = np.empty(100, dtype=object)
        for n in range(100):
            out[n] = f"element {n} of {i}"
        return out

    return {
        "ndarray float": lambda i: np.arange(2000.0),
        "ndarray small": lambda i: np.arange(5),
        "ndarray 0-d": lambda i: np.array(i / 7),
        "ndarray empty": lambda i: np.empty((0, 3)),
        "ndarray of 1 MB": lambda i: np.ones(131_000),
        "ndarray 3-d": lambda i: np.zeros((10, 10, 10), dtype=np.float32),
        "ndarray view of own": lambda i: np.arange(2000.0).reshape(20, 100)[::2],
        "ndarray rows": lambda i: [*np.arange(8000.0).reshape(8, 1000)],
        "ndarray view of shared": lambda i: shared[i : i + 100],
        "ndarray transposed": lambda i: np.arange(600.0).reshape(20, 30).T,
        "ndarray from bytes": lambda i: np.frombuffer(bytes(4000 + 8 * i), dtype=np.float64),
        "ndarray broadcast": lambda i: np.broadcast_to(np.arange(100.0) + i, (500, 100)),
        "ndarray object": objects,
        "ndarray object view": lambda i: objects(i)[10:20],
        "ndarray str": lambda i: np.array([f"text {n} of {i}" for n in range(50)]),
        "ndarray StringDType": lambda i: np.array(
            [f"a text that is long enough {n} of {i}" for n in range(200)], dtype=np.dtypes.StringDType()
        ),
        "ndarray structured": lambda i: np.zeros(100, dtype=record),
        "ndarray structured, own dtype": lambda i: np.zeros(100, dtype=[("a", "f8"), (f"b{i}", "i4")]),
        "recarray": lambda i: np.rec.fromarrays([np.arange(100.0), np.arange(100)], dtype=record),
        "ndarray masked": lambda i: np.ma.masked_array(np.arange(1000.0), mask=np.arange(1000) % 2 == 0),
        "ndarray memmap": lambda i: np.memmap(file.name, dtype=np.uint8, mode="r", shape=(100_000,)),
        "ndarray datetime64": lambda i: np.arange(500).astype("M8[s]"),
        "ndarrays in a dict": lambda i: {f"a{i}": np.arange(500.0), f"b{i}": np.ones(300, dtype=bool)},
        "numpy record": lambda i: np.zeros(30, dtype=[("a", "f8"), (f"b{i}", "i4")])[3],
        "numpy flatiter": lambda i: np.arange(500.0 + i).flat,
        "ndarray of short bytes": lambda i: np.array([b"abc", b"de"] * 20),
        "numpy scalar": lambda i: np.float64(i / 7),
        "numpy str scalar": lambda i: np.str_(f"some text {i}"),
        "numpy scalars in a list": lambda i: [*np.arange(100.0)],
        "numpy Generator": lambda i: np.random.default_rng(i),
        "numpy poly1d": lambda i: np.polynomial.Polynomial([1.0, 2.0, i]),
        "mmap": lambda i: [mmap.mmap(-1, 8192), f"text {i}"],
    }


def pandas_frames() -> Makers:
    import numpy as np
    import pandas as pd

    shared = pd.DataFrame({"a": np.arange(10_000.0), "b": np.arange(10_000)})

    def frame(i: int) -> Any:
        return pd.DataFrame({"a": np.arange(500.0), "b": np.arange(500), "c": np.arange(500.0) + i})

    def texts(i: int) -> list[str]:
        return [f"some text {n} of {i}" for n in range(300)]

    def looked_at(i: int) -> Any:
        out = frame(i)
        _ = out["a"], out["b"], out.a.mean()
        return out

    return {
        "DataFrame numbers": frame,
        "DataFrame used": looked_at,
        "DataFrame object": lambda i: pd.DataFrame(
            {"t": pd.Series(texts(i), dtype=object), "n": range(300)}
        ),
        "DataFrame str": lambda i: pd.DataFrame({"t": texts(i)}),
        "DataFrame arrow": lambda i: pd.DataFrame({"t": pd.Series(texts(i), dtype="string[pyarrow]")}),
        "DataFrame categorical": lambda i: pd.DataFrame(
            {"c": pd.Categorical([f"kind {n % 7}" for n in range(2000)]), "n": np.arange(2000) + i}
        ),
        "DataFrame nullable": lambda i: pd.DataFrame({"n": pd.array([i, None, 3] * 100, dtype="Int64")}),
        "DataFrame dates": lambda i: pd.DataFrame({"d": pd.date_range("2020-01-01", periods=500 + i)}),
        "DataFrame indexed by text": lambda i: pd.DataFrame({"n": np.arange(300)}, index=texts(i)),
        "DataFrame slice keeping its parent": lambda i: frame(i)[100:110],
        "DataFrame slice of shared": lambda i: shared[i : i + 100],
        "DataFrame copied rows": lambda i: shared[shared.a < 300 + i],
        "DataFrame group": lambda i: frame(i).groupby(frame(i).b % 7).mean(),
        "Series numbers": lambda i: pd.Series(np.arange(1000.0) + i),
        "Series of a frame": lambda i: frame(i)["a"],
        "Series object": lambda i: pd.Series([{"n": n + i} for n in range(100)]),
        "Series sparse": lambda i: pd.Series(pd.arrays.SparseArray([0.0] * 500 + [i + 1.0])),
        "Index": lambda i: pd.Index(np.arange(1000) + i),
        "Index looked up": lambda i: [out := pd.Index(np.arange(1000) * 3 + i), out.get_loc(3 + i)][0],
        "MultiIndex": lambda i: pd.MultiIndex.from_product([range(20), [f"x{i}{n}" for n in range(10)]]),
        "DatetimeIndex": lambda i: pd.date_range("2020-01-01", periods=500 + i),
        "TimedeltaIndex": lambda i: pd.timedelta_range("1s", periods=100 + i),
        "PeriodIndex": lambda i: pd.period_range("2020-01", periods=100 + i, freq="M"),
        "DataFrame read": lambda i: pd.read_csv(io.StringIO("a,b,c\n" + f"1,2.5,x{i}\n" * 100)),
        "DataFrame of texts as columns": lambda i: pd.DataFrame({"t": ["a b"] * 90})["t"].str.split(
            expand=True
        ),
        "Timestamp": lambda i: pd.Timestamp(2020, 1, 1, i % 24),
        "Interval": lambda i: pd.interval_range(0, 100 + i),
    }


def arrow_tables() -> Makers:
    import pyarrow as pa

    shared = pa.table({"a": pa.array(range(100_000))})

    def table(i: int) -> Any:
        return pa.table(
            {
                "a": pa.array([n + i for n in range(1000)]),
                "t": pa.array([f"text {n} of {i}" for n in range(1000)]),
            }
        )

    return {
        "arrow Array": lambda i: pa.array([n / 7 + i for n in range(1000)]),
        "arrow Array with nulls": lambda i: pa.array([None, i, 3] * 300),
        "arrow list Array": lambda i: pa.array([[n, n + i] for n in range(300)]),
        "arrow struct Array": lambda i: pa.array([{"a": n, "b": f"b{i}"} for n in range(300)]),
        "arrow chunks": lambda i: pa.chunked_array([[1.5 * i] * 100] * 10),
        "arrow Table wide": lambda i: pa.table({f"c{n}": pa.array([1.5 * i] * 100) for n in range(20)}),
        "arrow dictionary Array": lambda i: pa.array(
            [f"kind {n % 7}" for n in range(3000)]
        ).dictionary_encode(),
        "arrow Table": table,
        "arrow Table slice keeping its parent": lambda i: table(i).slice(10, 20),
        "arrow Table slice of shared": lambda i: shared.slice(i, 50),
        "arrow RecordBatch": lambda i: table(i).to_batches()[0],
        "arrow ChunkedArray": lambda i: pa.chunked_array([[n + i for n in range(500)], [1, 2]]),
        "arrow Buffer": lambda i: pa.py_buffer(bytes(5000 + i)),
        "arrow Scalar": lambda i: pa.scalar(f"some text {i}"),
        "arrow Array of numpy": lambda i: pa.array(__import__("numpy").arange(1000.0)),
        "arrow schema": lambda i: pa.schema([(f"a{i}", pa.int64()), (f"b{i}", pa.string())]),
    }


def images() -> Makers:
    from PIL import Image

    return {
        "PIL RGB": lambda i: Image.new("RGB", (60 + i, 50)),
        "PIL L": lambda i: Image.new("L", (200 + i, 100)),
        "PIL palette": lambda i: Image.new("P", (100 + i, 100)),
        "PIL large": lambda i: Image.new("RGBA", (500, 500)),
        "PIL bits": lambda i: Image.new("1", (50, 400 + i)),
        "PIL narrow": lambda i: Image.new("L", (3, 2000 + i)),
        "PIL resized": lambda i: Image.new("RGB", (60 + i, 50)).resize((100, 80)),
    }


def tensors() -> Makers:
    import torch

    shared = torch.zeros(100_000)

    def backward(i: int) -> Any:
        out = torch.ones(200, 10, requires_grad=True)
        (out * (i + 1)).sum().backward()
        return out

    return {
        "tensor": lambda i: torch.arange(2000.0),
        "tensor small": lambda i: torch.tensor([i / 7]),
        "tensor of 1 MB": lambda i: torch.ones(512, 512),
        "tensor view of own": lambda i: torch.arange(4000.0)[10:20],
        "tensor view of shared": lambda i: shared[i : i + 50],
        "tensor transposed": lambda i: torch.ones(50, 40).T,
        "tensor views beside": lambda i: [*torch.ones(10, 500)],
        "tensor of numpy": lambda i: torch.from_numpy(__import__("numpy").arange(3000.0)),
        "tensor with grad": backward,
        "tensor graph": lambda i: (torch.ones(500, requires_grad=True) * (i + 2)).exp(),
        "tensor storage": lambda i: torch.arange(2000.0).untyped_storage(),
        "tensor sparse": lambda i: torch.eye(200).to_sparse(),
        "tensor bfloat16": lambda i: torch.ones(3000, dtype=torch.bfloat16),
        "torch Parameter": lambda i: torch.nn.Parameter(torch.ones(300)),
        "torch Linear": lambda i: torch.nn.Linear(40, 30),
        "torch state_dict": lambda i: torch.nn.Linear(40, 30).state_dict(),
    }


def sparse_matrices() -> Makers:
    import scipy.interpolate
    import scipy.sparse as sp
    import scipy.spatial

    def rows(i: int) -> Any:
        return sp.random_array((200, 200), density=0.05, format="csr", rng=i)

    return {
        "scipy csr": rows,
        "scipy csc": lambda i: rows(i).tocsc(),
        "scipy coo": lambda i: rows(i).tocoo(),
        "scipy dok": lambda i: rows(i).todok(),
        "scipy lil": lambda i: rows(i).tolil(),
        "scipy dia": lambda i: sp.eye_array(300).todia(),
        "scipy csr_matrix": lambda i: sp.csr_matrix(rows(i)),
        "scipy KDTree": lambda i: scipy.spatial.KDTree(__import__("numpy").random.rand(300, 3)),
        "scipy spline": lambda i: scipy.interpolate.CubicSpline(range(50), [n / 7 + i for n in range(50)]),
    }


def xml_trees() -> Makers:
    from lxml import etree, html, objectify

    def text(i: int) -> str:
        return f"<a><b x='{i}' y='2'>text {i}</b>" + f"<c>more {i}<d k='v{i}'/>tail</c>" * 20 + "</a>"

    document = etree.fromstring("<a>" + "<b>text</b>" * 1000 + "</a>")
    _held = [*document]

    return {
        "lxml tree": lambda i: etree.fromstring(text(i)),
        "lxml large": lambda i: etree.fromstring("<r>" + text(i) * 20 + "</r>"),
        "lxml ElementTree": lambda i: etree.ElementTree(etree.fromstring(text(i))),
        "lxml element of a kept tree": lambda i: document[i],
        "lxml child": lambda i: etree.fromstring(text(i))[0],
        "lxml all elements": lambda i: [*etree.fromstring(text(i)).iter()],
        "lxml html": lambda i: html.fromstring(
            f"<p class='x{i}'>text <b>bold</b> <a href='/{i}'>link</a></p>" * 9
        ),
        "lxml namespaces": lambda i: etree.fromstring(
            f"<a xmlns='urn:a{i}' xmlns:b='urn:b'><b:c d='{i}'/></a>"
        ),
        "lxml objectify": lambda i: objectify.fromstring(text(i)),
        "lxml xpath": lambda i: etree.XPath(f"//a[@x='{i}']"),
    }


def estimators() -> Makers:
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LinearRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    x = np.random.default_rng(1).random((200, 8))
    y = (x.sum(axis=1) > 4).astype(int)
    words = [f"some words {n} and {n % 17} others {n % 5}" for n in range(60)]

    return {
        "sklearn LinearRegression": lambda i: LinearRegression().fit(x, y),
        "sklearn DecisionTree": lambda i: DecisionTreeClassifier(random_state=i).fit(x, y),
        "sklearn RandomForest": lambda i: RandomForestClassifier(5, random_state=i).fit(x, y),
        "sklearn GradientBoosting": lambda i: GradientBoostingRegressor(n_estimators=5).fit(x, y),
        "sklearn KNeighbors": lambda i: KNeighborsClassifier().fit(x, y),
        "sklearn KMeans": lambda i: KMeans(3, n_init=1, random_state=i).fit(x),
        "sklearn StandardScaler": lambda i: StandardScaler().fit(x),
        "sklearn CountVectorizer": lambda i: CountVectorizer().fit(words),
    }


def orm() -> Makers:
    import sqlalchemy as sa
    from sqlalchemy import orm

    base: Any = orm.declarative_base()
    keys = {"primary_key": True}

    class User(base):
        __tablename__ = "users"
        id = sa.Column(sa.Integer, **keys)
        name = sa.Column(sa.String)
        mails = orm.relationship("Mail", back_populates="user")

    class Mail(base):
        __tablename__ = "mails"
        id = sa.Column(sa.Integer, **keys)
        text = sa.Column(sa.String)
        user_id = sa.Column(sa.ForeignKey("users.id"))
        user = orm.relationship("User", back_populates="mails")

    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        for n in range(1, 60):
            session.add(
                User(id=n, name=f"user {n}", mails=[Mail(text=f"text {m} to {n}") for m in range(5)])
            )
        session.commit()

    def one(i: int, *options: Any) -> Any:
        with orm.Session(engine) as session:
            return session.scalars(sa.select(User).where(User.id == 1 + i % 50).options(*options)).one()

    def rows(*columns: Any) -> Any:
        with engine.connect() as connection:
            return connection.execute(sa.select(*columns).limit(30))

    return {
        "SQLAlchemy rows": lambda i: rows(Mail.id, Mail.text).all(),
        "SQLAlchemy mappings": lambda i: rows(User.name, User.id).mappings().all(),
        "SQLAlchemy entity": one,
        "SQLAlchemy entities": lambda i: [one(n) for n in range(10)],
        "SQLAlchemy entity with children": lambda i: one(i, orm.selectinload(User.mails)),
        "SQLAlchemy select": lambda i: sa.select(User).where(User.name == f"user {i}"),
    }


def models() -> Makers:
    import attrs
    import msgspec
    import pydantic

    @attrs.define
    class Slotted:
        number: int
        name: str

    @attrs.define(slots=False)
    class Plain:
        number: int
        name: str
        parts: list[Any]

    class Model(pydantic.BaseModel):
        number: int
        name: str
        tags: list[str]

    class Outer(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        inner: list[Model]

    class Struct(msgspec.Struct):
        number: int
        name: str
        tags: list[str]

    class Untracked(msgspec.Struct, gc=False):
        x: float
        name: str

    @pydantic.dataclasses.dataclass
    class Data:
        number: int
        name: str

    def model(i: int) -> Any:
        return Model(number=i + 1000, name=f"name {i}", tags=[f"tag {i} {n}" for n in range(3)])

    return {
        "attrs slots": lambda i: Slotted(i + 1000, f"name {i}"),
        "attrs plain": lambda i: Plain(i + 1000, f"name {i}", [Slotted(i + 2000, f"part {i}")]),
        "pydantic": model,
        "pydantic nested": lambda i: Outer(inner=[model(n + i) for n in range(10)], more=f"extra {i}"),
        "pydantic dataclass": lambda i: Data(i + 1000, f"name {i}"),
        "pydantic parsed": lambda i: Model.model_validate_json(
            f'{{"number": {i + 1000}, "name": "n {i}", "tags": []}}'
        ),
        "pydantic Url": lambda i: pydantic.AnyUrl(f"https://example.org/a/{i}"),
        "msgspec Struct": lambda i: Struct(i + 1000, f"name {i}", [f"tag {i}"]),
        "msgspec Struct untracked": lambda i: Untracked(i / 7, f"name {i}"),
        "msgspec decoded": lambda i: msgspec.json.decode(
            b'{"a": [1.5, 2.5, "x%d"], "b": {"c": %d}}' % (i, i + 1000)
        ),
        "msgspec Raw": lambda i: msgspec.Raw(b"some bytes %d" % i),
    }


def datasets() -> Makers:
    import numpy as np
    import xarray as xr

    return {
        "xarray DataArray": lambda i: xr.DataArray(np.arange(1000.0).reshape(20, 50), dims=("x", "y")),
        "xarray Dataset": lambda i: xr.Dataset({"a": ("x", np.arange(500.0)), "b": ("x", np.arange(500))}),
    }


def polars_frames() -> Makers:
    import polars as pl

    def frame(i: int) -> Any:
        return pl.DataFrame(
            {"a": range(i, i + 100_000), "t": [f"a text of some length {n}" for n in range(100_000)]}
        )

    return {
        "polars DataFrame": frame,
        "polars Series": lambda i: pl.Series(range(i, i + 200_000)),
        "polars slice keeping its parent": lambda i: pl.Series(range(i, i + 200_000))[10:20],
        "polars LazyFrame": lambda i: pl.LazyFrame({"a": range(i, i + 200_000)}).filter(pl.col("a") > i),
    }


def resident() -> int:
    """Return the process's resident bytes: the truth for packages that bring an allocator of their own."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


FAMILIES: dict[str, Callable[[], Makers]] = {
    "numpy": numpy_arrays,
    "pandas": pandas_frames,
    "pyarrow": arrow_tables,
    "PIL": images,
    "torch": tensors,
    "scipy": sparse_matrices,
    "lxml": xml_trees,
    "sklearn": estimators,
    "sqlalchemy": orm,
    "models": models,
    "xarray": datasets,
    "polars": polars_frames,
}
RESIDENT = {"polars"}
"""Families measured by what is resident, because their allocator tells nothing."""
