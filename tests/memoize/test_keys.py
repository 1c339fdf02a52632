"""Which calls share an entry, checked against what `inspect.signature` says that calls mean."""

from __future__ import annotations

import inspect
import keyword
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbcache import cached
from ebbcache.memoize.callkeys import hashkey, plain_key, typed_key

NAMES = ("a", "b", "c", "d", "e", "_ebb_key", "_ebb_", "P", "self", "args", "key", "value", "type", "id")


@st.composite
def functions(draw):
    """Make a function with any shape of signature, which answers all that it was given."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=5))
    assert not any(keyword.iskeyword(name) for name in names)
    cut = sorted(draw(st.tuples(*[st.integers(0, len(names))] * 2)))
    positional, plain, only = names[: cut[0]], names[cut[0] : cut[1]], names[cut[1] :]
    optional_from = draw(st.integers(0, cut[1]))
    defaults = iter(range(100, 200))

    def written(name: str, optional: bool) -> str:
        return f"{name}={next(defaults)}" if optional else name

    parts = [written(n, i >= optional_from) for i, n in enumerate(positional + plain)]
    if positional:
        parts.insert(len(positional), "/")
    rest, extra = draw(st.booleans()), draw(st.booleans())
    if rest:
        parts.append("*rest")
    elif only:
        parts.append("*")
    parts += [written(n, draw(st.booleans())) for n in only]
    if extra:
        parts.append("**extra")
    given_names = names + ["rest"] * rest
    body = f"({''.join(f'{n}, ' for n in given_names)}{'tuple(extra.items())' if extra else ''})"
    namespace: dict[str, Any] = {}
    exec(f"def f({', '.join(parts)}): return {body}", namespace)
    return namespace["f"]


calls = st.tuples(
    st.lists(st.integers(0, 2), max_size=5),
    st.dictionaries(
        st.sampled_from([*NAMES, "x", "y"]), st.integers(0, 2) | st.integers(100, 104), max_size=4
    ),
)


def outcome(func, args, kwargs):
    """Answer what a call answers and None, or None and the words in which it was refused."""
    try:
        return func(*args, **kwargs), None
    except TypeError as error:
        return None, str(error)


@settings(deadline=None)
@given(functions(), st.lists(calls, min_size=1, max_size=8))
def test_calls_share_an_entry_just_if_they_bind_alike(f, made):
    g = cached(f)
    assert inspect.signature(g) == inspect.signature(f)
    seen: set[object] = set()
    for args, kwargs in made:
        expected, refusal = outcome(f, args, kwargs)
        if refusal:
            assert outcome(g, args, kwargs) == (None, refusal)
            continue
        # What the function saw identifies the call: it answers all of its arguments.
        assert g.cache_contains(*args, **kwargs) == (expected in seen)
        hits = g.cache_info().hits
        assert g(*args, **kwargs) == expected
        assert g.cache_info().hits - hits == (expected in seen)
        seen.add(expected)
        assert g.cache_info().currsize == len(seen)
    for args, kwargs in made:
        expected, refusal = outcome(f, args, kwargs)
        if not refusal:
            assert g.cache_invalidate(*args, **kwargs) == (expected in seen)
            seen.discard(expected)
    assert g.cache_info().currsize == 0


@settings(deadline=None)
@given(functions(), calls)
def test_typed_tells_equal_arguments_of_different_types_apart(f, call):
    args, kwargs = call
    g = cached(typed=True)(f)
    try:
        g(*args, **kwargs)
    except TypeError:
        return
    floats = [float(a) for a in args], {name: float(value) for name, value in kwargs.items()}
    assert g.cache_contains(*args, **kwargs)
    assert g.cache_contains(*floats[0], **floats[1]) == (not args and not kwargs)


def test_one_parameter_is_its_own_key():
    @cached
    def f(x):
        return x

    @cached
    def g(x, y=0):
        return x

    f("abc"), g("abc")
    assert list(f.cache) == ["abc"]
    assert list(g.cache) == [("abc", 0)]


def test_a_tuple_is_not_mistaken_for_arguments():
    @cached
    def one(x):
        return ("one", x)

    @cached
    def many(*xs):
        return ("many", xs)

    @cached
    def no():
        return "no"

    assert one((1, 2)) == ("one", (1, 2))
    assert one(()) == ("one", ())
    assert many(1, 2) == ("many", (1, 2))
    assert many((1, 2)) == ("many", ((1, 2),))
    assert many() == ("many", ())
    assert no() == no() == "no"
    assert no.cache_info()[:2] == (1, 1)


def test_keyword_order_counts_where_the_function_can_see_it():
    @cached
    def f(a, **more):
        return list(more.items())

    assert f(1, x=1, y=2) == [("x", 1), ("y", 2)]
    assert f(1, y=2, x=1) == [("y", 2), ("x", 1)]
    assert f(x=1, y=2, a=1) == [("x", 1), ("y", 2)]
    assert f.cache_info()[:2] == (1, 2)


def test_private_names_of_a_class():
    class C:
        @cached
        def f(self, __x, *, __y=2):
            return __x, __y

        def call(self):
            return self.f(1)

    assert C().call() == (1, 2)


def test_functions_not_written_in_python_are_cached_as_called():
    power = cached(pow)
    assert power(2, 3) == power(2, 3) == 8
    assert power(2, exp=3) == 8
    assert power.cache_info()[:2] == (1, 2)
    with pytest.raises(TypeError, match="pow"):
        power(2)


def test_what_was_called_for_its_key():
    seen = []

    @cached(key=lambda *args, **kwargs: seen.append((args, kwargs)))
    def f(x, y=2):
        return x

    assert f(1) == f(5, y=3) == 1
    assert seen == [((1,), {}), ((5,), {"y": 3})]
    assert f.cache_invalidate(1)
    assert f(7) == 7


def test_wrong_calls_with_a_key_raise_the_functions_own_error():
    @cached(key=lambda *args, **kwargs: args)
    def f(x):
        return x

    with pytest.raises(TypeError, match=r"f\(\) takes 1 positional argument but 2 were given"):
        f(1, 2)
    assert f.cache_info().currsize == 0


@pytest.mark.parametrize("arguments", [([],), ({},), ((1, []),)])
def test_unhashable_arguments_raise_type_error(arguments):
    calls = []

    @cached
    def f(x):
        calls.append(x)

    with pytest.raises(TypeError, match="unhashable type"):
        f(*arguments)
    assert not calls


def test_later_changes_of_defaults_do_not_reach_old_entries():
    def f(x, *, y=1):
        return x + y

    g = cached(f)
    assert g(1) == 2
    f.__kwdefaults__["y"] = 10
    assert g(1) == 11
    assert g(1, y=1) == 2


def test_key_functions():
    assert plain_key(1, 2) == (1, 2)
    assert plain_key(1, b=2, a=1) != plain_key(1, a=1, b=2)
    assert hashkey(1, b=2, a=1) == hashkey(1, a=1, b=2)
    assert plain_key(1, ("a", 1)) != plain_key(1, a=1)
    assert typed_key(3) != typed_key(3.0)
    assert typed_key(a=3) != typed_key(a=3.0)
    assert typed_key(3) == typed_key(3)
    for key in (plain_key(1, a=2), typed_key(1, a=2), hashkey(1, a=2)):
        assert pickle.loads(pickle.dumps(key)) == key
