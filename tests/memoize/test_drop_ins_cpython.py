"""CPython's own tests of `functools.lru_cache` and `functools.cache`, unchanged, on ours.

`test.test_functools.TestLRU` is the mixin that CPython runs on its Python and its C implementation; it
takes the implementation from ``module``. Ours has what functools has, with `lru_cache` and `cache`
replaced.
"""

from __future__ import annotations

import functools
import types
import unittest
from typing import Any

import pytest

from ebbcache.memoize import CacheInfo, cache, lru_cache

try:
    from test import test_functools
except ImportError as error:
    pytest.skip(f"this Python comes without its test suite: {error}", allow_module_level=True)


module: Any = types.SimpleNamespace(
    **{**vars(functools), "lru_cache": lru_cache, "cache": cache, "_CacheInfo": CacheInfo}
)


@lru_cache()
def ours_cached_func(x, y):
    return 3 * x + y


class TestLRUOurs(test_functools.TestLRU, unittest.TestCase):
    module = module
    cached_func = (ours_cached_func,)

    @lru_cache()
    def cached_meth(self, x, y):
        return 3 * x + y

    @staticmethod
    @lru_cache()
    def cached_staticmeth(x, y):
        return 3 * x + y


class TestCacheOurs(test_functools.TestCache, unittest.TestCase):
    module = module
