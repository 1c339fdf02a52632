"""`lru_cache` and `cache` beyond CPython's own tests: side by side with functools, and what is ours."""

from __future__ import annotations

import functools
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ebbcache
from ebbcache import cache, cached, lru_cache

arguments = st.sampled_from([0, 1, 1.0, True, "1", None, (1,), (1.0,), ("1", 2), frozenset({1}), [1]])
calls = st.lists(
    st.tuples(
        st.lists(arguments, max_size=3), st.dictionaries(st.sampled_from("ab"), arguments, max_size=2)
    ),
    max_size=20,
)


@settings(deadline=None)
@given(st.sampled_from([None, -1, 0, 1, 2, 3, 128]), st.booleans(), calls)
def test_every_call_is_answered_and_counted_as_by_functools(maxsize, typed, made):
    def replay(decorator):
        log = []

        @decorator(maxsize, typed)
        def f(*args, **kwargs):
            log.append(("called", repr((args, kwargs))))
            if args[:1] == (None,):
                raise LookupError
            return repr((args, kwargs))

        for args, kwargs in made:
            try:
                log.append(f(*args, **kwargs))
            except (LookupError, TypeError) as error:
                log.append((type(error), str(error)))
            log.append(tuple(f.cache_info()))
        log.append(f.cache_parameters())
        f.cache_clear()
        log.append(tuple(f.cache_info()))
        return log

    assert replay(lru_cache) == replay(functools.lru_cache)


def test_cache_is_unbounded():
    f = cache(lambda x: x)
    for x in range(1000):
        f(x)
    assert f.cache_info() == (0, 1000, None, 1000)
    assert f.cache_parameters() == functools.cache(lambda x: x).cache_parameters()


@pytest.mark.parametrize("wrong", ["10", 1.5, [], object()])
def test_wrong_maxsize(wrong):
    with pytest.raises(TypeError, match="maxsize"):
        lru_cache(wrong)


@pytest.mark.parametrize("thing", [5, None, "f"])
def test_only_functions_are_decorated(thing):
    with pytest.raises(TypeError, match="decorate a function"):
        lru_cache()(thing)
    with pytest.raises(TypeError, match="decorate a function"):
        cache(thing)


@pytest.mark.parametrize("typed", [False, True])
def test_invalidate_and_contains(typed):
    f = lru_cache(typed=typed)(lambda *args, **kwargs: 1)
    for args, kwargs in [((1,), {}), (("a", 2), {}), ((), {"x": 1}), (((1, 2),), {}), ((), {})]:
        assert not f.cache_contains(*args, **kwargs)
        f(*args, **kwargs)
        assert f.cache_contains(*args, **kwargs)
        assert f.cache_invalidate(*args, **kwargs)
        assert not f.cache_invalidate(*args, **kwargs)
    assert f.cache_info() == (0, 5, 128, 0)


def test_pressure_takes_the_least_recently_used_first():
    f = lru_cache(maxsize=None)(lambda x: bytes(10_000))
    for x in range(10):
        f(x)
    f(0)
    f.cache.shrink(25_000)
    assert [x for x in range(10) if f.cache_contains(x)] == [0, 4, 5, 6, 7, 8, 9]


def test_it_is_known_by_the_functions_name():
    @lru_cache
    def some_function():
        return 1

    names = [shrinker.name for shrinker in ebbcache.status().shrinkers]
    assert f"{__name__}.{some_function.__qualname__}" in names


def test_endless_recursion_ends_in_recursion_error():
    @lru_cache
    def f(x):
        return f(x)

    with pytest.raises(RecursionError):
        f(1)
    assert f.cache_info().currsize == 0


def test_a_key_is_hashed_once_and_stored_under_that_hash():
    class Key:
        hashed = 0

        def __hash__(self):
            self.hashed += 1
            return 5

        def __eq__(self, other):
            return self is other

    f = lru_cache(lambda *args: 1)
    key, other = Key(), Key()
    for count, call in enumerate([(key,), (key,), (other, key), (other, key)], 1):
        f(*call)
        assert key.hashed == count
    assert f.cache_info()[:2] == (2, 2)


def test_a_builtin_that_storing_itself_needs(monkeypatch):
    remembered = lru_cache(maxsize=4)(len)
    monkeypatch.setattr("builtins.len", remembered)
    try:
        answers = [len("abcdef"[:i]) for i in (0, 1, 1, 2, 3, 4, 5, 6, 1)]
    finally:
        monkeypatch.undo()
    assert answers == [0, 1, 1, 2, 3, 4, 5, 6, 1]
    assert remembered.cache_info().hits == 1


class Named:
    """A callable whose name is no text."""

    __name__ = 7

    def __call__(self, x):
        return type(x)


@pytest.mark.parametrize("func", [type, Named()])
@pytest.mark.parametrize("decorate", [cached, lru_cache, cached({})])
def test_what_functions_refuse_to_be_called(func, decorate):
    """`type` has a descriptor for its type parameters since 3.12."""
    f = decorate(func)
    assert [f(1), f(1), f("1")] == [int, int, str]
    assert f.__wrapped__ is func


def test_a_guarded_builtin_in_many_threads():
    f = lru_cache(abs)
    wrong = []

    def work():
        wrong.extend(x for x in range(-200, 200) if f(x) != abs(x))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong
    info = f.cache_info()
    assert info.hits + info.misses == 1600
    # Threads that find the cache too full at the same moment each evict one.
    assert 128 - len(threads) <= info.currsize <= 128


class Number(int):
    """An int that is none: alone, it is not its own key."""


class Text(str):
    """The same for str."""


odd = arguments | st.sampled_from(
    [Number(1), Text("1"), -1, -2, 2**61 - 1, b"1", 0.5, float("nan"), (), int]
)
names = st.sampled_from(["a", "b", "self", "args", "kwargs", "key", "value", "cls"])


@settings(deadline=None)
@given(
    st.sampled_from([None, 0, 1, 3]),
    st.booleans(),
    st.lists(
        st.tuples(st.lists(odd, max_size=4), st.lists(st.tuples(names, odd), max_size=4)), max_size=12
    ),
)
def test_any_order_and_type_of_arguments_makes_the_key_that_functools_makes(maxsize, typed, made):
    def replay(decorator):
        log = []
        f = decorator(maxsize, typed)(lambda *args, **kwargs: log.append(repr((args, kwargs))) or len(log))
        for _ in range(2):
            for args, pairs in made:
                for kwargs in (dict(pairs), dict(reversed(pairs))):
                    try:
                        log.append(f(*args, **kwargs))
                    except TypeError as error:
                        log.append(str(error))
                log.append(tuple(f.cache_info()))
        return log

    assert replay(lru_cache) == replay(functools.lru_cache)


@settings(deadline=None)
@given(
    st.sampled_from([None, 1, 2, 3]),
    st.dictionaries(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=3)),
    st.lists(st.integers(0, 3), max_size=6),
)
def test_calls_within_calls_store_what_functools_stores(maxsize, within, made):
    def replay(decorator):
        count = 0

        @decorator(maxsize)
        def f(n):
            nonlocal count
            count += 1
            own = count
            if count < 30:
                for other in within.get(n, ()):
                    f(other)
            return n, own

        log = [(f(n), tuple(f.cache_info())) for n in made]
        return log + [f(n) for n in range(4)]

    assert replay(lru_cache) == replay(functools.lru_cache)
