"""What a value weighs: the bytes that would go back to the allocators if it alone went away.

The idea is a garbage collector's look at one value: walk what it holds, count references from inside
against all references, charge what nobody else holds, in blocks as the allocators cut them. `chunks`
knows allocators, `layout` how objects lie in memory, `kinds` which layout a type has, `walk` adds up.
Bound: every byte that CPython shows, at under a microsecond an object; past a budget of objects, a sample
stands for the rest.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast, overload

from ebbcache.gil import holding

from . import walk
from .chunks import ROUNDED, SMALL, chunk
from .kinds import Table, describe
from .layout import Part, Sizer, class_of, fixed

__all__ = ["BUDGET", "IMPLEMENTATION", "register_sizer", "sizeof", "use"]

_log = logging.getLogger("ebbcache.sizing")


def _find_native() -> Any:
    if os.environ.get("EBBCACHE_PURE", "0") in ("", "0"):
        try:
            return importlib.import_module("ebbcache.sizing._sizing")
        except ImportError as error:
            _log.debug("sizes are measured in Python, there is no native walk: %s", error)
    return None


_native = _find_native()

IMPLEMENTATION = "python" if _native is None else "native"
"""Who walks: ``"native"``, the C extension, or ``"python"``, with the same answers within the budget."""

_IN_PYTHON = 4_000
BUDGET = _IN_PYTHON if _native is None else 25_000
"""How many objects `sizeof` looks at one by one unless told otherwise: what takes a millisecond or two."""

_LEAST = 1000  # objects; the least that a walk may look at, however cheap the value was to make
_MOST = 100_000  # the most: to know a size better than within a few percent is worth no longer walk
_SHARE = 0.02  # of the time that making a value took, for measuring it
_A_LOOK = 4e-7 if _native is None else 4e-8  # seconds for an object that is not in the processor's cache

T = TypeVar("T")
S = TypeVar("S", bound=Callable[[Any], int])

_registering = threading.RLock()  # re-entrant: a signal handler may register one, too
_table = Table({})
_leaves = _table.leaves  # empty if somebody else measures
_DIGIT = (1).__sizeof__()
_yardstick: Callable[[object], int] | None = None
_watchers: list[Callable[[bool], object]] = []


def sizeof(obj: object, *, exact: bool = False, budget: int = _IN_PYTHON) -> int:
    """Return the bytes that the allocators would get back if `obj` alone went away.

    Never raises whatever `obj` is, and runs no code of its class but a sizer registered for it and a
    `__sizeof__`: no properties, no `__getattr__`, `__len__` or `__iter__`. No object is changed by being
    sized.

    Counted are blocks as allocators cut them (a float is 32 bytes, not 24), over-allocation as it is now,
    collector headers, attributes, array buffers. Not counted is what is shared: classes, modules, enum
    members and loggers; whatever has more than two references from outside `obj` (so many may be variables
    and arguments that are gone soon), with all it reaches; the base of a view if anybody else holds it. A
    str, bytes or number that has more than three references from outside is charged by its share. `obj`
    itself always counts. Where a part of a megabyte or more is referred to once or twice from outside, only
    the first value sized with it is charged. A class that adds nothing to its bases, or that its module
    does not know by its name, counts if `obj` holds all of its instances and nobody else holds it; so do
    functions and code that nobody else holds.

    How a type is measured is decided by the first of these that fits:

    1. a sizer registered for it or for a base class, in the order of its MRO;
    2. exactly str, bytes, int, float, complex: one block; None, bool, functions and so on: nothing;
    3. known types: numpy arrays and scalars, ctypes objects;
    4. containers (dict, OrderedDict, deque, list, tuple, set, frozenset), str, int and their subclasses,
       and instances of classes written in Python, all with what they refer to;
    5. anything else by its `__sizeof__`, or by its `nbytes` if that says more and both are written in C, or
       by the buffer that a type in C exports; also with what it refers to. A `__sizeof__` written in Python
       counts where it says more than was found so.

    Looks at up to `budget` objects exactly, at under a microsecond each, then at about as many in samples
    which stand for the rest; `exact=True` looks at all of them. Samples come within some 10 % where a value
    is wide. A chain (a linked list) has nothing to draw from: in C it is followed for eight budgets, in
    Python for two, and what comes later is not seen. What cannot be read is estimated, and logged once a
    type. Raises ValueError for a `budget` that is not positive, TypeError for
    one that is no int.

    >>> sizeof(None), sizeof(1.5) in (32, 48)  # 48 where there is no GIL: headers are larger there
    (0, True)
    >>> numbers = [n / 3 for n in range(4)]
    >>> sizeof(numbers) >= sizeof([]) + 4 * 8 + 4 * sizeof(1.5)
    True
    """
    if id(type(obj)) in _leaves:
        size = obj.__sizeof__()  # that of a type in C
        if size <= SMALL:
            return 0 if size <= _DIGIT and type(obj) is int and -5 <= obj <= 256 else ROUNDED[size]
        return chunk(size)
    if _yardstick is not None:
        return _yardstick(obj)
    if type(budget) is not int:
        raise TypeError(f"budget must be an int, a number of objects, not {budget!r}")
    if budget < 1:
        raise ValueError(f"budget must be a positive number of objects, got {budget!r}")
    try:
        return walk.weigh(_table, obj, None if exact else budget)
    except Exception as error:
        return _failed(obj, error)


def _failed(obj: object, error: BaseException) -> int:
    _table.kind(obj).complain("they cannot be walked", error)
    return fixed(class_of(obj))


python_sizeof = sizeof
"""`sizeof` without the C extension."""


def weigh(obj: object, cost: float) -> int:
    """Return ``sizeof(obj)`` of a value that took `cost` seconds to make: at most about 2 % of that.

    At least 1,000 objects are looked at. A `cost` that is not positive is not known, and the budget is that
    of `sizeof`.
    """
    if cost > 0:
        return sizeof(obj, budget=int(min(max(cost * (_SHARE / _A_LOOK), _LEAST), _MOST)))
    return sizeof(obj)


def freed_with(obj: object, *, budget: int = _LEAST) -> int:
    """Return the bytes that would go with `obj`, which is about to be dropped, and is in no variable.

    Unlike `sizeof` it takes every reference from outside as one that stays.
    """
    if _yardstick is not None or id(type(obj)) in _table.leaves:
        return sizeof(obj)
    try:
        return walk.weigh(_table, obj, budget, evicted=True)
    except Exception as error:
        return _failed(obj, error)


if _native is not None:
    sizeof = _native.sizeof
    weigh = _native.weigh
    freed_with = _native.freed_with


def _measure_by(table: Table, yardstick: Callable[[object], int] | None) -> None:
    """Let `table` say from now on how types are read, and `yardstick`, if any, measure in our place."""
    global _table, _yardstick, _leaves
    _table, _yardstick = table, yardstick
    _leaves = table.leaves if yardstick is None else set[int]()
    if _native is not None:
        _native.use(table, yardstick, _failed, Part, BUDGET, _LEAST, _MOST, _SHARE / _A_LOOK)


_measure_by(_table, None)


@overload
def register_sizer(cls: type[T]) -> Callable[[Callable[[T], int]], Callable[[T], int]]: ...
@overload
def register_sizer(cls: type[T], sizer: Callable[[T], int]) -> Callable[[T], int]: ...
def register_sizer(cls: Any, sizer: Any = None) -> Any:
    """Let ``sizer(obj) -> bytes`` say what objects of `cls`, and of its subclasses, weigh.

    Its answer stands for everything below `obj`, which is not looked into. To add to what would be found,
    it may call `sizeof(obj)` itself. If it raises or answers nonsense, that is logged once a type and
    `obj` is measured as if there were no sizer. The sizer registered last for a class counts. Usable as a
    decorator, which gives the function back. Raises TypeError if `cls` is no class or `sizer` not
    callable.

    >>> class Picture:
    ...     pixels = 1_000_000
    >>> @register_sizer(Picture)
    ... def picture_bytes(picture):
    ...     return sizeof(picture) + 3 * picture.pixels
    >>> sizeof(Picture()) > 3_000_000
    True
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_sizer() takes a class, not {cls!r}")

    def register(sizer: Any) -> Any:
        if not callable(sizer):
            raise TypeError(f"the sizer of {cls!r} must be callable, not {sizer!r}")

        def put() -> None:
            _measure_by(_table.with_sizer(cls, cast(Sizer, sizer)), _yardstick)
            _tell()

        holding(_registering, put)
        return sizer

    return register if sizer is None else register(sizer)


def use(sizer: Literal["ebbcache", "pympler"]) -> None:
    """Choose who measures for `sizeof` in this process from now on: this package, or pympler's asizeof.

    pympler walks everything and knows some layouts better, but is some ten times slower, takes no block
    rounding or sharing into account, and leaves a `__dict__` behind on instances it looks at. Registered
    sizers do not reach it. What it fails on is measured by ebbcache. Raises ValueError for any other name,
    ImportError if pympler is not installed (``pip install "ebbcache[exact]"``).

    >>> use("scales")
    Traceback (most recent call last):
    ...
    ValueError: sizer must be 'ebbcache' or 'pympler', got 'scales'
    """
    if sizer == "ebbcache":
        _measure_by(_table, None)
        _tell()
        return
    if sizer != "pympler":
        raise ValueError(f"sizer must be 'ebbcache' or 'pympler', got {sizer!r}")
    try:
        asizeof: Any = importlib.import_module("pympler.asizeof")
    except ImportError as error:
        raise ImportError('use("pympler") needs pympler: pip install "ebbcache[exact]"') from error
    told: set[str] = set()

    def measure(obj: object) -> int:
        try:
            return int(asizeof.asizeof(obj))
        except Exception as error:
            name = describe(type(obj))
            if name not in told:
                told.add(name)
                _log.warning("pympler cannot size %s, ebbcache does: %r", name, error)
            return walk.weigh(_table, obj, None)

    _measure_by(_table, measure)
    _tell()


def watch_leaves(hear: Callable[[bool], object]) -> None:
    """Call `hear(plain)` now and at every change: do exact str, bytes, numbers and None weigh their block?

    They do until somebody registers a sizer for one of these types or lets pympler measure. Whoever
    measures them without asking `sizeof` needs to know.
    """

    def watch() -> None:
        _watchers.append(hear)
        _tell()

    holding(_registering, watch)


def _tell() -> None:
    plain = _yardstick is None and _table.is_plain()
    for hear in _watchers:
        hear(plain)
