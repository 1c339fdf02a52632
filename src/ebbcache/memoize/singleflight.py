"""Single flight: while a coroutine computes a key, whoever else asks for that key waits for it.

The idea is that of Go's ``singleflight`` package (groupcache, 2013), with asyncio's cancellation added: the
computation is a task of its own, so that a caller who is cancelled takes nobody else's answer away; when
the last caller is cancelled the task is cancelled too, and that caller waits until it has cleaned up, just
as if it had awaited the coroutine itself.

Bound: at most one running call for each key and event loop; joining costs one future. A call that would
wait for itself, be it through other keys and functions, is made afresh instead, so that endless recursion
ends in a RecursionError as it does without a cache, not in a hang.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from asyncio import AbstractEventLoop, CancelledError, Future, Task
from collections.abc import Awaitable, Callable, Hashable
from time import perf_counter
from typing import Any, Final


class _Flight:
    """One computation on its way and those who wait for it."""

    __slots__ = ("awaits", "depth", "over", "stale", "task", "waiters")

    def __init__(self, parent: _Flight | None) -> None:
        self.task: Task[Any] | None = None  # None while it is being started
        self.waiters: set[Future[Any]] = set()
        # What code within this flight waits for; each place that waits has a key of its own.
        self.awaits: dict[object, _Flight] = {}
        self.depth: int = parent.depth + 1 if parent is not None else 1
        if self.depth > sys.getrecursionlimit():
            # Each task has a stack of its own, so the interpreter would not notice.
            raise RecursionError("maximum recursion depth exceeded in calls of cached coroutine functions")
        self.over = False
        self.stale = False  # invalidated or abandoned: nobody joins it, the cache does not keep its value

    def needs(self, other: _Flight) -> bool:
        """Say whether this flight waits for *other*, directly or through further flights."""
        seen: set[_Flight] = {self}
        todo: list[_Flight] = [self]
        while todo:
            flight = todo.pop()
            if flight is other:
                return True
            fresh = set(flight.awaits.values()) - seen
            seen |= fresh
            todo.extend(fresh)
        return False

    def land(self, task: Task[Any]) -> None:
        """Give the outcome to everyone who waits (the task's done callback)."""
        self.over = True
        # Asking a task for its exception also tells asyncio that somebody has seen it.
        error = None if task.cancelled() else task.exception()
        for waiter in self.waiters:
            if waiter.done():
                continue
            if task.cancelled():
                waiter.cancel()
            elif error is not None:
                waiter.set_exception(error)
                waiter.exception()  # whoever waits may be cancelled at this very moment and never look
            else:
                waiter.set_result(task.result())


# The flight in whose task the running code is: what it waits for, that flight waits for.
_current: Final[contextvars.ContextVar[_Flight | None]] = contextvars.ContextVar(
    "ebbcache_flight", default=None
)


class Flights:
    """The computations of one function that are on their way, for each event loop.

    *keep* stores ``(key, value, began)``, the last by `time.perf_counter`. The flights of a loop are
    touched only by the thread that runs it, except by `forget` and `forget_all`, which any thread may call.
    """

    def __init__(self, keep: Callable[..., None]) -> None:
        self._keep = keep
        self._loops: dict[AbstractEventLoop, dict[Hashable, _Flight]] = {}

    def forget(self, key: Hashable) -> None:
        """Let nobody join the calls that compute *key* now, nor the cache keep what they answer."""
        for flights in list(self._loops.values()):
            flight = flights.get(key)
            if flight is not None:
                flight.stale = True

    def forget_all(self, which: Callable[[Any], bool] | None = None) -> None:
        """Do what `forget` does for every key, or for those of which *which* is true."""
        for flights in list(self._loops.values()):
            for key, flight in list(flights.items()):
                if which is None or which(key):
                    flight.stale = True

    async def share(self, key: Hashable, call: Callable[[], Awaitable[Any]], *extra: object) -> Any:
        """Answer what *call* answers, or what the call for *key* answers that is already on its way.

        *keep* gets *extra* after its other arguments. A new call runs in a copy of the caller's context,
        like any task; under an event loop that is not asyncio's nothing is shared.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return await self._fly(None, key, call, extra)

        parent = _current.get()
        if parent is not None and parent.over:
            parent = None  # a task that outlives the flight it was started in
        flights = self._flights(loop)
        flight = flights.get(key)
        if flight is None or flight.over or flight.stale:
            flight = self._start(loop, flights, key, call, extra, _Flight(parent))
        elif parent is not None and flight.needs(parent):
            return await _detour(call, parent)

        waiter = loop.create_future()
        flight.waiters.add(waiter)
        if parent is not None:
            parent.awaits[waiter] = flight
        try:
            return await waiter
        except CancelledError as error:
            flight.waiters.discard(waiter)
            task = flight.task
            if flight.waiters or flight.over or task is None:
                raise
            flight.stale = True  # later callers want a call of their own, not the end of this one
            return await _abandoned(task, error)
        finally:
            flight.waiters.discard(waiter)
            if parent is not None:
                del parent.awaits[waiter]

    def _flights(self, loop: AbstractEventLoop) -> dict[Hashable, _Flight]:
        flights = self._loops.get(loop)
        if flights is None:
            # A loop that was closed with calls on their way never tells; look when another one comes.
            for other in list(self._loops):
                if other.is_closed():
                    self._loops.pop(other, None)
            flights = self._loops[loop] = {}
        return flights

    def _start(
        self,
        loop: AbstractEventLoop,
        flights: dict[Hashable, _Flight],
        key: Hashable,
        call: Callable[[], Awaitable[Any]],
        extra: tuple[object, ...],
        flight: _Flight,
    ) -> _Flight:
        def landed(task: Task[Any]) -> None:
            flight.land(task)
            if flights.get(key) is flight:
                flights.pop(key, None)
            if not flights and self._loops.get(loop) is flights:
                self._loops.pop(loop, None)

        flights[key] = flight  # before the task, for an eager one may call for the same key at once
        flight.task = loop.create_task(self._fly(flight, key, call, extra))
        flight.task.add_done_callback(landed)
        return flight

    async def _fly(
        self,
        flight: _Flight | None,
        key: Hashable,
        call: Callable[[], Awaitable[Any]],
        extra: tuple[object, ...],
    ) -> Any:
        if flight is not None:
            _current.set(flight)
        began = perf_counter()
        value = await call()
        if flight is None or not flight.stale:
            self._keep(key, value, began, *extra)
        return value


async def _detour(call: Callable[[], Awaitable[Any]], parent: _Flight) -> Any:
    """Make a call afresh that would wait for itself: it recurs, perhaps without end, within *parent*."""
    detour = _Flight(parent)
    parent.awaits[detour] = detour
    token = _current.set(detour)
    try:
        return await call()
    finally:
        detour.over = True
        del parent.awaits[detour]
        try:
            _current.reset(token)
        except ValueError:  # closed from another context, at the end of its loop
            pass


async def _abandoned(task: Task[Any], error: CancelledError) -> Any:
    """Cancel *task* and stay until it has ended: what its only caller would have seen without a cache."""
    if not task.cancelling():  # at the end of asyncio.run every task is cancelled, this one too
        task.cancel(*error.args)
    while not task.done():
        try:
            await asyncio.wait((task,))
        except CancelledError as again:
            task.cancel(*again.args)
    return task.result()
