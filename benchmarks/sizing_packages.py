"""More kinds of values from third-party packages: geometries, messages, pages, graphs, what parsers make.

Each family imports its packages only when asked to; one whose packages are not installed is left out.
Chosen as `sizing_more` says, and bound as in `sizing_kinds`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.sizing_kinds import Makers


def geometries() -> Makers:
    import shapely
    import shapely.geometry as geometry

    return {
        "shapely Point": lambda i: geometry.Point(i, 1.5),
        "shapely LineString": lambda i: geometry.LineString([(n, n / 7 + i) for n in range(100)]),
        "shapely Polygon": lambda i: geometry.Point(i, 0).buffer(5),
        "shapely MultiPolygon": lambda i: geometry.MultiPolygon(
            [geometry.box(n, 0, n + 0.5, 1) for n in range(9)]
        ),
        "shapely array": lambda i: shapely.points([[n, i] for n in range(50)]),
        "shapely STRtree": lambda i: shapely.STRtree([geometry.Point(n, i) for n in range(50)]),
    }


def messages() -> Makers:
    from google.protobuf import descriptor_pb2, struct_pb2, timestamp_pb2

    def file(i: int) -> Any:
        out = descriptor_pb2.FileDescriptorProto(name=f"file {i}.proto")
        for n in range(20):
            out.message_type.add(name=f"message {n} {i}").field.add(name="x", number=n + 1)
        return out

    return {
        "protobuf Timestamp": lambda i: timestamp_pb2.Timestamp(seconds=i + 1000),
        "protobuf message": file,
        "protobuf message parsed": lambda i: descriptor_pb2.FileDescriptorProto.FromString(
            file(i).SerializeToString()
        ),
        "protobuf Struct": lambda i: [
            out := struct_pb2.Struct(),
            out.update({"a": [1.5, f"x{i}"], "b": {"c": i / 7}}),
        ][0],
        "protobuf large": lambda i: descriptor_pb2.FileDescriptorProto(name="x" * 100_000 + str(i)),
    }


def pages() -> Makers:
    import bs4
    import jinja2
    import requests

    environment = jinja2.Environment(cache_size=0)

    def page(i: int) -> str:
        return (
            f"<html><body class='x{i}'>"
            + f"<p>text {i} <a href='/{i}'>link</a></p>" * 20
            + "</body></html>"
        )

    def response(i: int) -> Any:
        out = requests.Response()
        out.status_code, out.url, out._content = 200, f"https://example.org/{i}", b"body %d" % i * 50
        out.headers["X-Number"] = f"{i}"
        return out

    return {
        "bs4 soup": lambda i: bs4.BeautifulSoup(page(i), "html.parser"),
        "bs4 tag": lambda i: bs4.BeautifulSoup(page(i), "html.parser").p,
        "requests Response": response,
        "requests Session": lambda i: requests.Session(),
        "jinja2 template": lambda i: environment.from_string(
            "hello {{ name }}{% for x in all %}{{ x }}{% endfor %} " + str(i)
        ),
        "jinja2 environment": lambda i: jinja2.Environment(trim_blocks=bool(i % 2)),
    }


def structures() -> Makers:
    import networkx
    import sortedcontainers
    import sympy

    x, y = sympy.symbols("x y")

    return {
        "networkx Graph": lambda i: networkx.Graph(
            [(f"a{n} {i}", f"b{n}", {"weight": n / 7}) for n in range(50)]
        ),
        "networkx DiGraph": lambda i: networkx.gnp_random_graph(40, 0.1, seed=i, directed=True),
        "sortedcontainers SortedDict": lambda i: sortedcontainers.SortedDict(
            {f"k{n} {i}": n / 7 for n in range(100)}
        ),
        "sympy Matrix": lambda i: sympy.Matrix(5, 5, lambda a, b: sympy.Integer(a * b + i + 5000)),
        "sympy Poly": lambda i: sympy.Poly(x**3 + i * x + y, x, y),
    }


def parsed() -> Makers:
    import orjson

    def data(i: int) -> Any:
        return {"a": [1.5 * i, None, True, f"text {i}"], "b": {"c": [*range(1000, 1020)]}, "d": "Жук"}

    return {
        "orjson loads": lambda i: orjson.loads(orjson.dumps(data(i))),
        "orjson dumps": lambda i: orjson.dumps(data(i)),
        "orjson dumps long": lambda i: orjson.dumps([data(i) for _ in range(20)]),
        "orjson Fragment": lambda i: orjson.Fragment(b'{"a": %d}' % i),
    }


FAMILIES: dict[str, Callable[[], Makers]] = {
    "shapely": geometries,
    "protobuf": messages,
    "web": pages,
    "structures": structures,
    "orjson": parsed,
}
