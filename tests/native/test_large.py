"""Tables so large that their memory comes from the system: they grow, lose entries and shrink again."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("ebbcache.store._store")
from ebbcache.store import twin

MANY = 400_000
"""Enough for an index of 4 MiB, in pages of 2 MiB each."""


@pytest.mark.parametrize("kind", ["LRUStore", "LFUStore", "DensityStore"])
def test_a_large_table_grows_shrinks_and_grows_again(kind: str) -> None:
    made: Any = getattr(twin, kind)()
    for _ in range(2):
        for key in range(MANY):
            made._put(key, key, None, 8)
        made._check()
        assert len(made) == MANY
        assert made.get(MANY - 1, "no") is None
        assert made.get(-1, "no") == "no"
        large = made.__sizeof__()
        assert large > 4 << 20
        for key in range(0, MANY, 2):
            made._take(key, key)
        made._check()
        assert made.get(1, "no") is None
        assert made.get(2, "no") == "no"
        assert len(made._evict((MANY // 2 - 1000) * 8)) == MANY // 2 - 1000
        made._check()
        assert len(made) == 1000
        assert made.__sizeof__() < large / 50


def test_a_large_table_is_dropped_as_a_whole() -> None:
    made: Any = twin.LRUStore()
    for key in range(MANY):
        made._put(key, key, None, 8)
    assert len(made._drain()) == MANY
    made._check()
    assert len(made) == 0
    assert made.__sizeof__() < 5000
