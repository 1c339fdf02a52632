"""Sizes against what the allocators get back, against pympler, and the chunks of the real malloc."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from ebbcache.sizing import chunks, sizeof

TOLERANCE = {
    "ndarray structured": 0.3,  # the dtype is the array's own, and shows nowhere
    "instance with __dict__ used": 0.3,  # since 3.13 that shows nowhere either
}


@pytest.fixture(scope="module")
def measured(accuracy: ModuleType) -> dict[str, dict[str, float]]:
    """What the allocators got back for each kind, and what `sizeof` said."""
    command = [sys.executable, str(accuracy.__file__), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    found: dict[str, dict[str, float]] = json.loads(done.stdout)
    return found


def test_is_what_the_allocators_get_back(
    kind: str, accuracy: ModuleType, measured: dict[str, dict[str, float]]
) -> None:
    truth, said = measured[kind]["truth"], measured[kind]["said"]
    assert accuracy.within(said, truth, TOLERANCE.get(kind, 0.15)), f"{said:.0f} for {truth:.0f} bytes"


def test_changes_nothing(kind: str, measured: dict[str, dict[str, float]]) -> None:
    """What a value gives back is the same whether it was sized or not."""
    assert abs(measured[kind]["sized"] - measured[kind]["left alone"]) <= 64


def test_is_nearer_than_pympler(accuracy: ModuleType, measured: dict[str, dict[str, float]]) -> None:
    asizeof = pytest.importorskip("pympler.asizeof").asizeof
    ours = theirs = 0
    for kind, make in accuracy.KINDS.items():
        truth, said = measured[kind]["truth"], measured[kind]["said"]
        ours += accuracy.within(said, truth, 0.05)
        try:
            theirs += accuracy.within(asizeof(make(1)), truth, 0.05)
        except Exception:  # on some it fails
            continue
    assert ours >= 0.9 * len(accuracy.KINDS)
    assert ours > theirs


@pytest.mark.parametrize("value", ["text", 10**50, 0.5, b"bytes", [0.25], {1000: 0.5}, {0.5}, (1000, 0.5)])
def test_agrees_with_pympler_but_for_blocks(value: Any) -> None:
    """Where nothing is shared the two differ by the rounding of blocks alone."""
    asizeof = pytest.importorskip("pympler.asizeof").asizeof
    blocks = 6
    assert abs(sizeof(value, exact=True) - asizeof(value)) <= 16 * blocks


@pytest.mark.skipif(sys.platform != "linux", reason="asks glibc's malloc")
def test_knows_the_chunks_of_malloc() -> None:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        pytest.skip("the C library is not glibc")
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc_usable_size.restype = ctypes.c_size_t
    for size in [*range(1, 2000, 7), 4096, 100_000]:
        block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size)))
        try:
            # 16 more where a free chunk was reused whose rest would be too small for a chunk of its own
            assert libc.malloc_usable_size(block) + 8 - chunks.malloc_chunk(size) in (0, 16)
        finally:
            libc.free(block)
        if size > chunks.SMALL:
            assert chunks.chunk(size) == chunks.malloc_chunk(size)
