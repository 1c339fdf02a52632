"""`cached` on plain functions: what is remembered, what is refused, and what hangs on the function."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import math
import operator
import pickle
import sys
import threading
import typing
import weakref

import pytest

import ebbcache
from ebbcache import DensityCache, LFUCache, LRUCache, cached
from ebbcache.gil import is_free_threaded
from ebbcache.memoize.invalidated import MOST


@cached
def by_name(x: int, y: int = 2) -> int:
    """Add."""
    return x + y


class Holder:
    @cached
    def method(self, x):
        return x

    @staticmethod
    @cached
    def static(x):
        return x

    @classmethod
    @cached
    def klass(cls, x):
        return cls, x


class TestCalls:
    def test_computes_once(self):
        calls = []

        @cached
        def f(x):
            calls.append(x)
            return [x]

        first = f(1)
        assert f(1) is first
        assert f(2) == [2]
        assert calls == [1, 2]
        assert f.cache_info() == (1, 2, None, 2)

    @pytest.mark.parametrize("value", [None, False, 0, (), NotImplemented, ..., math.nan])
    def test_any_value_is_a_value(self, value):
        calls = []

        @cached
        def f():
            calls.append(1)
            return value

        assert f() is value
        assert f() is value
        assert calls == [1]

    def test_exceptions_pass_and_are_not_cached(self):
        calls = []

        @cached
        def f(x):
            calls.append(x)
            if len(calls) == 1:
                raise LookupError(x)
            return x

        with pytest.raises(LookupError) as caught:
            f(1)
        assert caught.value.__context__ is None
        assert not f.cache_contains(1)
        assert f(1) == f(1) == 1
        assert calls == [1, 1]

    def test_recursion(self):
        @cached
        def fib(n):
            return n if n < 2 else fib(n - 1) + fib(n - 2)

        assert fib(100) == 354224848179261915075
        assert fib.cache_info() == (98, 101, None, 101)

    def test_endless_recursion_ends_in_recursion_error(self):
        @cached
        def f(x):
            return f(x)

        with pytest.raises(RecursionError):
            f(1)
        assert f.cache_info().currsize == 0
        assert f.cache_info().misses > 10

    def test_concurrent_misses_all_compute(self):
        together = threading.Barrier(3, timeout=30)

        @cached
        def f(x):
            together.wait()  # passed only if all three are here
            return [x]

        answers = []
        threads = [threading.Thread(target=lambda: answers.append(f(1))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert answers == [[1], [1], [1]]
        assert f.cache_info() == (0, 3, None, 1)

    def test_equal_arguments_share_unless_typed(self):
        plain, typed = cached(lambda x: type(x)), cached(typed=True)(lambda x: type(x))
        assert [plain(1), plain(1.0), plain(True)] == [int, int, int]
        assert [typed(1), typed(1.0), typed(True)] == [int, float, bool]
        assert typed.cache_info().currsize == 3

    def test_arguments_that_raise_when_compared(self):
        class Bad:
            def __hash__(self):
                return 7

            def __eq__(self, other):
                raise ZeroDivisionError

        @cached
        def f(x):
            return 1

        assert f(Bad()) == 1
        with pytest.raises(ZeroDivisionError):
            f(Bad())
        assert f.cache_info().currsize == 1

    def test_a_sizer_may_call_the_function_itself(self):
        @cached(sizeof=lambda key, value: 10 if key > 3 else 10 + f(key + 1))
        def f(x):
            return x

        assert f(1) == 1
        assert sorted(f.cache) == [1, 2, 3, 4]


class TestInvalidationMeanwhile:
    """What was on its way when its entry was invalidated is answered but not kept."""

    def test_by_the_call_itself(self):
        @cached
        def f(x, meanwhile=None):
            if meanwhile is not None:
                meanwhile()
            return x

        def other():
            f.cache_invalidate(2)

        def same():
            f.cache_invalidate(1, same)

        for meanwhile, kept in ((other, True), (same, False), (f.cache_clear, False)):
            assert f(1, meanwhile) == 1
            assert f.cache_contains(1, meanwhile) == kept
        same()
        assert f(1, None) == 1
        assert f.cache_contains(1)

    def test_in_another_thread(self):
        started, go = threading.Event(), threading.Event()
        world = ["old"]

        @cached
        def f(x):
            seen = world[0]
            started.set()
            assert go.wait(30)
            return seen

        answers = []
        thread = threading.Thread(target=lambda: answers.append(f(1)))
        thread.start()
        assert started.wait(30)
        world[0] = "new"
        assert not f.cache_invalidate(1)
        go.set()
        thread.join(30)
        assert answers == ["old"]
        assert f(1) == "new"

    def test_many_invalidations_leave_few_marks(self):
        @cached
        def f(x, meanwhile=()):
            for y in meanwhile:
                f.cache_invalidate(y)
            return x

        f(1, tuple(range(MOST + 10)))
        assert not f.cache_contains(1, tuple(range(MOST + 10)))  # too many to know, so better not
        invalidated = inspect.getclosurevars(f.cache_invalidate).nonlocals["invalidated"]
        assert len(invalidated._marks) <= MOST
        f(2)
        assert f.cache_contains(2)


class TestOptions:
    @pytest.mark.parametrize(
        ("policy", "kind"), [("density", DensityCache), ("lru", LRUCache), ("lfu", LFUCache)]
    )
    def test_policy(self, policy, kind):
        assert isinstance(cached(policy=policy)(abs).cache, kind)
        assert isinstance(cached(abs).cache, DensityCache)

    def test_maxsize(self):
        @cached(maxsize=2, policy="lru")
        def f(x):
            return x

        for x in (1, 2, 1, 3):
            f(x)
        assert f.cache_info() == (1, 3, 2, 2)
        assert [f.cache_contains(x) for x in (1, 2, 3)] == [True, False, True]
        assert f.cache_info() == (1, 3, 2, 2)

    def test_maxsize_0_remembers_nothing(self):
        @cached(maxsize=0)
        def f(x):
            return x

        assert f(1) == f(1) == 1
        assert f.cache_info() == (0, 2, 0, 0)

    def test_maxbytes(self):
        @cached(maxbytes="64 KiB")
        def f(x):
            return bytes(10_000)

        for x in range(100):
            f(x)
        assert 0 < f.cache.nbytes <= 65536
        assert 0 < f.cache_info().currsize < 7

    def test_ttl(self):
        now = 0.0

        @cached(ttl=10)
        def f(x):
            return now

        f.cache.timer = lambda: now
        assert f(1) == 0.0
        now = 9.0
        assert f(1) == 0.0
        now = 10.0
        assert not f.cache_contains(1)
        assert f(1) == 10.0
        assert f.cache_info().currsize == 1

    @pytest.mark.parametrize("sizeof", [None, lambda key, value: 100])
    def test_a_miss_tells_its_seconds_as_cost(self, monkeypatch, sizeof):
        ticks = iter([5.0, 7.5])
        monkeypatch.setattr("ebbcache.memoize.wrapping.perf_counter", lambda: next(ticks))

        @cached(ttl=3, sizeof=sizeof)
        def f(x):
            return -x

        f.cache.timer = lambda: 100.0
        f(1)
        (entry,) = f.cache._snapshot()
        assert (entry.key, entry.value, entry.deadline, entry.cost) == (1, -1, 103.0, 2.5)
        assert entry.size == f.cache.nbytes

    def test_name(self):
        assert by_name.cache.name == f"{__name__}.by_name"
        assert Holder.method.cache.name == f"{__name__}.Holder.method"
        assert cached(name="mine")(abs).cache.name == "mine"
        assert cached(functools.partial(abs)).cache.name == "functools.partial"

    def test_sizeof_replaces_measuring(self):
        seen = []

        @cached(sizeof=lambda key, value: seen.append((key, value)) or 123)
        def f(x, y=1):
            return "value"

        f(5)
        assert seen == [((5, 1), "value")]
        assert f.cache.nbytes == 123

    def test_parameters(self):
        @cached(maxsize=3, maxbytes="1 MiB", ttl=2, policy="lfu", typed=True)
        def f(x):
            return x

        expected = {"maxsize": 3, "maxbytes": "1 MiB", "ttl": 2, "policy": "lfu", "typed": True}
        assert f.cache_parameters() == expected
        f.cache_parameters()["maxsize"] = 5
        assert f.cache_parameters() == expected

    @pytest.mark.parametrize(
        ("options", "error", "words"),
        [
            ({"maxsize": "1"}, TypeError, ["maxsize", "'1'"]),
            ({"maxsize": 1.5}, TypeError, ["maxsize", "1.5"]),
            ({"maxsize": True}, TypeError, ["maxsize", "True"]),
            ({"maxsize": -1}, ValueError, ["maxsize", "-1"]),
            ({"maxbytes": "many"}, ValueError, ["maxbytes", "many"]),
            ({"maxbytes": -5}, ValueError, ["maxbytes", "-5"]),
            ({"maxbytes": []}, TypeError, ["maxbytes", "[]"]),
            ({"ttl": "1"}, TypeError, ["ttl", "'1'"]),
            ({"ttl": True}, TypeError, ["ttl", "True"]),
            ({"ttl": 0}, ValueError, ["ttl", "0"]),
            ({"ttl": -1}, ValueError, ["ttl", "-1"]),
            ({"ttl": math.nan}, ValueError, ["ttl", "nan"]),
            ({"ttl": math.inf}, ValueError, ["ttl", "inf"]),
            ({"policy": "fifo"}, ValueError, ["policy", "fifo", "density"]),
            ({"policy": None}, TypeError, ["policy", "None"]),
            ({"key": "x"}, TypeError, ["key", "'x'"]),
            ({"typed": 1}, TypeError, ["typed", "1"]),
            ({"typed": True, "key": abs}, TypeError, ["typed", "key"]),
            ({"name": 5}, TypeError, ["name", "5"]),
            ({"sizeof": 5}, TypeError, ["sizeof", "5"]),
            ({"lock": threading.Lock()}, TypeError, ["lock", "mapping"]),
            ({"info": True}, TypeError, ["info", "mapping"]),
            ({"size": 1}, TypeError, ["size"]),
        ],
    )
    def test_wrong_options_are_refused_by_name(self, options, error, words):
        with pytest.raises(error) as caught:
            cached(**options)(abs)
        for word in words:
            assert word in str(caught.value)

    @pytest.mark.parametrize("thing", [5, "name", None, [], object()])
    def test_only_functions_are_decorated(self, thing):
        with pytest.raises(TypeError):
            cached()(thing)

    def test_what_makes_iterators_is_refused(self):
        def generator():
            yield 1

        async def async_generator():
            yield 1

        for func in (generator, async_generator):
            with pytest.raises(TypeError, match=r"generator.*only once"):
                cached(func)

    def test_what_answers_iterators_or_coroutines_is_refused_at_the_call(self):
        async def coroutine():
            return 1

        def generator():
            yield 1

        for func, kind in ((coroutine, "coroutine"), (generator, "generator")):
            hidden = cached(lambda func=func: func())
            with pytest.raises(TypeError, match=f"returned a {kind}"):
                hidden()
            assert hidden.cache_info().currsize == 0

    @pytest.mark.parametrize("wrong", [staticmethod, classmethod, property])
    def test_order_of_decorators(self, wrong):
        with pytest.raises(TypeError, match=f"goes under @{wrong.__name__}"):
            cached(wrong(lambda self: 1))


class TestAdministration:
    def test_looks_like_the_function(self):
        assert by_name.__name__ == "by_name"
        assert by_name.__doc__ == "Add."
        assert by_name.__module__ == __name__
        assert inspect.signature(by_name) == inspect.signature(by_name.__wrapped__)
        assert str(inspect.signature(by_name)) == "(x: 'int', y: 'int' = 2) -> 'int'"
        assert typing.get_type_hints(by_name) == {"x": int, "y": int, "return": int}
        assert inspect.isroutine(by_name)
        assert by_name.__wrapped__(1) == 3
        assert by_name.__wrapped__ is not by_name

    def test_clear_starts_anew(self):
        f = cached(lambda x: x)
        f(1), f(1), f(2)
        f.cache_clear()
        assert f.cache_info() == (0, 0, None, 0)
        f(1)
        assert f.cache_info() == (0, 1, None, 1)

    def test_invalidate(self):
        calls = []

        @cached
        def f(x, *, y=0):
            calls.append(x)
            return x

        f(1), f(2)
        assert f.cache_invalidate(x=1, y=0) is True
        assert f.cache_invalidate(1) is False
        assert f.cache_info().currsize == 1
        f(1), f(2)
        assert calls == [1, 2, 1]
        with pytest.raises(TypeError, match=r"f\(\) missing 1 required positional argument: 'x'"):
            f.cache_invalidate()
        with pytest.raises(TypeError, match="unhashable"):
            f.cache_contains([])

    def test_pickles_and_copies_by_name(self):
        for func in (by_name, Holder.method, Holder.static):
            for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
                assert pickle.loads(pickle.dumps(func, protocol)) is func
            assert copy.copy(func) is func
            assert copy.deepcopy(func) is func

    @pytest.mark.skipif(
        is_free_threaded() and sys.version_info < (3, 14),
        reason="CPython 3.13 without a GIL makes functions that are no closures immortal",
    )
    def test_nothing_stays_of_a_dead_function(self):
        f = cached(lambda x: x)
        f(1)
        refs = [weakref.ref(f), weakref.ref(f.cache)]
        del f
        gc.collect()
        assert [ref() for ref in refs] == [None, None]

    def test_binds_as_methods_do(self):
        a, b = Holder(), Holder()
        assert a.method(1) == Holder.method(a, 1) == b.method(x=1) == 1
        assert a.method.__self__ is a
        assert Holder.method.cache_info()[:2] == (1, 2)
        assert a.method.cache_info() == Holder.method.cache_info()
        assert a.static(5) == Holder.static(5) == 5
        assert a.klass(5) == Holder.klass(5) == (Holder, 5)
        assert Holder.static.cache_info()[:2] == Holder.klass.cache_info()[:2] == (1, 1)
        Holder.method.cache_clear()

    def test_two_decorators_on_one_function(self):
        calls = []

        @cached(maxsize=1, policy="lru")
        @cached(maxsize=10)
        def f(_ebb_x, y=1):
            calls.append(_ebb_x)
            return _ebb_x

        assert [f(1), f(2), f(1), f(1)] == [1, 2, 1, 1]
        assert calls == [1, 2]
        assert f.cache_parameters()["maxsize"] == 1
        assert f.__wrapped__.cache_parameters()["maxsize"] == 10

    @pytest.mark.parametrize(
        "func", [operator.neg, functools.partial(pow, 2), str.upper, type("C", (), {})]
    )
    def test_any_callable(self, func):
        f = cached(func)
        arguments = {operator.neg: (3,), str.upper: ("x",)}.get(
            func, (3,) if isinstance(func, functools.partial) else ()
        )
        assert f(*arguments) is f(*arguments)
        assert f.__wrapped__ is func
        assert f.cache_info()[:2] == (1, 1)

    def test_memory_pressure_takes_entries(self):
        f = cached(lambda x: bytes(100_000))
        for x in range(20):
            f(x)
        held = f.cache.nbytes
        assert held > 2_000_000
        freed = ebbcache.reclaim(None, hard=True)
        assert freed.freed >= held
        assert f.cache_info().currsize == 0
        assert len(f(0)) == 100_000
