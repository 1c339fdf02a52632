"""CPython's own tests of mappings, on every cache; only `test_repr` differs, for our repr names the
class, and `test_repr_deep` in its depth."""

from __future__ import annotations

import sys
from typing import Any
from unittest import mock

import pytest
from both_stores import IMPLEMENTATIONS

from ebbcache.clock import clock

mapping_tests: Any = pytest.importorskip(
    "test.mapping_tests", reason="this Python comes without its test suite", exc_type=ImportError
)


class MappingTests(mapping_tests.TestHashMappingProtocol):
    type2test: Any = None

    def setUp(self) -> None:
        # One test compares what two caches of equal contents give up; value density depends on ages.
        stopped = mock.patch.object(clock, "timer", return_value=clock.now)
        stopped.start()
        self.addCleanup(stopped.stop)

    def test_repr(self) -> None:
        d = self._empty_mapping()
        name = type(d).__name__
        assert repr(d) == f"{name}({{}})"
        d[1] = 2
        assert repr(d) == f"{name}({{1: 2}})"
        d = self._empty_mapping()
        d[1] = d
        assert repr(d) == f"{name}({{1: ...}})"

        class BadReprError(Exception):
            pass

        class BadRepr:
            def __repr__(self) -> str:
                raise BadReprError

        d = self._full_mapping({1: BadRepr()})
        with pytest.raises(BadReprError):
            repr(d)

    def test_repr_deep(self) -> None:
        # CPython 3.14's own nests 150,000, its limit being the C stack's; ours in Python has the usual one.
        d = self._empty_mapping()
        for _ in range(sys.getrecursionlimit()):
            d, inner = self._empty_mapping(), d
            d[1] = inner
        with pytest.raises(RecursionError):
            repr(d)


def _filled(cls: Any, **required: Any) -> Any:
    """Return a subclass whose constructor takes what dict's takes."""

    class Filled(cls):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(**required, register=False)
            self.update(*args, **kwargs)

    return Filled


for name, caches in IMPLEMENTATIONS.items():
    for policy, required in {"LRU": {}, "LFU": {}, "TTL": {"ttl": 3600}, "Density": {}}.items():
        title = f"Test{policy}{name.title()}"
        made = _filled(getattr(caches, f"{policy}Cache"), **required)
        globals()[title] = type(title, (MappingTests,), {"type2test": made})
del MappingTests
