"""Cached coroutine functions that call themselves, through others and with the same key."""

from __future__ import annotations

import asyncio
import sys

import pytest

from ebbcache import cached


class TestRecursion:
    def test_through_other_keys(self, run):
        @cached
        async def fib(n):
            if n < 2:
                return n
            a, b = await asyncio.gather(fib(n - 1), fib(n - 2))
            return a + b

        assert run(lambda: fib(60)) == 1548008755920
        assert fib.cache_info().currsize == 61

    def test_on_one_key_ends_in_recursion_error(self, run):
        @cached
        async def f(x):
            return await f(x)

        async def main():
            with pytest.raises(RecursionError):
                await f(1)

        run(main)

    def test_on_ever_new_keys_ends_in_recursion_error(self, run):
        @cached
        async def f(x):
            return await f(x + 1)

        async def main():
            with pytest.raises(RecursionError):
                await f(1)

        run(main)
        assert f.cache_info().currsize == 0

    def test_through_another_function(self, run):
        @cached
        async def f(x):
            return await g(x)

        @cached
        async def g(x):
            return await asyncio.create_task(f(x))

        async def main():
            with pytest.raises(RecursionError):
                await f(1)

        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(200)
        try:
            run(main)
        finally:
            sys.setrecursionlimit(limit)

    def test_two_calls_that_need_each_other_do_not_hang(self, run):
        async def main():
            both = asyncio.Barrier(2)
            depth = 0

            @cached
            async def f(x):
                nonlocal depth
                depth += 1
                if depth <= 2:
                    await both.wait()
                elif depth > 4:
                    return "deep"
                return await f(-x)

            answers = await asyncio.wait_for(asyncio.gather(f(1), f(-1)), 30)
            assert answers == ["deep", "deep"]

        run(main)

    def test_a_task_that_outlives_the_call_that_started_it(self, run):
        async def main():
            background = []

            @cached
            async def f(x):
                if x == 1:
                    background.append(asyncio.create_task(later()))
                return x

            async def later():
                await go.wait()
                return [await f(1), await f(2)]

            go = asyncio.Event()
            assert await f(1) == 1
            f.cache_clear()
            background_first = background[0]
            go.set()
            assert await background_first == [1, 2]
            for task in background:
                await task

        run(main)
