"""Mappings and clearable objects as shrinkers."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict, UserDict, defaultdict

import cachetools
import pytest

from ebbcache.adapters import register_clearable, register_mapping
from ebbcache.engine import reclaim
from ebbcache.shrinkers import registered


def size_of_page(key, value):
    return len(value)


def fill(mapping, count=10, size=1000):
    for number in range(count):
        mapping[number] = bytes(size)
    return mapping


@pytest.mark.parametrize("kind", [dict, OrderedDict, UserDict, lambda: defaultdict(bytes)])
def test_items_go_until_the_target_is_met(kind):
    pages = fill(kind())
    with register_mapping(pages, name="pages", sizeof=size_of_page) as handle:
        assert reclaim(2500).freed == 3000
        assert len(pages) == 7
        assert handle.held() == 7000
        assert reclaim(None).freed == 7000
        assert len(pages) == 0
        assert handle.held() == 0
        assert reclaim(10, hard=True).freed == 0
        assert handle.record.errors == 0


def test_what_goes_first():
    last, first = fill({}), fill(OrderedDict())
    cache = fill(cachetools.LRUCache(100))
    cache[0]
    with register_mapping(last, sizeof=size_of_page):
        reclaim(1000)
    with register_mapping(first, sizeof=size_of_page):
        reclaim(1000)
    with register_mapping(cache, sizeof=size_of_page):
        reclaim(1000)
    assert 9 not in last
    assert 0 not in first
    assert 0 in cache
    assert 1 not in cache


def test_sizes_are_measured_where_nobody_tells_them():
    pages = fill({}, 100, 10_000)
    with register_mapping(pages) as handle:
        assert 1_000_000 < handle.held() < 1_030_000
        assert 100_000 <= reclaim(100_000).freed <= 111_000
        assert len(pages) in (90, 91)


def test_stating_a_size_does_not_count_as_use():
    cache = fill(cachetools.LRUCache(100))
    handle = register_mapping(cache)
    assert handle.held() is None  # not known before something was removed
    reclaim(1)
    assert cache.popitem()[0] == 1
    assert 8000 < handle.held() < 11_000  # without a GIL such a value takes 1280


def test_a_mapping_is_held_weakly_if_it_can_be():
    cache = fill(cachetools.LRUCache(10))
    pages = fill({})
    handle, kept = register_mapping(cache), register_mapping(pages)
    del cache, pages
    gc.collect()
    assert registered() == (kept,)
    assert not handle.registered
    assert reclaim(1 << 20).freed > 0
    kept.unregister()


def test_a_taken_lock_is_respected():
    pages, lock = fill({}), threading.Lock()
    with register_mapping(pages, sizeof=size_of_page, lock=lock) as handle:
        with lock:
            assert reclaim(1000).freed == 0
            assert reclaim(1000, hard=True).freed == 0
            assert handle.held() == 10_000
        # The governor's thread may have it just now, to see how much it holds.
        assert next(filter(None, (reclaim(1000).freed for _ in range(10_000)))) == 1000
        assert not lock.locked()
        assert handle.record.errors == 0


def test_destructors_run_after_the_lock_is_given_back():
    lock, seen = threading.Lock(), []

    class Page:
        def __del__(self):
            seen.append(lock.locked())

    pages = {number: Page() for number in range(3)}
    with register_mapping(pages, sizeof=lambda key, value: 100, lock=lock):
        assert reclaim(200).freed == 200
    assert seen == [False, False]


class Hostile(UserDict):
    """A mapping whose popitem() does what it is told."""

    def popitem(self):
        return self.act()


def test_a_popitem_that_removes_nothing_ends():
    pages = fill(Hostile())
    calls = []

    def act():
        calls.append(True)
        return 0, b""

    pages.act = act
    with register_mapping(pages, sizeof=size_of_page):
        assert reclaim(1000).freed == 0
    assert len(calls) == 10


def test_a_popitem_that_raises_midway_still_counts_what_went():
    pages, lock = fill(Hostile()), threading.Lock()
    script = [lambda: (0, bytes(300)), lambda: 1 / 0]
    pages.act = lambda: script.pop(0)()
    with register_mapping(pages, sizeof=size_of_page, lock=lock) as handle:
        assert handle.ask(1000, False, 1 << 20).freed == 300
        script[:] = [lambda: 1 / 0]
        gave = handle.ask(1000, False, 1 << 20)
        assert gave.freed == 0
        assert "ZeroDivisionError" in gave.error
        script[:] = [lambda: None]
        assert "TypeError" in handle.ask(1000, False, 1 << 20).error
    assert not lock.locked()


@pytest.mark.parametrize("answer", [None, -1, "many", ValueError])
def test_a_sizeof_that_fails_is_replaced_by_measuring(answer, caplog):
    def sizeof(key, value):
        if answer is ValueError:
            raise answer
        return answer

    pages = fill({}, 20, 5000)
    with register_mapping(pages, sizeof=sizeof, name="pages"):
        assert 10_000 <= reclaim(10_000).freed <= 15_100
    assert len(pages) in (17, 18)
    assert len(caplog.records) == 1


def test_mappings_and_options_are_checked():
    with pytest.raises(TypeError, match="mapping must have popitem"):
        register_mapping([1, 2])
    with pytest.raises(TypeError, match="sizeof must be callable"):
        register_mapping({}, sizeof=3)
    with pytest.raises(TypeError, match="lock must have acquire"):
        register_mapping({}, lock=3)
    assert registered() == ()


class Pages:
    """What `register_clearable` takes: a clear() and some way to tell a size."""

    def __init__(self):
        self.content = bytearray(1000)

    def clear(self):
        self.content.clear()


def test_a_clearable_is_emptied_on_hard_pressure():
    pages = Pages()
    handle = register_clearable(pages, size=lambda pages: len(pages.content))
    assert handle.name.endswith("Pages")
    assert reclaim(10).freed == 0
    assert reclaim(10, hard=True).freed == 1000
    assert reclaim(10, hard=True).freed == 0
    del pages
    assert not handle.registered


def test_a_clearable_may_be_soft_and_may_fail():
    pages = Pages()
    with register_clearable(pages, size=lambda pages: len(pages.content), name="soft", soft=True):
        assert reclaim(10).freed == 1000
    pages = Pages()
    pages.clear = lambda: 1 / 0
    with register_clearable(pages, size=lambda pages: len(pages.content)) as handle:
        assert reclaim(10, hard=True).freed == 0
        assert "ZeroDivisionError" in handle.record.last_error


def test_clearables_are_checked():
    with pytest.raises(TypeError, match=r"obj must have a clear\(\)"):
        register_clearable(object(), size=lambda obj: 0)
    with pytest.raises(TypeError, match="size must be callable"):
        register_clearable(Pages(), size=1000)
