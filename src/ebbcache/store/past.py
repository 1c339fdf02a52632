"""What is remembered of entries that were used and given up: a byte each, so that they are known again.

A key that comes back after its entry was given up is no newcomer: its hits go on where they were, about.
S3-FIFO and ARC keep ghosts of keys for that, W-TinyLFU a sketch that every access updates; here only
evictions write and only inserts read, so that a hit costs nothing. It is a table of single cells: five bits
of the key's hash say whose it is (one stranger in 32 is taken for somebody else), three bits the binary
logarithm of its hits; the last one to come wins. After four evictions for each entry in the store all
logarithms fall by one, which halves the hits, and what had one use left is forgotten. Bound: O(1),
amortised over those; 1 to 2 bytes an entry that the store holds, none before the first eviction.
"""

from __future__ import annotations

import math

LEAST = 64
"""Cells, at the least, and evictions between two halvings."""
HALVING = 4
"""Evictions for each entry that the store holds between two halvings."""
MIX = 0x9E3779B97F4A7C15
FADED = bytes(cell - 1 if cell & 7 else cell for cell in range(256))


class Past:
    """The hits of what was given up, by the hash of its key."""

    __slots__ = ("cells", "left")

    def __init__(self) -> None:
        self.cells = bytearray()
        """Five bits of a hash, and the logarithm; 0 in these: nothing."""
        self.left = 0
        """Evictions until all logarithms fall."""

    def add(self, h: int, hits: float, living: int) -> None:
        """Remember that an entry was given up, of the hash `h`, after `hits`, when `living` others stay."""
        if self.left <= 0:
            self._fade(living)
        self.left -= 1
        if hits >= 2.0:
            cells = self.cells  # another thread may put a larger table in place meanwhile
            tag = (h * MIX & 0xFFFFFFFFFFFFFFFF) >> 32
            cells[tag & (len(cells) - 1)] = tag >> 27 << 3 | min(math.frexp(hits)[1] - 1, 7)

    def hits(self, h: int) -> int:
        """Return the hits that are remembered of the hash `h`, to a power of two; 0 of a stranger."""
        cells = self.cells
        tag = (h * MIX & 0xFFFFFFFFFFFFFFFF) >> 32
        cell = cells[tag & (len(cells) - 1)] if cells else 0
        return 1 << (cell & 7) if cell & 7 and cell >> 3 == tag >> 27 else 0

    def tighten(self, living: int) -> None:
        """Give back the room of a store that was much larger once."""
        if len(self.cells) > 4 * wanted(living):
            self.cells = self.cells[: wanted(living)]

    def _fade(self, living: int) -> None:
        size = wanted(living)
        cells = self.cells.translate(FADED) or bytearray(size)
        while len(cells) < size:
            cells *= 2  # one more bit of the hash says where: what is remembered may be in either half
        self.cells = cells[:size]
        self.left = max(LEAST, HALVING * living)


def wanted(living: int) -> int:
    """Return the cells for so many entries: one each, or up to two; a power of two.

    >>> wanted(0), wanted(64), wanted(65)
    (64, 64, 128)
    """
    return max(LEAST, 1 << (living - 1).bit_length()) if living else LEAST
