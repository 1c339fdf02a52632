"""A memory hog with manners: it hoards all it can get, and gives way only when memory is about to run out.

After the memory hog that tests the shrinkers of OSv, where the idea of this library comes from. A hog is no
cache: this is what a shrinker of one's own looks like. It ignores soft pressure (freeing is welcome) and on
hard pressure (memory is about to run out) frees until the target is met.

    python examples/memory_hog.py

It lets itself be limited to 128 MiB more than it starts with; no root needed.
"""

from __future__ import annotations

import argparse
import time

import psutil

import ebbcache

MIB = 1024 * 1024


def mib(amount: int) -> str:
    """Return `amount` bytes as people read it."""
    return f"{amount / MIB:.1f} MiB"


class Hog:
    """Hoards memory in pieces of 1 MiB: in one thread it hoards, in another it is shrunk."""

    def __init__(self) -> None:
        self.hoard: list[bytes] = []
        self.squeezed = 0

    @property
    def nbytes(self) -> int:
        """Bytes it holds."""
        return len(self.hoard) * MIB

    def oink(self) -> None:
        """Take another piece, written to, so that it is really there."""
        self.hoard.append(b"o" * MIB)

    def shrink(self, target: int, hard: bool) -> int:
        """Ignore soft pressure; on hard pressure free at least `target` bytes, or all there is."""
        if not hard:
            return 0
        before = self.nbytes
        # Counted here piece by piece: the other thread may hoard on while this one frees.
        freed = 0
        while freed < target and self.hoard:
            self.hoard.pop()
            freed += MIB
        self.squeezed += 1
        print(
            f"Squeal! asked for {mib(target)}, started with {mib(before)}, "
            f"finished with {mib(self.nbytes)}, freed {mib(freed)}"
        )
        return freed


def main() -> None:
    """Hoard until squeezed a few times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="give up after this long (%(default)s)")
    parser.add_argument("--squeezes", type=int, default=3, help="stop after so many (%(default)s)")
    options = parser.parse_args()

    ebbcache.configure(limit=psutil.Process().memory_info().rss + 128 * MIB)
    hog = Hog()
    until = time.monotonic() + options.seconds
    with ebbcache.register_shrinker("hog", hog.shrink, size=lambda: hog.nbytes):
        while hog.squeezed < options.squeezes and time.monotonic() < until:
            hog.oink()
            if len(hog.hoard) % 16 == 0:
                print(f"Oink! hoards {mib(hog.nbytes)}")
            time.sleep(0.002)
    print(f"The end: squeezed {hog.squeezed} times, holds {mib(hog.nbytes)}.")


if __name__ == "__main__":
    main()
