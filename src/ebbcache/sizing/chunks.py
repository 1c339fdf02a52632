"""What a request for memory really takes from the allocator.

CPython's pymalloc (Objects/obmalloc.c) serves requests up to 512 bytes from classes 16 bytes apart;
larger ones go to malloc, which in glibc (malloc/malloc.c) puts an 8-byte header before each chunk, rounds
to 16 and never cuts a chunk under 32. Without a GIL all that Python asks for comes from mimalloc
(Objects/mimalloc), whose classes are 16 bytes apart up to 128, then four for each doubling, and pages from
128 KiB on. Bound: exact for these, but for blocks that malloc maps on their own (128 KiB and more, at
times), where up to a page is left out: under 3 %.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from typing import Final

SMALL: Final = 512
"""The largest request, in bytes, that pymalloc serves itself."""

_MIMALLOC: Final = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def _class_of_mimalloc(size: int) -> int:
    step = 4096 if size > 1 << 17 else 1 << max(7, (size - 1).bit_length()) - 3
    return size + step - 1 & -step


ROUNDED: Final = tuple(
    _class_of_mimalloc(size) if _MIMALLOC else (size + 15) & -16 for size in range(SMALL + 1)
)
"""`chunk(size)` for the sizes up to `SMALL`, as a table for loops that cannot afford the call."""


def chunk(size: int) -> int:
    """Return the bytes that an object or a buffer of `size` bytes takes when Python allocates it.

    >>> chunk(24), chunk(0), chunk(1016)
    (32, 0, 1024)
    """
    if size <= SMALL:
        return ROUNDED[size]
    return _class_of_mimalloc(size) if _MIMALLOC else (size + 23) & -16


def malloc_chunk(size: int) -> int:
    """Return the bytes that a buffer of `size` bytes takes when a C library allocates it with malloc.

    >>> malloc_chunk(24), malloc_chunk(25), malloc_chunk(1)
    (32, 48, 32)
    """
    return max(32, (size + 23) & -16)


_REMEMBERED: Final = 1024


class Blocks(dict[int, int]):
    """What objects of a type take in all, by what their `__sizeof__` says.

    `of` is asked once for each answer, but for large ones, of which there are too many to keep. A dict, as
    that is what C's loops look up fastest.
    """

    __slots__ = ("_of",)

    def __init__(self, of: Callable[[int], int]) -> None:
        super().__init__()
        self._of = of

    def __missing__(self, size: int) -> int:
        nbytes = self._of(size)
        if size <= _REMEMBERED:
            self[size] = nbytes
        return nbytes
