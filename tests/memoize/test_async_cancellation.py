"""Callers of a shared call who are cancelled, each alone and in any order with everything else."""

from __future__ import annotations

import asyncio
import gc
import inspect

import pytest
from gates import Gate, failing, settle
from hypothesis import given, settings
from hypothesis import strategies as st

from ebbcache import cached


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
