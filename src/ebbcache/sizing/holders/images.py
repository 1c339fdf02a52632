"""Pillow's images: rows of pixels in C, of which the object shows mode and size (libImaging/Storage.c).

Pixels of one channel take a byte, of two or more four bytes; I and F are four, I;16 is two. Bound: O(1).
"""

from __future__ import annotations

from typing import Any, Final

from ebbcache.sizing.chunks import malloc_chunk
from ebbcache.sizing.holders import Rule
from ebbcache.sizing.layout import Expand, Expanded, fixed, members

_ONE_BYTE: Final = frozenset(("1", "L", "P"))
_IMAGE: Final = 432  # the struct around the rows
_PALETTE: Final = 400
_BLOCK: Final = 16 << 20


def _cores(cls: type) -> Expand:
    names = members(cls)
    mode_of = names["mode"].__get__
    size_of = names["size"].__get__

    def read(obj: Any, cap: float) -> Expanded:
        mode = mode_of(obj)
        width, height = size_of(obj)
        each = 1 if mode in _ONE_BYTE else 2 if mode.startswith(("I;16", "BGR;1")) else 4
        line = width * each
        rows = malloc_chunk(8 * height) + malloc_chunk(16 * (1 + line * height // _BLOCK))
        own = fixed(cls) + malloc_chunk(_IMAGE) + rows + malloc_chunk(line * height)
        return own + (malloc_chunk(_PALETTE) if mode in ("P", "PA") else 0), [], 1

    return read


def _cores_in_c(base: type, cls: type) -> tuple[Any, ...]:
    names = members(base)
    return "images", names["mode"], names["size"], _IMAGE, _PALETTE, _BLOCK


cores = Rule(_cores, native=_cores_in_c)
