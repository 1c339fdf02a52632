"""Ground truth for sizes: make copies of a value, drop half, and ask the allocators what they got back.

pymalloc tells the bytes in its blocks through `sys._debugmallocstats`, glibc's malloc through `mallinfo2`,
where torch, Arrow, libxml2 and Pillow allocate too; with tcache off (it looks like memory in use) both are
exact to the chunk. So this must run in a process started with `ENVIRONMENT`, on Linux with glibc 2.33+.
Bound: whatever else allocates meanwhile counts too, so measure in a process that does nothing else.
"""

from __future__ import annotations

import array
import ctypes
import gc
import os
import re
import sys
import sysconfig
from collections.abc import Callable
from typing import Any

ENVIRONMENT = {
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0",
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:0,muzzy_decay_ms:0",
    "OMP_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "PYTHONHASHSEED": "0",
}
"""What a process that measures is to be started with."""

Sizer = Callable[[Any], int]
_ALLOCATED = re.compile(rb"# bytes in allocated blocks +=\s+([\d,]+)")


_FIELDS = ["arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks"]


class _MallInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (*_FIELDS, "keepcost")]


_libc: Any = ctypes.CDLL(None) if sys.platform != "win32" else None
_REPORT = 1 << 16  # bytes; more than what `_debugmallocstats` writes


def glibc() -> bool:
    """Return whether malloc is glibc's, which can be asked, and Python can be told to use it for all."""
    if sys.platform != "linux" or not hasattr(_libc, "mallinfo2"):
        return False
    preloaded = os.environ.get("LD_PRELOAD", "")  # sanitizers bring their own
    return "libasan" not in preloaded and not sysconfig.get_config_var("Py_GIL_DISABLED")


def why_not() -> str | None:
    """Return what is missing to measure the truth in this process, or None."""
    if not glibc():
        return "the truth is had from mallinfo2, which only glibc 2.33+ has"
    if "tcache_count=0" not in os.environ.get("GLIBC_TUNABLES", ""):
        return "the process was not started with sizing_truth.ENVIRONMENT"
    return None


def _pymalloced() -> int:
    """Return the bytes in the blocks that pymalloc has given out."""
    stats = os.memfd_create("stats")
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(stats, 2)
    try:
        sys._debugmallocstats()  # writes to C's stderr
        _libc.fflush(None)
        os.lseek(stats, 0, os.SEEK_SET)
        found = _ALLOCATED.search(os.read(stats, _REPORT))
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(stats)
    assert found is not None
    return int(found[1].replace(b",", b""))


def held() -> int:
    """Return the bytes that pymalloc and malloc have given out."""
    _libc.mallinfo2.restype = _MallInfo
    info = _libc.mallinfo2()
    return int(info.uordblks + info.hblkhd) + _pymalloced()


def _fill_caches() -> None:
    """Let numpy keep all the free buffers that it will (numpy/_core/src/multiarray/alloc.c).

    Up to seven of each size below 1 KiB, which look as if the value that had them still held them.
    """
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        kept = [numpy.empty(nbytes, "u1") for nbytes in range(1024) for _ in range(7)]
        kept += [numpy.empty((1,) * axes) for axes in range(9) for _ in range(7)]


def settle(make: Callable[[int], Any], rounds: int = 40) -> None:
    """Make and drop values until caches, key-sharing tables and free lists have what they want."""
    for i in range(rounds):
        make(i)
    gc.collect()


def freed(
    make: Callable[[int], Any],
    size: Sizer | None = None,
    copies: int = 40,
    account: Callable[[], int] = held,
) -> tuple[float, float]:
    """Return what dropping a value of `make` frees, and what `size` said of it before.

    Both in bytes, a mean over half of `copies`. The collector, which would walk whatever the process has
    loaded, sees only the values. `account` tells the bytes given out.
    """
    half = copies // 2
    if size is not None:
        size(make(0))
    gc.disable()
    gc.collect()
    gc.freeze()
    try:
        values = [None] * copies
        said = array.array("d", bytes(8 * half))
        account()
        for i in range(copies):
            values[i] = make(i)
        # What packages keep for the next is kept by now.
        spare: Any = [make(i) for i in range(copies, copies + 10)]
        del spare
        _fill_caches()
        if size is not None:
            for i in range(half):
                said[i] = size(values[i])
        gc.collect()  # empties the free lists, whose blocks look like the value's
        before = account()
        for i in range(half):
            values[i] = None
        gc.collect()
        after = account()
    finally:
        gc.unfreeze()
        gc.enable()
    return (before - after) / half, sum(said) / half
