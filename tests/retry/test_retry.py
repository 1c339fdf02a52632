"""A MemoryError of the program's own: caches make way, and the call is made once more."""

from __future__ import annotations

import asyncio
import inspect
import os
import resource
import subprocess
import sys
import textwrap
import weakref

import pytest

import ebbcache


class Large:
    """Something whose end can be heard of."""


@pytest.fixture
def cache() -> ebbcache.LRUCache[int, bytes]:
    cache = ebbcache.LRUCache[int, bytes](min_bytes="1 MiB")
    for number in range(100):
        cache[number] = bytes(10_000)
    return cache


def test_caches_give_all_they_hold_before_the_second_call(cache: ebbcache.LRUCache[int, bytes]) -> None:
    held: list[int] = []

    @ebbcache.retry_on_memory_error
    def work() -> str:
        held.append(len(cache))
        if len(held) == 1:
            raise MemoryError
        return "done"

    assert work() == "done"
    assert held == [100, 0]


def test_a_second_failure_passes_and_there_is_no_third_call() -> None:
    calls: list[int] = []

    @ebbcache.retry_on_memory_error
    def work() -> None:
        calls.append(1)
        raise MemoryError("still too large")

    with pytest.raises(MemoryError, match="still too large"):
        work()
    assert len(calls) == 2


def test_what_the_first_attempt_held_is_gone_before_the_second() -> None:
    first: list[weakref.ref[Large]] = []

    @ebbcache.retry_on_memory_error
    def work() -> bool:
        large = Large()
        first.append(weakref.ref(large))
        if len(first) == 1:
            raise MemoryError
        return first[0]() is None

    assert work()


def test_other_exceptions_pass_at_once(cache: ebbcache.LRUCache[int, bytes]) -> None:
    calls: list[int] = []

    @ebbcache.retry_on_memory_error
    def work() -> None:
        calls.append(1)
        raise ValueError

    with pytest.raises(ValueError):
        work()
    assert len(calls) == 1
    assert len(cache) == 100


def test_an_error_that_says_how_much_was_wanted_costs_no_more(cache: ebbcache.LRUCache[int, bytes]) -> None:
    class Type:
        itemsize = 8

    class ArrayError(MemoryError):
        shape = (100, 125)
        dtype = Type()

    calls: list[int] = []

    @ebbcache.retry_on_memory_error
    def work() -> None:
        calls.append(len(cache))
        if len(calls) == 1:
            raise ArrayError

    work()
    assert 80 <= calls[1] < 100  # 100 kB of 1 MB


def test_numpys_own_error_says_how_much() -> None:
    numpy = pytest.importorskip("numpy")
    from ebbcache.retry import _wanted

    with pytest.raises(MemoryError) as caught:
        numpy.empty((1 << 45,), dtype="u1")
    assert _wanted(caught.value) == (1 << 45) + (1 << 41)


def test_coroutine_functions_are_awaited_again(cache: ebbcache.LRUCache[int, bytes]) -> None:
    held: list[int] = []

    @ebbcache.retry_on_memory_error
    async def work(step: int) -> int:
        await asyncio.sleep(0)
        held.append(len(cache))
        if len(held) == 1:
            raise MemoryError
        return step

    assert inspect.iscoroutinefunction(work)
    assert asyncio.run(work(7)) == 7
    assert held == [100, 0]


def test_signature_and_name_stay() -> None:
    @ebbcache.retry_on_memory_error
    def work(path: str, *, deep: bool = False) -> int:
        """Say what it does."""
        return 0

    assert work.__name__ == "work"
    assert work.__doc__ == "Say what it does."
    assert str(inspect.signature(work)) == "(path: 'str', *, deep: 'bool' = False) -> 'int'"
    with pytest.raises(TypeError, match="func must be callable, not 3"):
        ebbcache.retry_on_memory_error(3)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS") or sys.platform != "linux", reason="needs RLIMIT_AS")
def test_a_real_limit_on_the_address_space() -> None:
    program = """
        import resource, ebbcache
        cache = ebbcache.LRUCache(register=True)
        for number in range(60):
            cache[number] = bytearray(4 << 20)
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (40 << 20),) * 2)

        @ebbcache.retry_on_memory_error
        def load():
            return len(bytearray(150 << 20))

        assert load() == 150 << 20
        assert len(cache) < 60
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "EBBCACHE_RESERVE": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
