"""Structures of scikit-learn, scipy, numpy and pandas that live in C arrays of their own. Bound: O(1).

Trees tell their nodes (sklearn/tree/_tree.pyx, scipy/spatial/_ckdtree.pyx), hash tables of pandas their
size.
"""

from __future__ import annotations

import gc
from typing import Any, Final

from ebbcache.sizing.chunks import chunk, malloc_chunk
from ebbcache.sizing.holders import Rule
from ebbcache.sizing.layout import Expand, Expanded, basicsize, class_of, fixed, header, members

_NODE: Final = 64
_KD_NODE: Final = 80
_NDITER: Final = 320  # an iterator over one or two arrays
_VIEWS: Final = 2400  # the arrays' heads, and the views through which a tree looks into them


def _trees(cls: type) -> Expand:
    tree: Any = cls
    counts = [getattr(tree, name).__get__ for name in ("capacity", "n_outputs", "max_n_classes")]

    def read(obj: Any, cap: float) -> Expanded:
        nodes, outputs, classes = (count(obj) for count in counts)
        own = fixed(class_of(obj)) + malloc_chunk(8 * outputs)
        own += malloc_chunk(nodes * _NODE) + malloc_chunk(8 * nodes * outputs * classes)
        return own, gc.get_referents(obj), 1

    return read


def _kd_trees(cls: type) -> Expand:
    tree: Any = cls
    count = tree.size.__get__

    def read(obj: Any, cap: float) -> Expanded:
        return fixed(class_of(obj)) + malloc_chunk(_KD_NODE * count(obj)), gc.get_referents(obj), 1

    return read


def _neighbours(cls: type) -> Expand:
    tree: Any = cls

    def read(obj: Any, cap: float) -> Expanded:
        # The first is what it was fitted to, which the estimator holds as well.
        arrays = tree.get_arrays(obj)[1:]
        own = fixed(class_of(obj)) + _VIEWS
        return own + sum(malloc_chunk(array.nbytes) for array in arrays), gc.get_referents(obj), 1

    return read


def _dtypes(cls: type) -> Expand:
    dtype: Any = cls
    fields_of = dtype.fields.__get__
    names_of = dtype.names.__get__

    def read(obj: Any, cap: float) -> Expanded:
        names = names_of(obj)
        if names is None:
            return fixed(class_of(obj)), [], 1
        return fixed(class_of(obj)) + 32, [names, *gc.get_referents(fields_of(obj))], 1

    return read


def _dtypes_in_c(base: type, cls: type) -> tuple[Any, ...]:
    return "dtypes", members(base)["names"], members(base)["fields"]


def _fields_of_views(cls: type) -> list[Any]:
    return [members(cls)[name] for name in ("base", "dtype") if name in members(cls)]


def _views(cls: type) -> Expand:
    getters = [field.__get__ for field in _fields_of_views(cls)]

    def read(obj: Any, cap: float) -> Expanded:
        return fixed(cls), [getter(obj) for getter in getters], 1

    return read


def _views_in_c(base: type, cls: type) -> tuple[Any, ...]:
    return "plain", fixed(base), False, (*_fields_of_views(base),)


def _voids(cls: type) -> Expand:
    void: Any = cls
    base_of, dtype_of, nbytes_of = (getattr(void, name).__get__ for name in ("base", "dtype", "nbytes"))

    def read(obj: Any, cap: float) -> Expanded:
        base = base_of(obj)
        own = 0 if base is not None else malloc_chunk(nbytes_of(obj))
        return fixed(class_of(obj)) + own, [dtype_of(obj)] if base is None else [base, dtype_of(obj)], 1

    return read


def _characters(cls: type) -> Expand:
    def read(obj: Any, cap: float) -> Expanded:
        kind = class_of(obj)
        more = basicsize(kind) + header(kind)
        if isinstance(obj, bytes):
            return chunk(bytes.__sizeof__(obj) + more - basicsize(bytes)), [], 1
        return chunk(more) + chunk(max(0, str.__sizeof__(obj) - basicsize(str))), [], 1

    return read


def _iterations(cls: type) -> Expand:
    iteration: Any = cls
    of_each: Any = iteration.__dict__.get("iters") or iteration.__dict__["operands"]
    more = 0 if "iters" in iteration.__dict__ else _NDITER

    def read(obj: Any, cap: float) -> Expanded:
        return fixed(cls) + more, [*of_each.__get__(obj)], 1

    return read


def _backed(cls: type) -> Expand:
    def read(obj: Any, cap: float) -> Expanded:
        return fixed(class_of(obj)), gc.get_referents(obj), 1  # its nbytes are those of the array below

    return read


def _backed_in_c(base: type, cls: type) -> tuple[Any, ...]:
    return "plain", 0, True, True


def _hash_tables(cls: type) -> Expand:
    def read(obj: Any, cap: float) -> Expanded:
        return fixed(class_of(obj)) + malloc_chunk(obj.sizeof()), gc.get_referents(obj), 1

    return read


trees = Rule(_trees)
kd_trees = Rule(_kd_trees)
neighbours = Rule(_neighbours)
dtypes = Rule(_dtypes, native=_dtypes_in_c)
views = Rule(_views, view=True, native=_views_in_c)
voids = Rule(_voids, view=True)
characters = Rule(_characters)
iterations = Rule(_iterations)
backed = Rule(_backed, native=_backed_in_c)
hash_tables = Rule(_hash_tables)
