"""Event loops that must end clean, and methods whose caches start empty."""

from __future__ import annotations

import asyncio
import gc

import pytest
from instances import Number, Plain, Slotted


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


@pytest.fixture(autouse=True)
def empty():
    yield
    for method in (Plain.f, Slotted.f, Number.plus):
        method.cache_clear()
