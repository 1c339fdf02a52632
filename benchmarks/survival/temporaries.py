"""What it costs a program's own temporary arrays that malloc maps large blocks one by one.

    python -m benchmarks.survival.temporaries

A block that malloc maps when it is asked for, and unmaps when it is freed, pays for the faults of its pages
every time; one out of the heap is reused. `ebbcache` has blocks of 1 MiB and more mapped in programs that
mostly cache such. Here `(a + b) * 2` is timed on arrays of several sizes before and after, best of five.
"""

from __future__ import annotations

import time

from benchmarks.survival import MIB
from ebbcache.governor import allocator
from ebbcache.governor.trimming import LARGE

SIZES = tuple(int(share * MIB) for share in (0.25, 0.5, 1, 2, 4, 8, 16))


def seconds(size: int) -> float:
    """Return how long one sum and product of arrays of `size` bytes takes."""
    import numpy as np

    a, b = np.ones(size // 8), np.ones(size // 8)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(20):
            (a + b) * 2.0
        best = min(best, (time.perf_counter() - began) / 20)
    return best


def main() -> None:
    """Measure, have malloc map, measure again, and print both."""
    import numpy as np

    block = np.ones(4 * MIB)  # 32 MiB; freeing it raises the threshold as far as it goes
    del block
    before = {size: seconds(size) for size in SIZES}
    if not allocator.map_from(LARGE):
        raise SystemExit("this malloc is not told what to map")
    for size in SIZES:
        allocator.trim()  # as ebbcache does now and then: free blocks left in the heap would be used first
        after = seconds(size)
        print(
            f"{size / MIB:5.2f} MiB: {before[size] * 1e6:8.1f} us from the heap,"
            f" {after * 1e6:8.1f} us mapped from {LARGE // MIB} MiB on: {after / before[size]:.1f} x"
        )


if __name__ == "__main__":
    main()
