"""`cached` on coroutine functions: one call for all who wait, and whose cancellation hurts whom."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import sys
import threading

import pytest
from gates import Gate, failing, settle

from ebbcache import LRUCache, cached, cachedmethod


class TestSharing:
    def test_caches(self, run):
        calls = []

        @cached
        async def f(x, y=1):
            calls.append(x)
            return [x, y]

        async def main():
            first = await f(1)
            assert await f(x=1, y=1) is first
            assert f.cache_contains(1)
            assert f.cache_info() == (1, 1, None, 1)

        run(main)
        assert calls == [1]
        assert inspect.iscoroutinefunction(f)

    def test_concurrent_callers_share_one_call(self, run):
        async def main():
            gate = Gate(lambda x: [x])
            f = cached(gate)
            callers = [asyncio.create_task(f(x)) for x in (1, 1, 2, 1)]
            await gate.has_started(2)
            await settle()
            assert gate.started == [1, 2]
            gate.open.set()
            a, b, c, d = await asyncio.gather(*callers)
            assert a is b is d
            assert c == [2]
            assert f.cache_info() == (0, 4, None, 2)

        run(main)

    def test_an_exception_reaches_all_and_is_not_cached(self, run):
        async def main():
            error = LookupError("no")
            gate = Gate(failing(error))
            f = cached(gate)
            callers = [asyncio.create_task(f(1)) for _ in range(3)]
            await gate.has_started()
            gate.open.set()
            for answer in await asyncio.gather(*callers, return_exceptions=True):
                assert answer is error
            assert not f.cache_contains(1)
            gate.outcome = lambda x: "better"
            assert await f(1) == "better"

        run(main)

    def test_wrong_calls_and_unhashable_arguments(self, run):
        @cached
        async def f(x):
            return x

        async def main():
            with pytest.raises(TypeError, match=r"f\(\) missing 1 required positional argument: 'x'"):
                await f()
            with pytest.raises(TypeError, match="unhashable"):
                await f([])

        run(main)

    def test_partials_and_callable_objects_are_recognised(self, run):
        async def add(x, y):
            return x + y

        async def main():
            f = cached(functools.partial(add, 1))
            assert [await f(2), await f(2)] == [3, 3]
            assert f.cache_info()[:2] == (1, 1)

        run(main)

    def test_a_task_runs_in_a_copy_of_the_first_callers_context(self, run):
        variable = contextvars.ContextVar("variable", default="unset")

        @cached
        async def f(x):
            seen = variable.get()
            variable.set("changed inside")
            return seen

        async def main():
            variable.set("caller")
            assert await f(1) == "caller"
            assert variable.get() == "caller"

        run(main)

    def test_a_mapping_of_the_callers(self, run):
        async def main():
            gate = Gate(lambda x: [x])
            mapping = LRUCache(maxsize=2)
            f = cached(mapping, info=True)(gate.__call__)
            callers = [asyncio.create_task(f(x)) for x in (1, 1)]
            await gate.has_started()
            gate.open.set()
            a, b = await asyncio.gather(*callers)
            assert a is b is await f(1) is mapping[1,]
            assert f.cache_info() == (1, 2, 2, 1)
            with pytest.raises(TypeError, match="for threads"):
                cached(mapping, lock=threading.Lock())(gate.__call__)

        run(main)

    def test_without_asyncio_calls_are_cached_but_not_shared(self):
        @cached
        async def f(x):
            return [x]

        def drive(coroutine):
            with pytest.raises(StopIteration) as stopped:
                coroutine.send(None)
            return stopped.value.value

        assert drive(f(1)) is drive(f(1))


class TestInvalidation:
    @pytest.mark.parametrize("how", ["cache_invalidate", "cache_clear"])
    def test_what_is_on_its_way_is_not_kept(self, run, how):
        async def main():
            gate = Gate()
            f = cached(gate)
            before = asyncio.create_task(f(1))
            await gate.has_started()
            f.cache_invalidate(1) if how == "cache_invalidate" else f.cache_clear()
            after = asyncio.create_task(f(1))
            await gate.has_started(2)
            gate.open.set()
            answers = iter(["new", "old"])
            gate.outcome = lambda x: next(answers)
            assert {await before, await after} == {"new", "old"}
            assert f.cache_info().currsize == 1

        run(main)

    def test_the_stale_answer_does_not_replace_the_fresh_one(self, run):
        async def main():
            gates = [asyncio.Event(), asyncio.Event()]
            calls = []

            @cached
            async def f(x):
                number = len(calls)
                calls.append(number)
                await gates[number].wait()
                return number

            before = asyncio.create_task(f(1))
            await settle()
            f.cache_invalidate(1)
            after = asyncio.create_task(f(1))
            await settle()
            gates[1].set()
            assert await after == 1
            gates[0].set()
            assert await before == 0
            assert await f(1) == 1

        run(main)


class TestLoopsAndThreads:
    def test_one_loop_after_another(self, run):
        calls = []

        @cached
        async def f(x):
            calls.append(x)
            await asyncio.sleep(0)
            return [x]

        first = run(lambda: f(1))
        assert run(lambda: f(1)) is first
        assert run(lambda: f(2)) == [2]
        assert calls == [1, 2]

    def test_two_loops_at_once(self):
        together = threading.Barrier(2, timeout=30)
        calls = []

        @cached
        async def f(x):
            calls.append(threading.get_ident())
            await asyncio.get_running_loop().run_in_executor(None, together.wait)
            return x

        async def main():
            return await asyncio.gather(f(1), f(1))

        answers = []
        threads = [threading.Thread(target=lambda: answers.append(asyncio.run(main()))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert answers == [[1, 1], [1, 1]]
        assert len(set(calls)) == len(calls) == 2  # one call for each loop

    def test_a_loop_closed_in_the_middle_leaves_nothing_behind(self):
        async def forever(x):
            await asyncio.Event().wait()

        flown = cached(forever)
        loop = asyncio.new_event_loop()
        task = loop.create_task(flown(1))
        loop.run_until_complete(asyncio.sleep(0))
        loop.run_until_complete(asyncio.sleep(0))
        for pending in asyncio.all_tasks(loop):
            pending._log_destroy_pending = False  # the test's doing, not ours
        loop.close()
        del task

        async def main():
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(flown(1), 0.01)

        asyncio.run(main())

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
    def test_eager_tasks(self, run):
        async def main():
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)

            @cached
            async def quick(x):
                return [x]

            @cached
            async def slow(x):
                await asyncio.sleep(0)
                return await quick(x)

            @cached
            async def endless(x):
                return await endless(x)

            a, b = await asyncio.gather(slow(1), slow(1))
            assert a is b is await quick(1)
            with pytest.raises(RecursionError):
                await endless(1)

        run(main)


class TestMethods:
    def test_cached_methods_share_per_instance(self, run):
        class C:
            def __init__(self):
                self.gate = Gate(lambda x: [x])

            @cachedmethod
            async def get(self, x):
                return await self.gate(x)

            @cachedmethod
            async def me(self):
                return self

        async def main():
            a, b = C(), C()
            callers = [asyncio.create_task(instance.get(1)) for instance in (a, a, b)]
            await a.gate.has_started()
            await b.gate.has_started()
            a.gate.open.set(), b.gate.open.set()
            first, second, third = await asyncio.gather(*callers)
            assert first is second
            assert first is not third
            assert await a.get(x=1) is first
            assert await a.me() is await a.me() is a

        run(main)

    def test_clearing_one_instance_while_it_computes(self, run):
        class C:
            def __init__(self):
                self.gate = Gate()

            @cachedmethod
            async def get(self, x):
                return await self.gate(x)

        async def main():
            a, b = C(), C()
            callers = [asyncio.create_task(instance.get(1)) for instance in (a, b)]
            await a.gate.has_started()
            await b.gate.has_started()
            C.get.cache_clear(a)
            a.gate.open.set(), b.gate.open.set()
            await asyncio.gather(*callers)
            assert not C.get.cache_contains(a, 1)
            assert C.get.cache_contains(b, 1)

        run(main)
