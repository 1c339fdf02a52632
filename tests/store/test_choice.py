"""Which store does the work, and how one has a say in it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

BUILT = importlib.util.find_spec("ebbcache.store._store") is not None
LOOK = """
import logging
logging.basicConfig(level="DEBUG", format="%(message)s")
import ebbcache.store as store
print(store.IMPLEMENTATION, store.WHY_PURE)
"""
HIDE = "import sys; sys.modules['ebbcache.store._store'] = None\n"


def look(program: str = LOOK, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EBBCACHE_")}
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, **settings},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(not BUILT, reason="no native store was built here")
@pytest.mark.parametrize("settings", [{}, {"EBBCACHE_NATIVE": "1"}, {"EBBCACHE_PURE": "0"}])
def test_the_native_store_does_the_work_where_it_was_built(settings: dict[str, str]) -> None:
    assert look(**settings).stdout.split() == ["native", "None"]


def test_it_can_be_forbidden() -> None:
    assert look(EBBCACHE_PURE="1").stdout.strip() == "pure EBBCACHE_PURE is set"


def test_where_it_is_missing_a_debug_line_says_so() -> None:
    found = look(HIDE + LOOK)
    assert found.stdout.startswith("pure no native store: ")
    assert found.stderr.startswith("the pure store does the work: no native store: ")


def test_where_it_is_missing_insisting_fails() -> None:
    found = look(HIDE + LOOK, EBBCACHE_NATIVE="1")
    assert found.returncode == 1
    assert "ImportError: EBBCACHE_NATIVE requires the native store: " in found.stderr


def test_contradictions_fail() -> None:
    assert "and EBBCACHE_PURE forbids it" in look(EBBCACHE_NATIVE="1", EBBCACHE_PURE="1").stderr
