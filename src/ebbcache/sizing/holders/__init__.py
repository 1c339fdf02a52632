"""Rules for types whose memory shows in no `__sizeof__` and to no collector, by the type's module and name.

A rule is a function of the class that makes its reader (see `layout.Expand`); it lives in the module of its
family, which is imported when the first value of such a type is met, as nothing here imports the packages
that it knows. A rule reads through what a package has in C, asks nothing that a user's class could have
replaced, and names memory that is no object as a `Part`. Bound: the sizes are within 5 % of what the
allocators get back, measured by `benchmarks/sizing.py`; what no package shows is left out.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias, cast

from ebbcache.sizing.layout import Expand, fixed

InC: TypeAlias = Callable[[type[Any], type[Any]], tuple[Any, ...] | None]


class Rule(NamedTuple):
    """How objects of one type, and of its subclasses, are read."""

    make: Callable[[type], Expand]
    """Makes the reader, of the class that the rule was found for."""
    alone: bool = False
    """Whether they count only if nobody outside the value refers to them."""
    native: InC | None = None
    """Answers, of the class that the rule was found for and of the object's own, which reader in C does the
    same: its name, and what it needs to know (see `kinds.Kind.native`). None: there is none."""
    view: bool = False
    """Whether they look into memory that others own, which counts only if nobody else holds it."""


def plain(found: bool, more: int = 0) -> InC:
    """Declare a rule that C follows itself: a block of the class that it was made for, `more` bytes, and
    if `found` what tp_traverse shows.
    """

    def native(base: type, cls: type) -> tuple[Any, ...]:
        return "plain", fixed(base) + more, False, found

    return native


_FAMILIES: Final[dict[tuple[object, str], tuple[str, str]]] = {
    ("builtins", "function"): ("program", "functions"),
    ("builtins", "builtin_function_or_method"): ("program", "builtins"),
    ("builtins", "frame"): ("program", "frames"),
    ("builtins", "range"): ("program", "ranges"),
    ("_thread", "lock"): ("program", "closed"),
    ("_thread", "RLock"): ("program", "closed"),
    ("_blake2", "blake2b"): ("program", "closed"),
    ("_blake2", "blake2s"): ("program", "closed"),
    ("_io", "StringIO"): ("streams", "texts"),
    ("zlib", "Compress"): ("streams", "streams"),
    ("zlib", "Decompress"): ("streams", "streams"),
    ("_bz2", "BZ2Compressor"): ("streams", "streams"),
    ("_bz2", "BZ2Decompressor"): ("streams", "streams"),
    ("_lzma", "LZMACompressor"): ("streams", "streams"),
    ("_lzma", "LZMADecompressor"): ("streams", "streams"),
    ("zoneinfo", "ZoneInfo"): ("streams", "zones"),
    ("_hashlib", "HASH"): ("program", "hashes"),
    ("_hashlib", "HMAC"): ("program", "hashes"),
    ("pyarrow.lib", "Array"): ("arrow", "arrays"),
    ("pyarrow.lib", "ChunkedArray"): ("arrow", "chunked"),
    ("pyarrow.lib", "RecordBatch"): ("arrow", "batches"),
    ("pyarrow.lib", "Table"): ("arrow", "tables"),
    ("pyarrow.lib", "Buffer"): ("arrow", "buffers"),
    ("pyarrow.lib", "Scalar"): ("arrow", "scalars"),
    ("pyarrow.lib", "Schema"): ("arrow", "schemas"),
    ("pyarrow.lib", "DataType"): ("arrow_types", "types"),
    ("pyarrow.lib", "Field"): ("arrow_types", "fields"),
    ("torch._C", "TensorBase"): ("torch", "tensors"),
    ("torch._C", "StorageBase"): ("torch", "storages"),
    ("builtins", "ImagingCore"): ("images", "cores"),
    ("lxml.etree", "_Element"): ("lxml", "elements"),
    ("lxml.etree", "XPath"): ("lxml", "expressions"),
    ("builtins", "PyDataFrame"): ("polars", "holders"),
    ("builtins", "PySeries"): ("polars", "holders"),
    ("builtins", "PyLazyFrame"): ("polars", "plans"),
    ("sklearn.tree._tree", "Tree"): ("scientific", "trees"),
    ("scipy.spatial._ckdtree", "cKDTree"): ("scientific", "kd_trees"),
    ("sklearn.neighbors._kd_tree", "BinaryTree64"): ("scientific", "neighbours"),
    ("sklearn.neighbors._ball_tree", "BinaryTree64"): ("scientific", "neighbours"),
    ("numpy", "dtype"): ("scientific", "dtypes"),
    ("numpy", "void"): ("scientific", "voids"),
    ("numpy", "character"): ("scientific", "characters"),
    ("numpy", "broadcast"): ("scientific", "iterations"),
    ("numpy", "nditer"): ("scientific", "iterations"),
    ("numpy", "flatiter"): ("scientific", "views"),
    ("builtins", "code"): ("program", "codes"),
    ("datetime", "timezone"): ("program", "zones"),
    ("datetime", "time"): ("program", "moments"),
    ("datetime", "datetime"): ("program", "moments"),
    ("decimal", "Context"): ("program", "contexts"),
    ("_csv", "reader"): ("program", "readers_of_csv"),
    ("_thread", "_local"): ("program", "thread_locals"),
    ("google._upb._message", "Message"): ("protobuf", "messages"),
    ("shapely.lib", "Geometry"): ("geometry", "geometries"),
    ("shapely.lib", "STRtree"): ("geometry", "trees"),
    ("pandas._libs.arrays", "NDArrayBacked"): ("scientific", "backed"),
    ("msgspec._core", "_StructMixin"): ("program", "members_only"),
    ("msgspec", "Raw"): ("program", "raw"),
    ("pandas._libs.hashtable", "HashTable"): ("scientific", "hash_tables"),
}
"""Where the rule for a type is: the module in this package, and the name in it."""


def rule_for(module: object, name: str) -> Rule | None:
    """Return the rule for the type of that module and name, if there is one. O(1)."""
    found = _FAMILIES.get((module, name))
    if found is None:
        return None
    family, rule = found
    return cast("Rule", getattr(importlib.import_module(f"{__name__}.{family}"), rule))
