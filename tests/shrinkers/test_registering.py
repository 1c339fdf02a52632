"""Registering in all its forms, names, handles and bad input."""

from __future__ import annotations

import functools

import pytest

from ebbcache.shrinkers import register_shrinker, registered, when_registered


def give(target, hard):
    return target


def test_a_plain_call_registers_until_unregistered():
    handle = register_shrinker("pages", give)
    assert registered() == (handle,)
    assert handle.registered
    assert handle.name == "pages"
    handle.unregister()
    handle.unregister()
    assert registered() == ()
    assert not handle.registered


def test_the_decorator_leaves_the_function_as_it_is():
    def original(target, hard):
        return 0

    decorated = register_shrinker("decorated", size=lambda: 5)(original)
    assert decorated is original
    (handle,) = registered("decorated")
    assert handle.calls_for(original)
    assert handle.held() == 5


def test_the_handle_is_a_context_manager_that_unregisters_on_any_way_out():
    with register_shrinker("block", give) as handle:
        assert registered() == (handle,)
    assert registered() == ()
    with pytest.raises(RuntimeError), register_shrinker("block", give):
        raise RuntimeError
    assert registered() == ()


def test_names_need_not_be_unique_and_order_is_that_of_registration():
    first, other, second = (register_shrinker(name, give) for name in ("same", "other", "same"))
    assert registered("same") == (first, second)
    assert registered() == (first, other, second)
    first.unregister()
    assert registered("same") == (second,)


@pytest.mark.parametrize("name", [None, 3, b"bytes", give])
def test_a_name_is_a_str(name):
    with pytest.raises(TypeError, match="name must be a str"):
        register_shrinker(name, give)
    assert registered() == ()


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "bell\a", "\x1b[2J"])
def test_a_name_is_fit_for_a_log_line(name):
    with pytest.raises(ValueError, match="name must be printable"):
        register_shrinker(name, give)
    assert registered() == ()


def test_a_str_that_is_not_quite_one_becomes_one():
    class Sly(str):
        def __str__(self):
            raise AssertionError("never called")

    assert type(register_shrinker(Sly("sly"), give).name) is str


async def coroutine(target, hard):
    return target


@pytest.mark.parametrize("func", [3, "give", coroutine, lambda: 0, lambda target: 0, lambda self, t, h: 0])
def test_what_cannot_be_called_as_a_shrinker_is_refused(func):
    with pytest.raises(TypeError, match="func must"):
        register_shrinker("bad", func)
    with pytest.raises(TypeError, match="func must"):
        register_shrinker("bad")(func)
    assert registered() == ()


def test_the_decorator_in_a_class_body_is_refused_at_once():
    with pytest.raises(TypeError, match="func must take"):

        class _Cache:
            @register_shrinker("method")
            def shrink(self, target, hard):
                return 0


@pytest.mark.parametrize("argument", ["size", "tally"])
def test_size_and_tally_are_callables(argument):
    with pytest.raises(TypeError, match=f"{argument} must be callable"):
        register_shrinker("bad", give, **{argument: 4096})
    with pytest.raises(TypeError, match=f"{argument} must be a plain function"):
        register_shrinker("bad", give, **{argument: coroutine})


@pytest.mark.parametrize(
    "func",
    [functools.partial(give), lambda *args: 0, lambda target, hard=False, more=None: 0, max],
    ids=["partial", "star", "defaults", "builtin"],
)
def test_anything_that_takes_two_arguments_will_do(func):
    with register_shrinker("fine", func) as handle:
        assert handle.registered


def test_hooks_hear_of_every_registration():
    heard = []
    when_registered(lambda: heard.append(len(registered())))
    register_shrinker("one", give)
    register_shrinker("two")(give)
    assert heard == [1, 2]


def test_a_repr_shows_the_record():
    handle = register_shrinker("pages", lambda target, hard: 1024)
    handle.ask(2048, False, 1 << 30)
    assert "'pages'" in repr(handle)
    assert "1 calls, asked 2.0 KiB, answered 1.0 KiB, 0 errors" in repr(handle)
    handle.unregister()
    assert "unregistered" in repr(handle)
