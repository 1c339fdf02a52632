"""Which reader serves which type: each type is classified once, and remembered until it dies.

Tables are keyed by the id of a type, since a metaclass may define `__hash__` and `__eq__`; a weak reference
clears the entry when a type dies, before its id can be used again. Bound: one dict lookup for each object.
"""

from __future__ import annotations

import enum
import gc
import logging
import threading
import traceback
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, cast

from .classes import (
    bytes_of_class,
    is_passing,
    looks_like_its_bases,
    whole_class,
    with_any_class,
    with_class,
)
from .holders import rule_for
from .instances import KNOWN, reader_of_instances, with_attributes
from .layout import (
    HAVE_GC,
    HEAP_TYPE,
    READERS_OF_ALL,
    Expand,
    ExpandAll,
    Expanded,
    Sizer,
    basicsize,
    class_of,
    flags,
    hidden_fields,
    itemsize,
    members,
    mro,
    number_of_bytes,
    read_deque,
    read_dict,
    read_dict_subclass,
    read_int_subclass,
    read_leaf,
    read_list,
    read_moment,
    read_ordered_dict,
    read_set,
    read_str_subclass,
    read_tuple,
    reader_of_arrays,
    reader_of_bytes_io,
    reader_of_ctypes,
    reader_of_others,
    reader_of_scalars,
)
from .opaque import exporter, fields_of, with_fields

_log = logging.getLogger("ebbcache.sizing")
_module: Callable[[type], object] = type.__dict__["__module__"].__get__
_qualname: Callable[[type], str] = type.__dict__["__qualname__"].__get__

_LEAVES: Final = (str, bytes, int, float, complex)
_FREE: Final[tuple[type, ...]] = (
    type,
    bool,
    types.NoneType,
    types.EllipsisType,
    types.NotImplementedType,
    types.ModuleType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    enum.Enum,
    logging.Logger,
)
"""Parts of the program, not of a value."""

_EXACT: Final[dict[int, Expand]] = {
    **{id(cls): read_leaf for cls in _LEAVES},
    id(dict): read_dict,
    id(list): read_list,
    id(tuple): read_tuple,
    id(datetime): read_moment,
    id(set): read_set,
    id(frozenset): read_set,
}
_BASES: Final[dict[int, Expand]] = {
    id(OrderedDict): read_ordered_dict,
    id(dict): read_dict_subclass,
    id(deque): read_deque,
    id(str): read_str_subclass,
    id(int): read_int_subclass,
}
_VIEWS: Final = {id(class_of(view)) for view in (memoryview(b""), *gc.get_referents(memoryview(b"")))}
_FOREIGN: Final[dict[tuple[object, str], Callable[[type], Expand]]] = {
    ("numpy", "ndarray"): reader_of_arrays,
    ("numpy", "generic"): reader_of_scalars,
    ("_ctypes", "_CData"): reader_of_ctypes,
    ("_io", "BytesIO"): reader_of_bytes_io,
}
"""By module and name, so that nothing is imported to recognise what a program does not use."""

_FOREIGN_IN_C: Final[dict[Callable[[type[Any]], Expand], Callable[[type[Any]], tuple[Any, ...]]]] = {
    reader_of_arrays: lambda base: ("arrays", base),
    reader_of_scalars: lambda base: ("plain", 0, True, False),
    reader_of_bytes_io: lambda base: ("bytes_io", base.__sizeof__, basicsize(base)),
}
"""What `Kind.native` is for these."""

_REMEMBERED: Final = 1024
_ADDS_NOTHING: Final = frozenset(("__module__", "__doc__", "__dict__", "__weakref__", "__qualname__"))
_MET: Final = 16
"""How often a class that adds nothing to its bases is met before it is remembered."""
_SHAPES: Final = 256
_C_METHODS: Final = (types.MethodDescriptorType, types.WrapperDescriptorType)
_C_FIELDS: Final = (types.GetSetDescriptorType, types.MemberDescriptorType)


def describe(cls: type) -> str:
    """Return the name of `cls`, whatever its metaclass does."""
    return f"{_module(cls)}.{_qualname(cls)}"


class Kind:
    """What is known of one type."""

    __slots__ = (
        "alone",
        "claim",
        "class_bytes",
        "inner",
        "name",
        "native",
        "read",
        "read_all",
        "several",
        "special",
        "told",
        "view",
    )

    def __init__(
        self,
        cls: type,
        read: Expand,
        read_all: ExpandAll | None = None,
        *,
        view: bool = False,
        alone: bool = False,
        claim: Sizer | None = None,
        native: tuple[Any, ...] | None = None,
    ) -> None:
        self.name = describe(cls)
        self.read = read
        self.read_all = read_all
        """Reads many at once, as often as `read` would."""
        self.native = native
        """Which reader in C does the same as `read`, if any: its name, and what it needs.

        A rule is plain if it is ``("plain", bytes, block, found)``: so many bytes, the object's own block
        besides if `block` is true, and of references none (False), those that tp_traverse shows (True),
        those that `found`, a method in C, answers as a tuple, or those in the fields that `found` is a
        tuple of (getset or member descriptors).
        """
        self.alone = alone
        """Charged only if nobody but the value refers to it: no slack for variables."""
        self.view = view
        """Looks into memory that others own, which is charged to it only if nobody else holds it."""
        self.claim = claim
        """A `__sizeof__` written in Python, believed if it says more than was found."""
        self.several = False
        """It is that of all classes which add nothing to the same bases."""
        self.special = view or claim is not None
        """It takes more than reading to measure it."""
        self.told = False
        self.class_bytes = 0
        """What the class takes, if it may be one that was made for a value, and is charged to it; or 0."""
        self.inner = 0
        """How many references to such a class are its own."""

    def complain(self, what: str, error: BaseException) -> None:
        """Log what is wrong with this type, the first time."""
        if not self.told:
            self.told = True
            # As text: handlers may keep what they are given, and a traceback keeps the value.
            trace = "".join(traceback.format_exception(error))
            _log.warning("sizes of %s are estimates: %s\n%s", self.name, what, trace)


class _Asking(threading.local):
    def __init__(self) -> None:
        self.ids: set[int] = set()


_asking = _Asking()


def _asked(sizer: Sizer, plain: Expand, complain: Callable[[str, BaseException], None]) -> Expand:
    """Return a reader that asks `sizer`, and measures with `plain` what it cannot answer.

    A sizer may call `sizeof` on the very object it was asked about, to add something to it.
    """

    def read(obj: Any, cap: float) -> Expanded:
        asking = _asking.ids
        key = id(obj)
        if key not in asking:
            asking.add(key)
            try:
                return number_of_bytes(sizer(obj)), [], 1
            except Exception as error:
                complain("their sizer failed", error)
            finally:
                asking.discard(key)
        return plain(obj, cap)

    return read


def _nothing(obj: object, cap: float) -> Expanded:
    return 0, [], 1


class Table:
    """The kinds of all types met so far, under one set of registered sizers (which never changes)."""

    __slots__ = (
        "_charged",
        "_met",
        "_shapes",
        "_shared",
        "_sizers",
        "_watches",
        "free",
        "kinds",
        "leaves",
        "rules",
    )

    def __init__(self, sizers: dict[int, tuple[type, Sizer]]) -> None:
        self._sizers = sizers
        self.kinds: dict[int, Kind] = {}
        """By the id of the type."""
        self._shapes: dict[tuple[int, ...], tuple[Kind, tuple[weakref.ref[type], ...]]] = {}
        self._met: dict[int, int] = {}
        self.rules: Any = None  # the same in C, which `_sizing.use` puts here
        self._watches: dict[int, weakref.ref[type]] = {}
        self.leaves = {id(cls) for cls in _LEAVES if self._sizer(cls) is None}
        """Ids of types whose objects are one block, `sys.getsizeof` bytes large, with no references."""
        self.free = {id(cls) for cls in _FREE if self._sizer(cls) is None}
        """Ids of types whose objects count nothing."""

        self._shared: dict[int, tuple[int, float]] = {}
        self._charged: dict[int, tuple[int, int]] = {}

    # Hints from one walk to the next about parts that values share. They hold ids, not references: should
    # an id be used again, an object of the same type is taken for another, and some bytes are not charged.

    def note(self, obj: object, *, shared: float) -> None:
        """Remember that `obj` had that many references from outside the value it was met in."""
        if len(self._shared) >= _REMEMBERED:
            self._shared.clear()
        self._shared[id(obj)] = (id(class_of(obj)), shared)

    def shared_before(self, obj: object) -> float:
        """Return what was noted of `obj`, or 0."""
        kind, shared = self._shared.get(id(obj), (0, 0.0))
        return shared if kind == id(class_of(obj)) else 0.0

    def charged_to_another(self, obj: object, root: object) -> bool:
        """Tell if `obj` was charged to another value than `root` before. If not, it is now to `root`."""
        if len(self._charged) >= _REMEMBERED:
            self._charged.clear()
        kind, payer = self._charged.setdefault(id(obj), (id(class_of(obj)), id(root)))
        if kind == id(class_of(obj)):
            return payer != id(root)
        self._charged[id(obj)] = (id(class_of(obj)), id(root))
        return False

    def with_sizer(self, cls: type, sizer: Sizer) -> Table:
        """Return a new table in which `sizer` also serves `cls` and its subclasses."""
        return Table({**self._sizers, id(cls): (cls, sizer)})

    def is_plain(self) -> bool:
        """Tell if nobody registered a sizer for a type whose objects are one block or nothing."""
        return all(self._sizer(cls) is None for cls in (*_LEAVES, bool, types.NoneType))

    def kind(self, obj: object) -> Kind:
        """Return the kind of `obj`."""
        cls = class_of(obj)
        key = id(cls)
        kind = self.kinds.get(key)
        if kind is None:
            kind = self._of_shape(cls, obj) or self._classify(cls, obj)
            if kind.several:
                return kind
            # Two threads may both do this; the later kind wins, and both are right.
            self._watches[key] = weakref.ref(cls, lambda _: self._forget(key))
            self.kinds[key] = kind
        return kind

    def _of_shape(self, cls: type, obj: object) -> Kind | None:
        """Return the kind of all classes that add as little to the same bases, if `cls` may be passing.

        Some programs make a class for each value (`email` does for a header), and to remember all of these
        would take more than the values do.
        """
        adds_nothing = _adds_nothing(cls)
        if id(cls) in self._sizers or not (adds_nothing or (looks_like_its_bases(cls) and is_passing(cls))):
            return None
        if len(self._met) >= _REMEMBERED:
            self._met.clear()
        met = self._met[id(cls)] = self._met.get(id(cls), 0) + 1
        if met > _MET:
            return None
        bases = mro(cls)[1:]
        shape = (adds_nothing, basicsize(cls), flags(cls), *map(id, bases))
        kind, references = self._shapes.get(shape, (None, ()))
        if kind is None or any(ref() is not base for ref, base in zip(references, bases, strict=True)):
            if len(self._shapes) >= _SHAPES:
                return None
            kind = self._classify(cls, obj, several=True)
            if kind.read is _nothing or kind.read is read_leaf:
                return None
            kind.several = True
            self._shapes[shape] = kind, tuple(map(weakref.ref, bases))
        return kind

    def _forget(self, key: int) -> None:
        self.kinds.pop(key, None)
        self._watches.pop(key, None)
        self._met.pop(key, None)
        self.free.discard(key)
        if self.rules is not None:
            self.rules.forget(key)
        self.leaves.discard(key)

    def _sizer(self, cls: type) -> Sizer | None:
        if self._sizers:
            for base in mro(cls):
                found = self._sizers.get(id(base))
                if found is not None:
                    return found[1]
        return None

    def _classify(self, cls: type, obj: object, *, several: bool = False) -> Kind:
        kind = _measured(cls, obj, several)
        sizer = self._sizer(cls)
        if sizer is not None:
            kind.read = _asked(sizer, kind.read, kind.complain)
            kind.read_all = None
            kind.claim = None
            kind.special = kind.view
            kind.native = None
        elif kind.read is _nothing:
            self.free.add(id(cls))
        elif kind.read is read_leaf:
            self.leaves.add(id(cls))
        elif not KNOWN or kind.alone:
            pass
        elif _adds_nothing(cls):
            kind.class_bytes, kind.inner = bytes_of_class(cls)
            kind.read = with_class(kind.read, kind.class_bytes, kind.inner)
            kind.read_all = None
        elif is_passing(cls):
            kind.read_all = None
            if several:
                kind.read = with_any_class(kind.read, self.kind)
                kind.native = None
            else:
                kind.class_bytes, kind.inner = whole_class(cls, self.kind)
                kind.read = with_class(kind.read, kind.class_bytes, kind.inner)
        return kind


def _adds_nothing(cls: type) -> bool:
    return bool(flags(cls) & HEAP_TYPE) and members(cls).keys() <= _ADDS_NOTHING


def _measured(cls: type, obj: object, several: bool = False) -> Kind:
    """Return the kind of `cls`, of which `obj` is one, as far as we can tell by ourselves."""
    line = mro(cls)
    native: tuple[Any, ...] | None
    if any(base is free for base in line for free in _FREE):
        return Kind(cls, _nothing, native=("nothing",))
    if id(cls) in _EXACT:
        return Kind(cls, _EXACT[id(cls)], READERS_OF_ALL.get(id(cls)), native=(_EXACT[id(cls)].__name__,))
    for base in line:
        reader = _FOREIGN.get((_module(base), _qualname(base)))
        if reader is not None:
            in_c = _FOREIGN_IN_C.get(reader)
            native = None if in_c is None else in_c(base)
            return Kind(cls, reader(base), view=reader is reader_of_arrays, native=native)
        rule = rule_for(_module(base), _qualname(base))
        if rule is not None:
            native = rule.native(base, cls) if rule.native else None
            return Kind(cls, rule.make(base), alone=rule.alone, view=rule.view, native=native)
    measure, claim = _sizeofs(line)
    for base in line:
        if id(base) in _BASES:
            read = with_attributes(cls, _BASES[id(base)], several)
            return Kind(cls, read, claim=claim, native=(_BASES[id(base)].__name__,))
    if measure is object.__sizeof__:
        instances = reader_of_instances(cls, several)
        if instances is not None:
            return Kind(cls, *instances, claim=claim, native=("instances",))
    view = id(cls) in _VIEWS
    nbytes = None if view else _field(line, "nbytes")
    if nbytes is not None and claim is None and flags(cls) & HAVE_GC:
        # What it refers to may be just that memory.
        claim, nbytes = _claims(basicsize(cls), nbytes), None
    fields = fields_of(cls, obj)
    if measure is object.__sizeof__ and nbytes is None and claim is None:
        nbytes = exporter(cls, obj)
    one_block = not (itemsize(cls) or flags(cls) & (HAVE_GC | HEAP_TYPE) or fields)
    if one_block and measure is object.__sizeof__ and nbytes is None:
        return Kind(cls, read_leaf, native=("read_leaf",))
    native = ("others", None if measure is object.__sizeof__ else measure, nbytes, hidden_fields(cls))
    plain, read_all = reader_of_others(cls, measure, nbytes)
    read = with_attributes(cls, plain, several)
    if fields:
        read, native = with_fields(read, fields), None
    return Kind(cls, read, read_all if read is plain else None, view=view, claim=claim, native=native)


def _claims(bare: int, nbytes: Sizer) -> Sizer:
    return lambda obj: bare + number_of_bytes(nbytes(obj))


def _field(line: tuple[type, ...], name: str) -> Sizer | None:
    """Return the getter of the first field of that name that is written in C, and so no slot, if any."""
    for base in line:
        field: Any = members(base).get(name)
        if type(field) in _C_FIELDS and "__slots__" not in members(base):
            return cast(Sizer, field.__get__)
    return None


def _sizeofs(line: tuple[type, ...]) -> tuple[Sizer, Sizer | None]:
    """Return the first `__sizeof__` that is written in C, and the one in Python that hides it, if any."""
    claim: Sizer | None = None
    for base in line:
        method: Any = members(base).get("__sizeof__")
        if type(method) in _C_METHODS:
            return cast(Sizer, method), claim
        if (
            claim is None
            and type(method) is types.FunctionType
            and not str(_module(base)).startswith("pandas.")
        ):
            claim = cast(
                Sizer, method
            )  # pandas' is deep, slow, and tells nothing that the walk does not find
    return object.__sizeof__, claim
