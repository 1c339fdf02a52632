"""`cached` on coroutine functions: one call for all who wait, and whose cancellation hurts whom."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbcache import LRUCache, cached, cachedmethod


class Gate:
    """A coroutine function that waits to be let through, and tells what happened to its calls."""

    def __init__(self, outcome=None):
        self.started = []
        self.cancelled = []
        self.ended = []
        self.open = asyncio.Event()
        self.outcome = outcome if outcome is not None else lambda x: x

    async def __call__(self, x):
        self.started.append(x)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.append(x)
            raise
        finally:
            self.ended.append(x)
        return self.outcome(x)

    async def has_started(self, calls=1):
        while len(self.started) < calls:
            await asyncio.sleep(0)


def failing(error):
    def outcome(_):
        raise error

    return outcome


@pytest.fixture
def run():
    """Run a coroutine function; afterwards nothing may be left over, or reported to the loop."""

    def run(main, **options):
        reports = []

        async def watched():
            asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
            return await main()

        with asyncio.Runner(**options) as runner:
            result = runner.run(watched())
            gc.collect()  # what was never awaited or retrieved says so when it dies
        assert reports == []
        return result

    return run


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


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


class TestCancellation:
    def test_one_of_many(self, run):
        async def main():
            gate = Gate()
            f = cached(gate)
            callers = [asyncio.create_task(f(1)) for _ in range(3)]
            await gate.has_started()
            await settle()
            callers[0].cancel()  # the one who started it
            callers[2].cancel()
            await settle()
            assert callers[0].cancelled()
            assert gate.cancelled == []
            gate.open.set()
            assert await callers[1] == 1
            assert gate.started == [1]
            assert f.cache_contains(1)

        run(main)

    def test_all(self, run):
        async def main():
            gate = Gate()
            f = cached(gate)
            callers = [asyncio.create_task(f(1)) for _ in range(3)]
            await gate.has_started()
            await settle()
            for caller in callers:
                caller.cancel("enough")
            with pytest.raises(asyncio.CancelledError):
                await callers[0]
            await settle()
            assert all(caller.cancelled() for caller in callers)
            assert gate.cancelled == [1]
            assert not f.cache_contains(1)
            gate.open.set()
            assert await f(1) == 1
            assert gate.started == [1, 1]

        run(main)

    def test_the_last_caller_waits_for_the_cleaning_up(self, run):
        async def main():
            events = []
            started, cleaned = asyncio.Event(), asyncio.Event()

            @cached
            async def f(x):
                started.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    events.append("cleaning")
                    await cleaned.wait()
                    events.append("clean")

            caller = asyncio.create_task(f(1))
            await started.wait()
            caller.cancel()
            await settle()
            assert events == ["cleaning"]
            assert not caller.done()
            cleaned.set()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert events == ["cleaning", "clean"]

        run(main)

    def test_who_comes_during_the_cleaning_up_gets_a_call_of_his_own(self, run):
        async def main():
            calls = []
            started, cleaned = asyncio.Event(), asyncio.Event()

            @cached
            async def f(x):
                calls.append(x)
                if len(calls) > 1:
                    return "second"
                started.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    await cleaned.wait()

            caller = asyncio.create_task(f(1))
            await started.wait()
            caller.cancel()
            await settle()
            assert await f(1) == "second"
            cleaned.set()
            with pytest.raises(asyncio.CancelledError):
                await caller
            assert await f(1) == "second"
            assert len(calls) == 2

        run(main)

    def test_an_only_caller_sees_what_the_function_makes_of_his_cancellation(self, run):
        async def main():
            async def stubborn(x):
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    return "anyway"

            async def failing(x):
                try:
                    await asyncio.Event().wait()
                finally:
                    raise LookupError

            for func in (stubborn, failing):
                plain, ours = asyncio.create_task(func(1)), asyncio.create_task(cached(func)(1))
                await settle()
                plain.cancel()
                ours.cancel()
                answers = await asyncio.gather(plain, ours, return_exceptions=True)
                assert type(answers[0]) is type(answers[1])
                assert str(answers[0]) == str(answers[1])

        run(main)

    def test_cancelling_twice_reaches_the_cleaning_up(self, run):
        async def main():
            events = []

            @cached
            async def f(x):
                try:
                    await asyncio.Event().wait()
                finally:
                    try:
                        await asyncio.Event().wait()
                    except asyncio.CancelledError:
                        events.append("second")
                        raise

            caller = asyncio.create_task(f(1))
            await settle()
            caller.cancel()
            await settle()
            assert events == []
            caller.cancel()
            await settle()
            assert caller.cancelled()
            assert events == ["second"]

        run(main)

    def test_a_timeout_times_out(self, run):
        async def main():
            gate = Gate()
            f = cached(gate)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await f(1)
            assert gate.cancelled == [1]

        run(main)

    def test_a_function_that_cancels_itself(self, run):
        async def main():
            @cached
            async def f(x):
                raise asyncio.CancelledError

            callers = [asyncio.create_task(f(1)) for _ in range(2)]
            await asyncio.wait(callers)
            assert all(caller.cancelled() for caller in callers)

        run(main)

    def test_an_exception_nobody_waits_for_is_not_reported(self, run):
        async def main():
            started = asyncio.Event()

            @cached
            async def f(x):
                started.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    raise LookupError("seen by nobody")

            callers = [asyncio.create_task(f(1)) for _ in range(2)]
            await started.wait()
            await settle()
            for caller in callers:
                caller.cancel()
            await settle()
            assert callers[0].cancelled()
            del callers

        with pytest.raises(AssertionError):
            # The last caller gets the LookupError; nobody looks at that caller here, and asyncio reports
            # it.
            run(main)

    def test_cancelled_in_the_same_turn_as_the_answer(self, run):
        async def main():
            for outcome in (lambda x: x, failing(LookupError())):
                gate = Gate(outcome)
                f = cached(gate)
                callers = [asyncio.create_task(f(1)) for _ in range(3)]
                await gate.has_started()
                await settle()
                gate.open.set()
                while not gate.ended:
                    await asyncio.sleep(0)
                callers[0].cancel()
                await settle()
                assert all(caller.done() for caller in callers)
                for caller in callers:
                    caller.cancelled() or caller.exception()

        run(main)

    def test_the_end_of_the_loop(self, run):
        events = []

        @cached
        async def f(x):
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                events.append("clean")

        async def main():
            callers = [asyncio.create_task(f(x)) for x in (1, 1, 2)]
            await settle()
            return callers

        callers = run(main)
        assert events == ["clean", "clean"]
        assert all(caller.cancelled() for caller in callers)


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


class TestAnySchedule:
    """Callers come, are cancelled, calls end well or badly or are invalidated, in any order."""

    steps = st.one_of(
        st.tuples(st.just("call"), st.integers(0, 2)),
        st.tuples(st.just("cancel"), st.integers(0, 20)),
        st.tuples(st.sampled_from(["finish", "fail", "invalidate"]), st.integers(0, 2)),
        st.tuples(st.just("turn"), st.integers(1, 3)),
    )

    @settings(deadline=None)
    @given(st.lists(steps, max_size=30))
    def test_everybody_gets_an_answer_to_his_question_and_nothing_is_left(self, script):
        running: dict[int, list[asyncio.Future[object]]] = {0: [], 1: [], 2: []}
        invalidated: set[asyncio.Future[object]] = set()
        doomed = {0: 0, 1: 0, 2: 0}  # calls that were invalidated before they began
        reports = []

        @cached
        async def f(key):
            # Those that were invalidated or given up may still be ending; of the others there is but one.
            assert not [end for end in running[key] if end not in invalidated and not end.cancelled()]
            end = asyncio.get_running_loop().create_future()
            running[key].append(end)
            if doomed[key]:
                doomed[key] -= 1
                invalidated.add(end)
            try:
                return key, await end
            finally:
                running[key].remove(end)

        flights = inspect.getclosurevars(f.cache_invalidate).nonlocals["flights"]

        async def main():
            asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
            callers = []
            cancelled = set()
            for what, argument in script:
                if what == "call":
                    callers.append((argument, asyncio.create_task(f(argument))))
                elif what == "cancel" and argument < len(callers):
                    task = callers[argument][1]
                    if task.cancel():
                        cancelled.add(task)
                elif what == "turn":
                    for _ in range(argument):
                        await asyncio.sleep(0)
                elif what == "invalidate":
                    invalidated.update(running[argument])
                    for on_their_way in flights._loops.values():
                        flight = on_their_way.get(argument)
                        if flight and inspect.getcoroutinestate(flight.task.get_coro()) == "CORO_CREATED":
                            doomed[argument] += not flight.stale
                    f.cache_invalidate(argument)
                elif what in ("finish", "fail"):
                    for end in running[argument]:
                        if not end.done():
                            end.set_exception(LookupError(argument)) if what == "fail" else end.set_result(
                                "answer"
                            )
            await settle()
            for ends in running.values():
                for end in ends:
                    if not end.done():
                        end.set_result("at last")
            await settle()
            for ends in running.values():  # calls that began when others were given up
                for end in ends:
                    if not end.done():
                        end.set_result("at last")
            answers = await asyncio.gather(*(task for _, task in callers), return_exceptions=True)
            for (key, task), answer in zip(callers, answers, strict=True):
                if isinstance(answer, asyncio.CancelledError):
                    assert task in cancelled
                elif isinstance(answer, LookupError):
                    assert answer.args == (key,)
                else:
                    assert answer[0] == key
            await settle()
            assert not flights._loops
            assert not any(running.values())

        asyncio.run(asyncio.wait_for(main(), 30))
        gc.collect()
        assert reports == []
