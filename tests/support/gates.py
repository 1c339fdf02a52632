"""Coroutine functions that tests hold up and let go, and patience with an event loop."""

from __future__ import annotations

import asyncio


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


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)
