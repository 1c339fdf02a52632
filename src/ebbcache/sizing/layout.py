"""How values lie in memory: what an object takes itself, and what it refers to, for each family of types.

Blocks follow CPython's allocation rules: the collector's 16 bytes in front of objects it tracks, 16 more in
front of instances with a managed `__dict__` or weakrefs, buffers as blocks of their own. What an object
refers to comes from `gc.get_referents`, that is from tp_traverse: it sees attributes that live inside an
instance without ever making a `__dict__` of them, and runs no Python code. Attributes are told by
`instances`. Bound: exact block by block.
"""

from __future__ import annotations

import gc
import io
import operator
import sys
import sysconfig
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import chain, compress, islice
from typing import Any, Final, TypeAlias

from .chunks import Blocks, chunk, malloc_chunk

Sizer: TypeAlias = Callable[[Any], int]
Expanded: TypeAlias = tuple[int, list[Any], float]
"""An object's own bytes, the objects (or `Part`s) it refers to, and how many each of those stands for."""
Expand: TypeAlias = Callable[[Any, float], Expanded]
"""``(obj, cap)``: how to read objects of one type, with at most about `cap` of what they refer to."""
ExpandAll: TypeAlias = Callable[[list[Any], float], tuple[int, list[Any]] | None]
"""``(objs, cap)``: how to read many at once, at C's speed; None if they may refer to more than `cap`."""

# Read through `type` itself, as a metaclass can put code of its own before each of these.
class_of: Callable[[object], type] = type
mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
basicsize: Callable[[type], int] = type.__dict__["__basicsize__"].__get__
itemsize: Callable[[type], int] = type.__dict__["__itemsize__"].__get__
flags: Callable[[type], int] = type.__dict__["__flags__"].__get__
members: Callable[[type], types.MappingProxyType[str, Any]] = type.__dict__["__dict__"].__get__

# Methods of exactly these classes, whatever a subclass defines; by way of Any for the sake of their types.
_dict: Any = dict
_ordered_dict: Any = OrderedDict
_deque: Any = deque
_sizeof_dict: Sizer = _dict.__sizeof__
_sizeof_ordered_dict: Sizer = _ordered_dict.__sizeof__
_sizeof_deque: Sizer = _deque.__sizeof__
_sizeof_bytes_io: Sizer = io.BytesIO.__sizeof__
_len_dict: Sizer = _dict.__len__
_keys: Callable[[Any], Iterable[Any]] = _dict.keys
_values: Callable[[Any], Iterable[Any]] = _dict.values

HEAP_TYPE: Final = 1 << 9
HAVE_GC: Final = 1 << 14
MANAGED_DICT: Final = 1 << 4
_MANAGED_WEAKREF: Final = 1 << 3


class Part:
    """Memory that is no Python object: a storage, an Arrow buffer, a parsed document. A reader may name it.

    `key` tells it from other parts (its address, say), `nbytes` is what it takes, or a function that tells,
    which is asked once in a walk. `references` is how many owners it has in all. 0 means that nobody knows:
    then who is walked first is charged with it.
    """

    __slots__ = ("key", "nbytes", "references")

    def __init__(self, key: int, nbytes: int | Callable[[], int], references: int = 0) -> None:
        self.key = key
        self.nbytes = nbytes
        self.references = references

    def ask(self) -> float:
        """Return what it takes: once nothing else holds it, as to find out may take a while."""
        return float(self.nbytes if isinstance(self.nbytes, int) else self.nbytes())


def _references_in_name() -> int:
    """Return what getrefcount answers for an object that only a name of a function refers to."""
    obj = object()
    return sys.getrefcount(obj)


IN_NAME: Final = _references_in_name()
"""References to an object that somebody in Python asks about by name: it, and up to 3.13 the argument."""

_GC_HEADER: Final = sys.getsizeof([]) - [].__sizeof__()
_DICT: Final = dict.__basicsize__
_REACH: Final = 1 << 16
_LIST: Final = list.__basicsize__
_ITEMS_HEADER: Final = (
    8 if sysconfig.get_config_var("Py_GIL_DISABLED") else 0
)  # a list's; how many there is room for
_SET: Final = set.__basicsize__
_DICT_BLOCK: Final = chunk(_DICT + _GC_HEADER)
_LIST_BLOCK: Final = chunk(_LIST + _GC_HEADER)
_SET_BLOCK: Final = chunk(_SET + _GC_HEADER)
_DEQUE: Final = deque.__basicsize__
_DEQUE_BLOCK: Final = deque([None]).__sizeof__() - _DEQUE
_ODICT_NODE: Final = 32
_MOMENT: Final = chunk(datetime.__basicsize__)


def header(cls: type) -> int:
    """Return the bytes in front of every instance of `cls`."""
    bits = flags(cls)
    size = _GC_HEADER if bits & HAVE_GC else 0
    return size + 16 if bits & (MANAGED_DICT | _MANAGED_WEAKREF) else size


def fixed(cls: type) -> int:
    """Return the block of an instance of `cls` that has no items."""
    return chunk(basicsize(cls) + header(cls))


_PLAIN: Final = {id(cls) for cls in (str, bytes, int, float, complex, bool, types.NoneType)}
"""To list a container of these is to know it; of others, looks are left for what they hold."""


def few(cap: float) -> int:
    """Return how many to look at of a container that has more than `cap`."""
    return max(1, int(cap / 4))


_GOLDEN: Final = 0.6180339887498949


def scatter(length: int, count: int) -> list[int]:
    """Return `count` positions below `length`, one in each of as many equal stretches.

    Where in its stretch is told by multiples of the golden section, which fall into step with no pattern in
    the value. The same every time, so that an object's size does not change from one look to the next.
    """
    step = length / count
    return [int((i + i * _GOLDEN % 1.0) * step) for i in range(count)]


def thinned(kids: Sequence[Any], cap: float) -> tuple[list[Any], float]:
    """Return `kids`, or a few of them if they are more than `cap`, and how many each stands for."""
    if len(kids) <= cap / 2 or (len(kids) <= cap and id(class_of(kids[len(kids) // 2])) in _PLAIN):
        return [*kids], 1
    cap /= 2
    return [kids[i] for i in scatter(len(kids), few(cap))], len(kids) / few(cap)


_leaves: Final = Blocks(chunk)
_lists: Final = Blocks(
    lambda size: _LIST_BLOCK + (chunk(size - _LIST + _ITEMS_HEADER) if size > _LIST else 0)
)
_tuples: Final = Blocks(lambda size: chunk(size + _GC_HEADER))
_dicts: Final = Blocks(lambda size: _DICT_BLOCK + chunk(size - _DICT))
_sets: Final = Blocks(lambda size: _SET_BLOCK + chunk(size - _SET))


def read_leaf(obj: object, cap: float) -> Expanded:
    """Read a scalar: one block, no references."""
    return _leaves[obj.__sizeof__()], [], 1


def read_list(obj: list[Any], cap: float) -> Expanded:
    """Read an exact list."""
    own = _lists[obj.__sizeof__()]
    if 2 * len(obj) <= cap:
        return own, [*obj], 1
    return own, *thinned(obj, cap)


def read_tuple(obj: tuple[Any, ...], cap: float) -> Expanded:
    """Read an exact tuple."""
    own = _tuples[obj.__sizeof__()]
    if 2 * len(obj) <= cap:
        return own, [*obj], 1
    return own, *thinned(obj, cap)


def read_dict(obj: dict[Any, Any], cap: float) -> Expanded:
    """Read an exact dict."""
    own = _dicts[obj.__sizeof__()]
    if 2 * len(obj) <= cap or (len(obj) <= cap and id(class_of(next(iter(obj.values())))) in _PLAIN):
        kids = [*obj]
        kids += obj.values()
        return own, kids, 1
    # An entry is reached only by passing those before it, so of a very large dict look at both ends.
    cap /= 2
    reach = min(len(obj), _REACH)
    mask = bytearray(reach)
    for place in scatter(reach, few(cap)):
        mask[place] = 1
    kids = [*compress(obj, mask)]
    kids += compress(obj.values(), mask)
    if reach < len(obj):
        kids += compress(reversed(obj), mask)
        kids += compress(reversed(obj.values()), mask)
    return own, kids, 2 * len(obj) / len(kids)


def _reader_of_all(own: Blocks, cls: Any) -> ExpandAll:
    """Return what reads many exact lists, tuples or sets."""
    own_of = own.__getitem__
    measure: Sizer = cls.__sizeof__

    def read(objs: list[Any], cap: float) -> tuple[int, list[Any]] | None:
        if 2 * sum(map(len, objs)) > cap:
            return None
        return sum(map(own_of, map(measure, objs))), gc.get_referents(*objs)

    return read


def _read_dicts(objs: list[dict[Any, Any]], cap: float) -> tuple[int, list[Any]] | None:
    length = sum(map(len, objs))
    if 2 * length > cap:
        return None
    kids = gc.get_referents(*objs)
    if len(kids) != 2 * length:
        # It omits keys if all are str, and in CPython 3.13 what still are the values of an instance.
        values = kids if len(kids) == length else chain.from_iterable(map(_values, objs))
        kids = [*chain.from_iterable(objs), *values]
    return sum(map(_dicts.__getitem__, map(_sizeof_dict, objs))), kids


READERS_OF_ALL: Final[dict[int, ExpandAll]] = {
    id(list): _reader_of_all(_lists, list),
    id(tuple): _reader_of_all(_tuples, tuple),
    id(set): _reader_of_all(_sets, set),
    id(frozenset): _reader_of_all(_sets, frozenset),
    id(dict): _read_dicts,
}
"""For exact types."""


def read_moment(obj: datetime, cap: float) -> Expanded:
    """Read an exact datetime, whose time zone no collector sees."""
    zone = obj.tzinfo
    return _MOMENT, [] if zone is None else [zone], 1


def read_set(obj: set[Any] | frozenset[Any], cap: float) -> Expanded:
    """Read an exact set or frozenset."""
    own = _sets[obj.__sizeof__()]
    if len(obj) <= cap:
        return own, [*obj], 1
    return own, [*islice(obj, few(cap))], len(obj) / few(cap)  # in the order of hashes, as good as random


def read_deque(obj: deque[Any], cap: float) -> Expanded:
    """Read a deque or an instance of a subclass."""
    cls = class_of(obj)
    blocks = (_sizeof_deque(obj) - basicsize(cls)) // _DEQUE_BLOCK
    return fixed(cls) + blocks * chunk(_DEQUE_BLOCK), *thinned(gc.get_referents(obj), cap)


def _with_keys(obj: dict[Any, Any], kids: list[Any]) -> list[Any]:
    """Return `kids`, to which `obj` refers, with its keys if tp_traverse left these out.

    It does since CPython 3.11 if all are str. Else each follows its value, and the dict's own part is last.
    """
    keys = [*_keys(obj)]
    at = 1 - 2 * len(keys)
    if keys and not (len(kids) >= -at and kids[at] is keys[0]):
        kids += keys
    return kids


def read_dict_subclass(obj: dict[Any, Any], cap: float) -> Expanded:
    """Read an instance of a subclass of dict, attributes included."""
    cls = class_of(obj)
    own = fixed(cls) + chunk(_sizeof_dict(obj) - basicsize(cls))
    kids = _with_keys(obj, gc.get_referents(obj))
    return own, *thinned(kids, cap)


def read_ordered_dict(obj: OrderedDict[Any, Any], cap: float) -> Expanded:
    """Read an OrderedDict, whose linked list is one small block a key and holds each key a second time."""
    cls = class_of(obj)
    length = _len_dict(obj)
    table = _sizeof_dict(obj)
    nodes = _ODICT_NODE * length
    index = _sizeof_ordered_dict(obj) - table - nodes
    own = fixed(cls) + chunk(table - basicsize(cls)) + chunk(index) + nodes
    kids = _with_keys(obj, gc.get_referents(obj))  # each key once for the list, and once more
    return own, *thinned(kids, cap)


def read_str_subclass(obj: str, cap: float) -> Expanded:
    """Read an instance of a subclass of str, which keeps its text in a second block."""
    own = fixed(class_of(obj)) + chunk(max(0, str.__sizeof__(obj) - basicsize(str)))
    return own, gc.get_referents(obj), 1


def read_int_subclass(obj: int, cap: float) -> Expanded:
    """Read an instance of a subclass of int; heap types get a spare digit."""
    cls = class_of(obj)
    more = basicsize(cls) - basicsize(int) + itemsize(cls) + header(cls)
    return chunk(int.__sizeof__(obj) + more), gc.get_referents(obj), 1


def hidden_fields(cls: type) -> int:
    """Return the bytes of what structs like `os.stat_result` hold beyond their items."""
    names = members(cls)
    fields: Any = names.get("n_fields"), names.get("n_sequence_fields")
    # No `in`, which may ask a metaclass whether two classes are equal.
    if not (any(base is tuple for base in mro(cls)) and type(fields[0]) is type(fields[1]) is int):
        return 0
    return itemsize(cls) * max(0, fields[0] - fields[1])


def reader_of_others(
    cls: type, measure: Sizer, nbytes: Sizer | None = None
) -> tuple[Expand, ExpandAll | None]:
    """Return the readers of a type known only by its C-level `__sizeof__` and `nbytes`, if it has one.

    What these say beyond the object's own structure is taken as one buffer.
    """
    bare = basicsize(cls)
    before = header(cls)
    item = itemsize(cls)
    if item and flags(cls) & HEAP_TYPE:
        before += item  # PyType_GenericAlloc leaves room for a sentinel
    before += hidden_fields(cls)

    def blocks(total: int) -> int:
        inline = number_of_bytes(total) if item else bare
        return chunk(inline + before) + chunk(max(0, total - inline))

    own = Blocks(blocks)

    def read(obj: Any, cap: float) -> Expanded:
        kids = gc.get_referents(obj)
        if 2 * len(kids) <= cap:
            return own[measure(obj)], kids, 1
        return own[measure(obj)], *thinned(kids, cap)

    def read_more(obj: Any, cap: float) -> Expanded:
        assert nbytes is not None
        total = max(number_of_bytes(measure(obj)), bare + number_of_bytes(nbytes(obj)))
        inline = number_of_bytes(measure(obj)) if item else bare
        return (
            chunk(inline + before) + chunk(max(0, total - inline)),
            *thinned(gc.get_referents(obj), cap),
        )

    def read_all(objs: list[Any], cap: float) -> tuple[int, list[Any]] | None:
        kids = gc.get_referents(*objs)
        return None if 2 * len(kids) > cap else (sum(map(own.__getitem__, map(measure, objs))), kids)

    return (read, read_all) if nbytes is None else (read_more, None)


def reader_of_arrays(ndarray: type) -> Expand:
    """Return the reader of numpy's arrays and their subclasses, which reads only what numpy has in C."""
    names = members(ndarray)
    base_of = names["base"].__get__
    dtype_of = names["dtype"].__get__
    flags_of = names["flags"].__get__
    flat_of = names["flat"].__get__
    nbytes_of = names["nbytes"].__get__
    ndim_of: Sizer = names["ndim"].__get__
    size_of = names["size"].__get__

    heads = [fixed(ndarray) + (malloc_chunk(16 * ndim) if ndim else 0) for ndim in range(65)]

    def read(obj: Any, cap: float) -> Expanded:
        own = heads[ndim_of(obj)]
        cls = class_of(obj)
        kids: list[Any] = []
        if cls is not ndarray:
            own += fixed(cls) - heads[0]
            kids = gc.get_referents(obj)
        base = base_of(obj)
        if base is not None:
            kids.append(base)
        if not flags_of(obj).owndata:
            return own, kids, 1
        own += malloc_chunk(max(1, nbytes_of(obj)))
        size = size_of(obj)
        dtype = dtype_of(obj)
        char = dtype.char
        if char in "VTSUMm":  # these have a dtype for each length or unit, which may be the array's own
            kids.append(dtype)
        if char == "T" and size:
            few_of = [*scatter(size, min(size, 64))]
            flat = flat_of(obj)
            texts = [len(str(flat[i])) for i in few_of]
            # Up to 15 bytes lie in the array; the others in an arena that grows by an eighth or more.
            own += malloc_chunk(sum(n + 4 for n in texts if n > 15) * size // len(few_of) * 17 // 16)
        if char != "O":
            return own, kids, 1
        flat = flat_of(obj)
        if size <= cap:
            kids += flat
            return own, kids, 1
        kids += [flat[i] for i in scatter(size, few(cap))]
        return own, kids, size / few(cap)

    return read


def reader_of_scalars(generic: type) -> Expand:
    """Return the reader of numpy's scalars."""

    def read(obj: Any, cap: float) -> Expanded:
        return fixed(class_of(obj)), [], 1

    return read


def reader_of_bytes_io(cls: type) -> Expand:
    """Return the reader of io.BytesIO, which keeps a bytes object, and since CPython 3.12 shows it too."""

    def read(obj: Any, cap: float) -> Expanded:
        kids = gc.get_referents(obj)
        own = fixed(class_of(obj))
        if bytes not in map(class_of, kids):
            own += chunk(max(0, _sizeof_bytes_io(obj) - basicsize(io.BytesIO)))
        return own, kids, 1

    return read


def reader_of_ctypes(data: type) -> Expand:
    """Return the reader of ctypes' objects, which keep more than 16 bytes in a block apart."""
    names = members(data)
    owns = names["_b_needsfree_"].__get__

    def read(obj: Any, cap: float) -> Expanded:
        size: int = sys.modules["_ctypes"].sizeof(obj)
        own = fixed(class_of(obj)) + (chunk(size) if size > 16 and owns(obj) else 0)
        return own, *thinned(gc.get_referents(obj), cap)

    return read


_TOO_MUCH: Final = 1 << 46


def number_of_bytes(answer: Any) -> int:
    """Return what `answer` says in bytes; TypeError or ValueError if that can be no size.

    Any integer will do (numpy's too), but no bool, nothing negative, nothing from 64 TiB on.
    """
    if isinstance(answer, bool):
        raise TypeError("a size in bytes cannot be a bool")
    size = operator.index(answer)
    if not 0 <= size < _TOO_MUCH:
        raise ValueError(f"a size cannot be {size:.4g} bytes")
    return size
