"""Which bytes of caches lie in pages that other processes have as well, since a fork.

Giving such bytes up frees nothing as long as anybody has the page, and first copies a part of it: of values
of 2 to 64 KB a third, until malloc is trimmed. Reading copies as well, a page a value, for CPython counts
references. So a child counts what it inherited as others' memory, and a parent as its own that it cannot
give; whoever is short all the same gives it a little at a time. The kernel tells how much is still shared
(smaps_rollup, Linux 4.14 on): all of it becomes one process's own when the others are gone. Bound: that
takes 25 ms for a GiB, so it is asked once a second at most, and for a hundredth of the time.
"""

from __future__ import annotations

from collections.abc import Callable

ASK_EVERY = 1.0  # s
SOLE = 1 << 20  # bytes: with less in common, nobody else is left
ROLLUP = "/proc/self/smaps_rollup"


def shared_bytes() -> int | None:
    """Return how many bytes of this process's own memory others have too, at most; None: nobody tells."""
    try:
        with open(ROLLUP, "rb") as file:
            text = file.read()
    except OSError:
        return None
    found: dict[bytes, int] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == b"kB" and words[1].isdigit():
            found[words[0]] = int(words[1]) << 10
    try:
        mapped = found[b"Shared_Dirty:"] + found[b"Shared_Clean:"]
        # A page that n processes have counts 1/n here; files' pages do not count at all.
        return min(mapped, 2 * (found[b"Anonymous:"] - found[b"Pss_Anon:"]))
    except KeyError:
        return None


class Inheritance:
    """What of its caches' bytes one process shares with others; all amounts in bytes."""

    def __init__(self, timer: Callable[[], float], ask: Callable[[], int | None] = shared_bytes) -> None:
        self._timer = timer
        self._ask = ask
        self._ask_at = float("-inf")
        self._forked = False  # and nobody has asked since
        self._unsummed = False
        self.child = False
        self.shared = 0

    def after_fork(self, child: bool) -> None:
        """Take note of a fork, in the parent or the child: no more, for in its midst no other code runs."""
        self.child |= child
        self._forked = True
        self._unsummed = child

    def held(self, held: int) -> None:
        """Take in what caches hold now. All that a child finds at its first look is inherited."""
        self.shared = held if self._unsummed else min(self.shared, held)
        self._unsummed = False

    def gave(self, freed: int, held: int, own_first: bool) -> int:
        """Return how much of `freed` bytes, of `held` that there were, was shared."""
        first = held - self.shared if own_first else 0
        gone = min(self.shared, max(0, freed - first))
        self.shared -= gone
        return gone

    @property
    def in_doubt(self) -> bool:
        """Whether it is worth asking the kernel."""
        return bool(self.shared or self._forked) and self._timer() >= self._ask_at

    def find_out(self, held: int) -> bool:
        """Ask the kernel how much of the `held` bytes is shared still; only a fork makes it more.

        Returns whether a child just turned out to be the only one left.
        """
        self.held(held)
        began = self._timer()
        shared = self._ask()
        if shared is None:
            shared = self.shared if self.child else 0
        self.shared = min(shared, held if self._forked and not self.child else self.shared)
        self._forked = False
        self._ask_at = self._timer() + max(ASK_EVERY, 100 * (self._timer() - began))
        alone = self.child and shared < SOLE
        self.child = self.child and not alone
        return alone
