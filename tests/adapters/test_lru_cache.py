"""functools' caches as shrinkers: what they are said to weigh, and when they are cleared."""

from __future__ import annotations

import functools
import gc
import sys
import threading

import pytest

from ebbcache.adapters import register_lru_cache
from ebbcache.engine import reclaim
from ebbcache.shrinkers import register_shrinker, registered
from ebbcache.sizing import sizeof


def make(maxsize):
    @functools.lru_cache(maxsize=maxsize)
    def page(number, other=None):
        return bytes(number % 1000 + 5000)

    return page


@pytest.mark.parametrize("maxsize", [None, 300, 10_000])
def test_the_size_is_near_the_truth(maxsize):
    page = make(maxsize)
    with register_lru_cache(page) as handle:
        assert handle.held() == 0
        for number in range(1000):
            page(number)
        kept = page.cache_info().currsize
        results = sum(sizeof(bytes(n % 1000 + 5000)) for n in range(1000 - kept, 1000))
        assert results * 0.97 < handle.held() < results * 1.03 + kept * 250


def test_the_size_follows_what_the_entries_are_now():
    sizes = [100]

    @functools.lru_cache(maxsize=50)
    def page(number):
        return bytes(sizes[0])

    with register_lru_cache(page) as handle:
        for number in range(50):
            page(number)
        small = handle.held()
        sizes[0] = 100_000
        for number in range(50, 100):
            page(number)
        assert handle.held() > small + 50 * 90_000
        page.cache_clear()
        assert handle.held() == 0


def test_results_that_are_dicts_are_not_taken_for_the_table():
    @functools.lru_cache(maxsize=20)
    def page(number):
        return {"number": number, "text": "x" * 10_000 + str(number)}

    for number in range(20):
        page(number)
    with register_lru_cache(page) as handle:
        assert 200_000 < handle.held() < 220_000


def test_arguments_are_someone_elses():
    @functools.cache
    def page(owner, text):
        return None

    class Big:
        def __init__(self):
            self.content = bytes(1 << 20)

    page(Big(), "x" * 1000)
    with register_lru_cache(page) as handle:
        assert 1000 < handle.held() < 2000


def test_it_is_cleared_on_hard_pressure_only():
    page = make(None)
    for number in range(100):
        page(number)
    handle = register_lru_cache(page, name="pages")
    held = handle.held()
    soft = reclaim(1000)
    assert soft.freed == 0
    assert page.cache_info().currsize == 100
    hard = reclaim(1000, hard=True)
    assert hard.freed == held
    assert page.cache_info().currsize == 0
    assert [g.name for g in hard.by] == ["pages"]


def test_softly_it_is_not_even_asked_among_others():
    page = make(None)
    page(1)
    handle = register_lru_cache(page)
    register_shrinker("other", lambda target, hard: target, size=lambda: 10_000)
    assert reclaim(8000).freed == 8000
    assert handle.record.calls == 0


def test_soft_may_be_asked_for():
    page = make(None)
    page(1)
    register_lru_cache(page, soft=True)
    assert reclaim(10, tallied_only=True).freed == 0  # growth of other caches is no pressure
    assert reclaim(10).freed > 5000
    assert page.cache_info().currsize == 0


def test_a_method_is_one_cache_whichever_way_it_is_named():
    class Service:
        @functools.lru_cache(maxsize=8)  # noqa: B019
        def page(self, number):
            return bytes(10_000)

    service = Service()
    service.page(1)
    with register_lru_cache(service.page) as handle, register_lru_cache(Service.page) as same:
        assert handle.held() == same.held() > 10_000
        assert handle.name.endswith("Service.page")


def test_a_dead_function_is_gone():
    page = make(8)
    handle = register_lru_cache(page)
    assert registered() == (handle,)
    del page
    gc.collect()
    assert registered() == ()


@pytest.mark.parametrize(
    "func", [len, 3, functools.partial(len), lambda: 0, functools.cached_property(len)]
)
def test_only_functools_caches_will_do(func):
    with pytest.raises(TypeError, match="func must be decorated"):
        register_lru_cache(func)


@pytest.mark.parametrize("maxsize", [None, 64])
def test_sizes_may_be_asked_while_others_call(maxsize):
    page = make(maxsize)
    handle = register_lru_cache(page)
    done = threading.Event()

    def call():
        number = 0
        while not done.is_set():
            number += 1
            page(number)
            if number % 500 == 0:
                page.cache_clear()

    thread = threading.Thread(target=call)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        for _ in range(300):
            assert handle.held() is not None
            reclaim(1, hard=True)
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert handle.record.errors == 0
