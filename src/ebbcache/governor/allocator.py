"""Ask the C allocator to hand free memory back to the kernel, when that can pay.

glibc keeps freed blocks for reuse; only what lies at the top of a heap goes back by itself. malloc_trim(3)
returns every whole free page (30 to 140 ms for half a GiB), and mallinfo2(3) tells beforehand how much free
memory there is. Other C libraries have neither: then nothing is ever worth trimming.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

_FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS.split()]


def _load() -> tuple[Callable[[], _Mallinfo2], Callable[[int], int]] | None:
    try:
        libc = ctypes.CDLL(None)
        info, trim = libc.mallinfo2, libc.malloc_trim
    except (OSError, AttributeError, TypeError):  # not glibc >= 2.33, or no dlopen(NULL)
        return None
    info.restype = _Mallinfo2
    info.argtypes = []
    trim.argtypes = [ctypes.c_size_t]
    trim.restype = ctypes.c_int
    return info, trim


_LIBC = _load()


def free_bytes() -> int:
    """Return the bytes that malloc holds free in its heaps; 0 where it cannot tell."""
    return int(_LIBC[0]().fordblks) if _LIBC else 0


def trim() -> None:
    """Return whole free pages of malloc's heaps to the kernel; other threads may run meanwhile."""
    if _LIBC:
        _LIBC[1](0)
