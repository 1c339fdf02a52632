"""A make-believe machine's size, and caches of pages on it."""

from __future__ import annotations

import ebbcache

MIB = 1 << 20
LIMIT = 256 * MIB
PAGE = 64 << 10


def entry_bytes(key: object, value: object) -> int:
    return PAGE


def fill(cache: ebbcache.LRUCache[int, None], pages: int, *, start: int = 0) -> None:
    for number in range(start, start + pages):
        cache[number] = None
