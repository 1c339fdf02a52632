"""Parts of a program that values hold: functions, frames, locks, streams.

A function is block, closure and defaults (Objects/funcobject.c); its globals belong to the module. A frame
holds its variables (Objects/frameobject.c), its callers' frames are another matter. Locks are, up to 3.13,
semaphores that C's malloc gave (Python/thread_pthread.h). Code counts with what holds it, if nobody else
does: code that a program was compiled to is held by what compiled it. Bound: one look at the references.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Callable
from typing import Any, Final, cast

from ebbcache.sizing.chunks import chunk, malloc_chunk
from ebbcache.sizing.holders import Rule, plain
from ebbcache.sizing.layout import (
    HAVE_GC,
    Expand,
    Expanded,
    basicsize,
    class_of,
    fixed,
    flags,
    header,
    members,
    mro,
    thinned,
)
from ebbcache.sizing.opaque import fields_of, with_fields

_names: Any = cast(Any, types.ModuleType).__dict__["__dict__"].__get__
_sizeof_frame: Callable[[Any], int] = types.FrameType.__sizeof__


def _functions(cls: type) -> Expand:
    own = fixed(cls)

    def read(obj: Any, cap: float) -> Expanded:
        kids = gc.get_referents(obj)
        # The third of what tp_traverse visits is the globals, or the second; both are dicts, as is what a
        # function has for attributes.
        names = obj.__globals__
        shared = (id(names) if _is_of_a_module(names) else 0, id(obj.__builtins__))
        return own, [kid for kid in kids if id(kid) not in shared], 1

    return read


def _functions_in_c(base: type, cls: type) -> tuple[Any, ...]:
    return ("functions",)


def _is_of_a_module(names: dict[str, Any]) -> bool:
    """Return whether `names` are a module's, and not of what a program compiled into a dict of its own."""
    name = names.get("__name__")
    home = sys.modules.get(name) if type(name) is str else None
    return isinstance(home, types.ModuleType) and _names(home) is names


def _with_references(cls: type) -> Expand:
    own = fixed(cls)

    def read(obj: Any, cap: float) -> Expanded:
        return own, gc.get_referents(obj), 1

    return read


def _frames(cls: type) -> Expand:
    before = header(cls)

    def read(obj: types.FrameType, cap: float) -> Expanded:
        kids = [kid for kid in gc.get_referents(obj) if class_of(kid) is not cls]
        shared = (id(obj.f_globals), id(obj.f_builtins))
        kids = [kid for kid in kids if id(kid) not in shared]
        return chunk(_sizeof_frame(obj) + before), *thinned(kids, cap)

    return read


def _frames_in_c(base: type, cls: type) -> tuple[Any, ...]:
    return "frames", _sizeof_frame, 0


def _ranges(cls: type) -> Expand:
    own = fixed(cls)

    def read(obj: range, cap: float) -> Expanded:
        length = (obj.stop - obj.start) // obj.step
        more = 0 if -5 <= length <= 256 else chunk(sys.getsizeof(length))
        return own + more, [obj.start, obj.stop, obj.step], 1

    return read


_BYTES: Final = sys.getsizeof(b"")
_LOCK: Final = malloc_chunk(32) if sys.version_info < (3, 14) else 0  # since then it is inside the object
_BESIDE: Final = {
    "lock": _LOCK,
    "RLock": _LOCK,
    "blake2b": 464 if sys.version_info >= (3, 14) else 0,  # since then a state of HACL's
    "blake2s": 272 if sys.version_info >= (3, 14) else 0,
}
"""What these allocate for themselves, always as much."""


def _closed(cls: type) -> Expand:
    own = fixed(cls) + _BESIDE[cls.__name__]

    def read(obj: object, cap: float) -> Expanded:
        return own, [], 1

    return read


def _closed_in_c(base: type, cls: type) -> tuple[Any, ...]:
    return "plain", fixed(base) + _BESIDE[base.__name__], False, False


_ZONE: Final = 8  # a pointer that only those have which know their time zone
_TUPLE: Final = sys.getsizeof(())
_CSV_FIELD: Final = chunk(4 * 4096)  # room for one field, from the first line on
_OF_A_THREAD: Final = 270  # a stand-in for the thread, a name, and their places in dicts

_HASHES: Final = {"sha512": 112, "sha384": 112, "sha3": 320, "shake": 320}
"""What OpenSSL's states of these take beyond that of SHA-256."""

_STATES: Final = {"HASH": 160, "HMAC": 650}
"""What OpenSSL allocates for these."""


def _hashes(cls: type) -> Expand:
    state = _STATES[cls.__name__]
    name_of = members(cls)["name"].__get__

    def read(obj: Any, cap: float) -> Expanded:
        more = _HASHES.get(name_of(obj).split("_")[0], 0)
        return fixed(cls) + _LOCK + state + more, gc.get_referents(obj), 1

    return read


def _members_only(cls: type) -> Expand:
    def read(obj: Any, cap: float) -> Expanded:
        kind = class_of(obj)
        if flags(kind) & HAVE_GC:
            return fixed(kind), gc.get_referents(obj), 1
        kids: list[Any] = []
        for base in mro(kind):
            for value in members(base).values():
                if type(value) is types.MemberDescriptorType:
                    try:
                        kids.append(value.__get__(obj))
                    except AttributeError:  # it has none yet
                        continue
        return fixed(kind), kids, 1

    return read


def _members_in_c(base: type, cls: type) -> tuple[Any, ...]:
    if flags(cls) & HAVE_GC:
        return "plain", 0, True, True
    found = (value for each in mro(cls) for value in members(each).values())
    return "plain", 0, True, tuple(value for value in found if type(value) is types.MemberDescriptorType)


def _zones(cls: type) -> Expand:
    zone: Any = cls

    def read(obj: Any, cap: float) -> Expanded:
        return fixed(cls), [*zone.__getinitargs__(obj)], 1

    return read


def _zones_in_c(base: type, cls: type) -> tuple[Any, ...]:
    return "plain", fixed(base), False, members(base)["__getinitargs__"]


def _moments(cls: type) -> Expand:
    moment: Any = cls
    zone_of = moment.tzinfo.__get__

    def read(obj: Any, cap: float) -> Expanded:
        kind = class_of(obj)
        zone = zone_of(obj)
        own = chunk(basicsize(kind) + header(kind) - (_ZONE if zone is None and kind is cls else 0))
        kids = gc.get_referents(obj)
        return own, kids if zone is None else [*kids, zone], 1

    return read


def _contexts(cls: type) -> Expand:
    get: Any = cls.__getattribute__

    def read(obj: Any, cap: float) -> Expanded:
        kids = gc.get_referents(obj)
        return fixed(class_of(obj)), [*kids, get(obj, "traps"), get(obj, "flags")], 1

    return read


def _codes(cls: type) -> Expand:
    fields = fields_of(cls, _codes.__code__)
    sizeof: Callable[[Any], int] = types.CodeType.__sizeof__

    def read(obj: Any, cap: float) -> Expanded:
        # The names of variables and what each is are in a tuple and in bytes that show nowhere.
        count = obj.co_nlocals
        names = chunk(_TUPLE + 8 * count) + chunk(_BYTES + count) if count else 0
        return chunk(sizeof(obj)) + names, [], 1

    return with_fields(read, fields)


def _readers_of_csv(cls: type) -> Expand:
    line_of = members(cls)["line_num"].__get__

    def read(obj: Any, cap: float) -> Expanded:
        return fixed(cls) + (_CSV_FIELD if line_of(obj) else 0), gc.get_referents(obj), 1

    return read


def _locals(cls: type) -> Expand:
    def read(obj: Any, cap: float) -> Expanded:
        return fixed(class_of(obj)) + _OF_A_THREAD, gc.get_referents(obj), 1

    return read


def _raw(cls: type) -> Expand:
    def read(obj: Any, cap: float) -> Expanded:
        return fixed(cls) + chunk(_BYTES + memoryview(obj).nbytes), [], 1

    return read


functions = Rule(_functions, alone=True, native=_functions_in_c)
builtins = Rule(_with_references, alone=True, native=plain(found=True))
frames = Rule(_frames, native=_frames_in_c)
ranges = Rule(_ranges)
closed = Rule(_closed, native=_closed_in_c)
hashes = Rule(_hashes)
members_only = Rule(_members_only, native=_members_in_c)
raw = Rule(_raw)
zones = Rule(_zones, native=_zones_in_c)
moments = Rule(_moments)
contexts = Rule(_contexts)
codes = Rule(_codes, alone=True)
readers_of_csv = Rule(_readers_of_csv)
thread_locals = Rule(_locals)
