"""What `cachedmethod` can be told, and what a decorated method offers."""

from __future__ import annotations

import gc
import inspect
import pickle
import tracemalloc

import pytest
from instances import Plain

import ebbcache
from ebbcache import cachedmethod


class TestOptions:
    def test_key_and_sizeof_do_not_see_the_owner(self):
        seen = []

        class C:
            @cachedmethod(
                key=lambda self, x: x % 10, sizeof=lambda key, value: seen.append((key, value)) or 50
            )
            def f(self, x):
                return x

            @cachedmethod(sizeof=lambda key, value: seen.append((key, value)) or 50)
            def g(self, x, y=2):
                return x

            @cachedmethod(sizeof=lambda key, value: 1 / 0)
            def me(self):
                return self

        c = C()
        assert [c.f(1), c.f(11), c.f(2)] == [1, 1, 2]
        assert c.g(1) == 1
        assert c.me() is c
        assert seen == [(1, 1), (2, 2), ((1, 2), 1)]
        assert C.f.cache.nbytes == 100

    def test_typed(self):
        class C:
            @cachedmethod(typed=True)
            def f(self, x):
                return type(x)

        c = C()
        assert [c.f(1), c.f(1.0)] == [int, float]

    def test_maxsize_is_for_all_instances_together(self):
        class C:
            @cachedmethod(maxsize=2, policy="lru")
            def f(self, x):
                return x

        a, b = C(), C()
        a.f(1), a.f(2), b.f(1)
        assert [C.f.cache_contains(a, 1), C.f.cache_contains(a, 2), C.f.cache_contains(b, 1)] == [
            False,
            True,
            True,
        ]

        class Never:
            @cachedmethod(maxsize=0)
            def f(self, x):
                return x

        assert Never().f(1) == 1
        assert Never.f.cache_info() == (0, 1, 0, 0)

    def test_ttl(self):
        now = 0.0

        class C:
            @cachedmethod(ttl=10)
            def f(self):
                return now

        C.f.cache.timer = lambda: now
        c = C()
        assert c.f() == 0.0
        now = 10.0
        assert c.f() == 10.0
        now = 11.0
        assert c.f() == 10.0
        assert C.f.cache_info() == (1, 2, None, 1)

    def test_one_registration_however_many_instances(self):
        class C:
            @cachedmethod(name="of C")
            def f(self):
                return 1

        instances = [C() for _ in range(100)]
        assert {c.f() for c in instances} == {1}
        assert [cache.name for cache in ebbcache.status().shrinkers if cache.name == "of C"] == ["of C"]

    @pytest.mark.parametrize(
        ("decorate", "words"),
        [
            (lambda: cachedmethod(5), "functions, not 5"),
            (lambda: cachedmethod(abs), "functions, not <built-in"),
            (lambda: cachedmethod(staticmethod(lambda: 1)), "under @staticmethod"),
            (lambda: cachedmethod(lambda: 1), "no parameter for the instance"),
            (lambda: cachedmethod(lambda *args: 1), "no parameter for the instance"),
            (lambda: cachedmethod(maxsize="x"), "cachedmethod: maxsize .* 'x'"),
        ],
    )
    def test_mistakes(self, decorate, words):
        with pytest.raises(TypeError, match=words):
            decorate()

    def test_wrong_calls(self):
        plain = Plain()
        with pytest.raises(TypeError, match=r"Plain\.f\(\) missing 1 required positional argument: 'x'"):
            plain.f()
        with pytest.raises(
            TypeError, match=r"Plain\.f\(\) missing 2 required positional arguments: 'self' and 'x'"
        ):
            Plain.f()
        with pytest.raises(TypeError, match="unhashable"):
            plain.f([])
        assert len(Plain.f.cache) == 0


class TestAdministration:
    def test_looks_like_the_method(self):
        assert Plain.f.__doc__ == "Add up."
        assert Plain.f.__qualname__ == "Plain.f"
        assert str(inspect.signature(Plain.f)) == "(self, x, y=2, *, z=3)"
        assert str(inspect.signature(Plain().f)) == "(x, y=2, *, z=3)"
        assert pickle.loads(pickle.dumps(Plain.f)) is Plain.f

    def test_clear_one_or_all(self):
        a, b = Plain(), Plain()
        a.f(1), a.f(2), b.f(1)
        Plain.f.cache_clear(a)
        assert not Plain.f.cache_contains(a, 1)
        assert Plain.f.cache_contains(b, 1)
        assert Plain.f.cache_info().misses == 3
        a.f(1)
        Plain.f.cache_clear()
        assert Plain.f.cache_info() == (0, 0, None, 0)
        assert a.f(1) == [6]

    def test_invalidate(self):
        a, b = Plain(), Plain()
        a.f(1), b.f(1)
        assert Plain.f.cache_invalidate(a, x=1)
        assert not Plain.f.cache_invalidate(a, 1)
        assert not Plain.f.cache_contains(a, 1)
        assert Plain.f.cache_contains(b, 1)

    # With more entries to an owner its bytes drown in what tables and other threads allocate meanwhile.
    @pytest.mark.parametrize("entries", [1, 2])
    def test_bytes_include_what_an_owner_costs(self, entries):
        class C:
            @cachedmethod
            def f(self, x):
                return None

        @ebbcache.cached
        def g(x, y):
            return None

        def grown(calls):
            gc.collect()
            tracemalloc.start()
            try:
                calls()
                gc.collect()
                return tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()

        instances = [C() for _ in range(2000 // entries)]
        arguments = [str(x) for x in range(2000)]  # made before, so neither side allocates them
        real = grown(lambda: [c.f(x) for c in instances for x in arguments[:entries]])
        real -= grown(lambda: [g(x, None) for x in arguments])
        counted = C.f.cache.nbytes - g.cache.nbytes
        assert 0.5 * real < counted < 2 * real
