"""Parts of a program that values hold: functions, frames, locks, streams.

A function is block, closure and defaults (Objects/funcobject.c); its code and globals belong to the
module. A frame holds its variables (Objects/frameobject.c), its callers' frames are another matter. Locks
are, up to 3.13, semaphores that C's malloc gave (Python/thread_pthread.h). What compressors allocate
follows from parameters that they do not show: the defaults are taken. Bound: one look at the references; a
StringIO that nobody wrote to is copied once, as its length is to be had no other way.
"""

from __future__ import annotations

import gc
import io
import sys
import types
from collections.abc import Callable
from typing import Any, Final

from ebbcache.sizing.chunks import chunk, malloc_chunk
from ebbcache.sizing.holders import Rule, plain
from ebbcache.sizing.layout import (
    HAVE_GC,
    Expand,
    Expanded,
    class_of,
    fixed,
    flags,
    header,
    members,
    mro,
    thinned,
)

_string_io: Any = io.StringIO
_sizeof_frame: Callable[[Any], int] = types.FrameType.__sizeof__


def _functions(cls: type) -> Expand:
    own = fixed(cls)

    def read(obj: Any, cap: float) -> Expanded:
        kids = gc.get_referents(obj)
        # The third of what tp_traverse visits is the globals, or the second; both are dicts, as is what a
        # function has for attributes.
        shared = (id(obj.__globals__), id(obj.__builtins__))
        return own, [kid for kid in kids if id(kid) not in shared], 1

    return read


def _functions_in_c(base: type, cls: type) -> tuple[Any, ...]:
    return ("functions",)


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


_WRITTEN: Final = 17 if sys.version_info < (3, 12) else 5  # quarters of a byte for each character written
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


def _texts(cls: type) -> Expand:
    getvalue: Callable[[Any], str] = _string_io.getvalue
    tell: Callable[[Any], int] = _string_io.tell

    def read(obj: Any, cap: float) -> Expanded:
        try:
            # At 0 nobody wrote. Elsewhere it may keep what was written in pieces, and to ask for its value
            # would join them.
            place = tell(obj)
            length = _WRITTEN * place // 4 if place else 4 * len(getvalue(obj))
        except ValueError:  # it is closed
            length = 0
        return fixed(cls) + chunk(length), gc.get_referents(obj), 1

    return read


_HASHES: Final = {"sha512": 112, "sha384": 112, "sha3": 320, "shake": 320}
"""What OpenSSL's states of these take beyond that of SHA-256."""

_STATES: Final = {
    "Compress": 268_224,
    "Decompress": 40_000,
    "BZ2Compressor": 7_600_000,
    "BZ2Decompressor": 3_700_000,
    "LZMACompressor": 97_000_000,
    "LZMADecompressor": 8_500_000,
    "HASH": 160,
    "HMAC": 650,
}
"""What compressors, with default parameters, and OpenSSL's hashes allocate for themselves."""


def _streams(cls: type) -> Expand:
    state = _STATES[cls.__name__]
    name: Any = members(cls).get("name")

    def read(obj: Any, cap: float) -> Expanded:
        more = 0 if name is None else _HASHES.get(name.__get__(obj).split("_")[0], 0)
        return fixed(cls) + _LOCK + state + more, gc.get_referents(obj), 1

    return read


def _streams_in_c(base: type, cls: type) -> tuple[Any, ...] | None:
    if members(base).get("name") is not None:
        return None  # what it takes is another matter for each object
    return "plain", fixed(base) + _LOCK + _STATES[base.__name__], False, True


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


def _raw(cls: type) -> Expand:
    def read(obj: Any, cap: float) -> Expanded:
        return fixed(cls) + chunk(_BYTES + memoryview(obj).nbytes), [], 1

    return read


functions = Rule(_functions, alone=True, native=_functions_in_c)
builtins = Rule(_with_references, alone=True, native=plain(found=True))
frames = Rule(_frames, native=_frames_in_c)
ranges = Rule(_ranges)
closed = Rule(_closed, native=_closed_in_c)
texts = Rule(_texts)
streams = Rule(_streams, native=_streams_in_c)
members_only = Rule(_members_only, native=_members_in_c)
raw = Rule(_raw)
zones = Rule(_zones, native=_zones_in_c)
