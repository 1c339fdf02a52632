"""What compressors, decompressors, StringIO and ZoneInfo allocate, which they tell nobody.

All start with a struct that is public and has not changed for decades (zlib.h, bzlib.h, lzma/base.h),
which leads to the state with the parameters; StringIO with its own (Modules/_io/stringio.c). Each is read
from memory only where a trial with objects of known parameters finds these where they should be;
elsewhere, and for encoders of LZMA, which keep their preset to themselves, the defaults are taken. Bound:
within 2 % if found.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import io
import struct
import sys
from collections.abc import Callable
from typing import Any, Final

from ebbcache.sizing.chunks import chunk, malloc_chunk
from ebbcache.sizing.holders import Rule
from ebbcache.sizing.layout import Expand, Expanded, class_of, fixed, members
from ebbcache.sizing.opaque import with_fields

_word: Final = ctypes.c_size_t.from_address
_half: Final = ctypes.c_uint32.from_address
_HEAD: Final = object.__basicsize__
_LOCK: Final = malloc_chunk(32) if sys.version_info < (3, 14) else 0
_LINUX: Final = sys.platform == "linux" and ctypes.sizeof(ctypes.c_void_p) == 8 and _HEAD == 16

_DEFLATE: Final = 5952
_INFLATE: Final = 7168
_BZ_ENCODER: Final = 55_792 + malloc_chunk(65_537 * 4)
_BZ_DECODER: Final = 64_160
_XZ: Final = 232
_XZ_ENCODER: Final = 97_000_000
_XZ_DECODER: Final = 8_500_000
_A_BLOCK: Final = 100_000  # of bzip2's: sizes are multiples
_LEFT: Final = "unused_data", "unconsumed_tail"


def _zlib_state(obj: Any) -> int:
    return _word(id(obj) + _HEAD + 56).value


def _deflating(obj: Any) -> int:
    state = _zlib_state(obj)
    if not state:
        return 0
    window, table, pending = _half(state + 80).value, _half(state + 132).value, _word(state + 24).value
    return _DEFLATE + 2 * malloc_chunk(2 * window) + malloc_chunk(2 * table) + malloc_chunk(pending)


def _inflating(obj: Any) -> int:
    state = _zlib_state(obj)
    if not state:
        return 0
    return _INFLATE + (malloc_chunk(1 << _half(state + 56).value) if _word(state + 72).value else 0)


def _bz_state(obj: Any) -> int:
    return _word(id(obj) + _HEAD + 48).value


def _bz_encoding(obj: Any) -> int:
    size = _half(_bz_state(obj) + 112).value + 19
    return _BZ_ENCODER + 2 * malloc_chunk(4 * size)


def _bz_decoding(obj: Any) -> int:
    started = _half(id(obj) + _HEAD + 12).value >= 4  # bytes: its header tells the level
    level = _half(_bz_state(obj) + 40).value if started else 0
    return _BZ_DECODER + malloc_chunk(4 * _A_BLOCK * min(level, 9))


def _xz_decoding(obj: Any) -> int:
    stream = id(obj) + _HEAD + 24  # behind three pointers of an allocator
    if not _word(stream + 16).value:  # nothing went in yet
        return _XZ
    return _XZ + int(_xz().lzma_memusage(ctypes.c_void_p(stream)))


@functools.cache
def _xz() -> Any:
    library = ctypes.CDLL(sys.modules["_lzma"].__file__)
    library.lzma_memusage.restype = ctypes.c_uint64
    return library


def _as_expected(name: str) -> bool:
    """Return whether what `name` makes is read right: tried with objects whose parameters are known."""
    if name in ("Compress", "Decompress"):
        zlib: Any = sys.modules["zlib"]
        if name == "Compress":
            state = _zlib_state(out := zlib.compressobj(6, zlib.DEFLATED, 14, 7))
            found = *(_half(state + at).value for at in (80, 84, 88, 132)), _word(state).value
            return found == (1 << 14, 14, (1 << 14) - 1, 1 << 14, id(out) + _HEAD)
        text = zlib.compress(bytes(range(256)) * 300)
        state = _zlib_state(out := zlib.decompressobj())
        before = _half(state + 56).value, _word(state + 72).value
        out.decompress(text[:-9])
        return before == (15, 0) and _half(state + 60).value == 1 << 15 and _word(state + 72).value != 0
    if name == "BZ2Compressor":
        state = _bz_state(out := sys.modules["_bz2"].BZ2Compressor(2))
        return _word(state).value == id(out) + _HEAD and _half(state + 112).value == 2 * _A_BLOCK - 19
    if name == "BZ2Decompressor":
        state = _bz_state(out := sys.modules["_bz2"].BZ2Decompressor())
        fresh = _half(id(out) + _HEAD + 12).value == 0 and _word(state).value == id(out) + _HEAD
        out.decompress(b"BZh3")
        return fresh and _half(id(out) + _HEAD + 12).value == 4 and _half(state + 40).value == 3
    out = sys.modules["_lzma"].LZMADecompressor()
    stream = id(out) + _HEAD + 24
    fresh = _word(stream + 48).value == id(out) + _HEAD and _word(stream + 16).value == 0
    out.decompress(b"\xfd7zXZ\x00")
    return fresh and _word(stream + 16).value == 6 and hasattr(_xz(), "lzma_memusage")


_READ: Final[dict[str, tuple[Callable[[Any], int] | None, int]]] = {
    "Compress": (_deflating, 268_224),
    "Decompress": (_inflating, 40_000),
    "BZ2Compressor": (_bz_encoding, 7_600_000),
    "BZ2Decompressor": (_bz_decoding, 3_700_000),
    "LZMACompressor": (None, _XZ_ENCODER),
    "LZMADecompressor": (_xz_decoding, _XZ_DECODER),
}
"""What reads how much is allocated, and how much that is with default parameters."""


def _streams(cls: type) -> Expand:
    in_memory, usual = _READ[cls.__name__]
    if not _LINUX or in_memory is None or not _works(_as_expected, cls.__name__):
        in_memory = None
    own = fixed(cls) + _LOCK

    def read(obj: Any, cap: float) -> Expanded:
        return own + (usual if in_memory is None else in_memory(obj)), gc.get_referents(obj), 1

    return with_fields(read, [members(cls)[name].__get__ for name in _LEFT if name in members(cls)])


def _works(trial: Callable[..., bool], *args: Any) -> bool:
    try:
        return trial(*args)
    except Exception:
        return False


_string_io: Any = io.StringIO
_BUFFER, _SIZE, _ROOM, _STATE = (_HEAD + 8 * place for place in (0, 2, 3, 4))
_JOINED, _PIECES = 1, 2
_WRITER: Final = _HEAD + 40
_APART: Final = sys.version_info >= (3, 14)  # the writer is a block of its own
_DECODER: Final = _HEAD + (64 if sys.version_info < (3, 12) else 56 if _APART else 104)
_KEPT: Final = (_WRITER, _WRITER + 8) if sys.version_info < (3, 12) else (_WRITER,)
"""Where pieces are that were written: lists of long and short ones, or a text with room to spare."""
_WRITTEN: Final = 17 if sys.version_info < (3, 12) else 5  # quarters of a byte for each character written


def _object_at(address: int) -> Any:
    return ctypes.cast(address, ctypes.py_object).value


def _pieces_of(at: int) -> list[int]:
    """Return the addresses of what holds the pieces that the StringIO at `at` was written in."""
    if _APART:
        writer = _word(at + _WRITER).value
        return [_word(writer).value] if writer else []
    return [_word(at + place).value for place in _KEPT]


def _texts_as_expected() -> bool:
    if not _LINUX or sys.implementation.name != "cpython":
        return False
    joined, pieces = io.StringIO("some text"), io.StringIO()
    pieces.write("some text")
    kind = list if len(_KEPT) == 2 else str
    kept = _pieces_of(id(pieces))
    return (
        (_word(id(joined) + _SIZE).value, _half(id(joined) + _STATE).value) == (9, _JOINED)
        and 9 <= _word(id(joined) + _ROOM).value <= 64
        and _half(id(pieces) + _STATE).value == _PIECES
        and any(kept)
        and all(_word(at + 8).value == id(kind) for at in kept if at)
    )


def _texts(cls: type) -> Expand:
    if _works(_texts_as_expected):
        return _texts_in_memory
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
        return fixed(class_of(obj)) + chunk(length), gc.get_referents(obj), 1

    return read


def _texts_in_memory(obj: Any, cap: float) -> Expanded:
    at = id(obj)
    own = fixed(class_of(obj)) + (chunk(4 * _word(at + _ROOM).value) if _word(at + _BUFFER).value else 0)
    kids = gc.get_referents(obj)
    held = [_word(_DECODER + at + place).value for place in (0, 8, 16)]  # a decoder, and two ends of lines
    if _half(at + _STATE).value == _PIECES:
        held += _pieces_of(at)
        own += chunk(56) if _APART else 0
    for found in held:
        if found:
            kids.append(_object_at(found))
    return own, kids, 1


_TIMES: Final = struct.pack(">4s16x6l3l3B", b"TZif", 0, 0, 0, 3, 2, 8, 1, 2, 3, 0, 1, 0) + struct.pack(
    ">lBBlBB8s", 60, 0, 0, 120, 1, 4, b"AAA\0BBB\0"
)
"""A time zone with three transitions between two offsets, as a file has it (RFC 8536)."""
_TRANSITIONS, _OFFSETS = _HEAD + 24, _HEAD + 32
_OFFSET: Final = 56  # a struct, and the name that only it has


def _zones_as_expected(cls: Any) -> bool:
    zone = cls.from_file(io.BytesIO(_TIMES))
    return _LINUX and (_word(id(zone) + _TRANSITIONS).value, _word(id(zone) + _OFFSETS).value) == (3, 2)


def _zones(cls: type) -> Expand:
    known = _works(_zones_as_expected, cls)

    def read(obj: Any, cap: float) -> Expanded:
        own = fixed(class_of(obj))
        if known:  # four arrays of transitions (Modules/_zoneinfo.c)
            own += 4 * chunk(8 * _word(id(obj) + _TRANSITIONS).value)
            own += _OFFSET * _word(id(obj) + _OFFSETS).value
        return own, gc.get_referents(obj), 1

    return with_fields(read, [members(cls)["key"].__get__])


streams = Rule(_streams)
texts = Rule(_texts)
zones = Rule(_zones)
