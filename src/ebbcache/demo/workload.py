"""The service's work: Zipf requests for documents that cost real time to make.

Popularity falls as a power of the rank, as in web traffic (Breslau et al., "Web Caching and Zipf-like
Distributions", INFOCOM 1999). Every document is rendered, indexed and compressed afresh from its number
alone: the same number gives the same document, whatever was asked before. Bound: a document is 1 KB to
300 KB of HTML; making one takes time in proportion, and up to three times more for some than for others.
"""

from __future__ import annotations

import random
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

_LEAST, _MOST = 1_000, 300_000  # bytes of HTML in a document
_MEDIAN = 40_000
_SYLLABLES = ("ka", "lo", "mi", "ter", "van", "sol", "dra", "ne", "qui", "po", "sha", "rel", "un", "ist")


@dataclass(frozen=True, slots=True)
class Document:
    """A page as a service keeps it: the HTML, its compressed form, and the words that it is about."""

    number: int
    title: str
    html: str
    packed: bytes
    terms: dict[str, int]


class Library:
    """Makes documents number 0 to `count` - 1; `seed` decides what all of them say."""

    def __init__(self, count: int, seed: int) -> None:
        self.count = count
        self._seed = seed
        chance = random.Random(f"ebbcache {seed}")
        words = ["".join(chance.choices(_SYLLABLES, k=chance.randint(1, 4))) for _ in range(2_000)]
        self._sentences = [
            " ".join(chance.choices(words, k=chance.randint(6, 18))).capitalize() + "."
            for _ in range(4_000)
        ]

    def make(self, number: int) -> Document:
        """Return document `number`. O(its size), some 0.1 to 10 milliseconds."""
        if not 0 <= number < self.count:
            raise ValueError(f"number must be from 0 to {self.count - 1}, got {number!r}")
        chance = random.Random(f"{self._seed}/{number}")
        room = min(_MOST, max(_LEAST, int(chance.lognormvariate(0.0, 1.0) * _MEDIAN)))
        title = chance.choice(self._sentences)[:60]
        parts = [f"<!doctype html>\n<title>{title}</title>\n<h1>{title}</h1>\n"]
        room -= len(parts[0])
        while True:
            part = f"<p>{' '.join(chance.choices(self._sentences, k=5))}</p>\n"
            room -= len(part)
            if room < 0:
                break
            parts.append(part)
        html = "".join(parts)
        terms = dict(Counter("".join(parts[::4]).split()).most_common(32))
        packed = zlib.compress(html.encode(), level=chance.randint(1, 4))
        return Document(number, title, html, packed, terms)


def zipf(count: int, seed: int, exponent: float = 0.8) -> Iterator[int]:
    """Yield document numbers below `count` for ever, number k in proportion to 1 / (k + 1)**exponent.

    The paper found exponents of 0.64 to 0.83 in the traffic of six sites.

    O(log count) a request; the same arguments give the same requests.

    >>> from itertools import islice
    >>> requests = list(islice(zipf(100, seed=1), 1000))
    >>> requests.count(0) > requests.count(50)
    True
    """
    chance = random.Random(f"zipf {seed}")
    weights = array("d", accumulate((rank + 1) ** -exponent for rank in range(count)))
    numbers = range(count)
    while True:
        yield from chance.choices(numbers, cum_weights=weights, k=256)
