"""Ask the C allocator to hand free memory back to the kernel, when that can pay.

glibc keeps freed blocks for reuse; only what lies at the top of a heap goes back by itself. malloc_trim(3)
returns every whole free page (30 to 140 ms for half a GiB), and mallinfo2(3) tells beforehand how much free
memory there is. Other C libraries have neither: then nothing is ever worth trimming.

glibc maps large blocks one by one and unmaps them when freed, but what "large" is it raises from 128 KiB up
to 32 MiB as it sees such blocks freed; from then on they leave holes in a heap. mallopt(3) ends that.
"""

from __future__ import annotations

import ctypes
import os
from time import thread_time

LONG = 0.002  # s
MMAP_THRESHOLD = -3  # mallopt's number for it, from malloc.h
SETTINGS = "mmap_threshold", "mmap_max", "trim_threshold", "top_pad"  # each of them fixes the threshold
_FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS.split()]


class _Glibc:
    """The functions, called `keeping` the interpreter lock or not.

    Beside busy threads a call that gives the lock up gets it back 5 to 20 ms later.
    """

    def __init__(self, keeping: bool) -> None:
        library = ctypes.PyDLL(None) if keeping else ctypes.CDLL(None)
        self.mallinfo2, self.malloc_trim = library.mallinfo2, library.malloc_trim
        self.mallinfo2.restype = _Mallinfo2
        self.mallinfo2.argtypes = []
        self.malloc_trim.argtypes = [ctypes.c_size_t]
        self.malloc_trim.restype = ctypes.c_int
        self.mallopt = library.mallopt
        self.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
        self.mallopt.restype = ctypes.c_int


def _load() -> tuple[_Glibc, _Glibc] | None:
    try:
        return _Glibc(keeping=False), _Glibc(keeping=True)
    except (OSError, AttributeError, TypeError):  # not glibc >= 2.33, or no dlopen(NULL)
        return None


_LIBC = _load()
_asking = 0.0  # s of processor time that the last question took


def free_bytes() -> int:
    """Return the bytes that malloc holds free in its heaps; 0 where it cannot tell.

    Takes about 20 ns for each free block; others who want to run wait for it only if that is not long.
    """
    global _asking
    if _LIBC is None:
        return 0
    began = thread_time()
    found = int(_LIBC[_asking < LONG].mallinfo2().fordblks)
    _asking = thread_time() - began
    return found


def trim(at_once: bool = False) -> None:
    """Return whole free pages of malloc's heaps to the kernel; other threads may run meanwhile.

    Not so if it is to be done `at_once`: then nobody who needs the interpreter takes memory meanwhile.
    """
    if _LIBC is not None:
        _LIBC[at_once].malloc_trim(0)


def map_from(size: int) -> bool:
    """Have malloc map every new block of `size` bytes or more by itself, so that freeing it returns it.

    False where it is not glibc, or the environment says how malloc is to do it: then nothing is changed.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    told = any(
        f"MALLOC_{name.upper()}_" in os.environ or f"glibc.malloc.{name}=" in tunables for name in SETTINGS
    )
    return _LIBC is not None and not told and bool(_LIBC[True].mallopt(MMAP_THRESHOLD, size))
