"""What must hold of caches and governor after any storm; `wrong` tells what does not.

The invariants are those of docs/design.md that can be seen from outside a test: bytes add up, entries are
their own, estimates stay within what was read, a shrink frees what it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import ebbcache
from benchmarks.survival.values import number_of
from ebbcache import engine

if TYPE_CHECKING:
    from benchmarks.survival.program import Front


def wrong(front: Front) -> list[str]:
    """Return what does not hold of `front`; it is empty of entries afterwards."""
    cache, found = front.cache, []

    def check(holds: bool, what: str) -> None:
        if not holds:
            found.append(what)

    sizes = ebbcache.sizeof
    for _ in range(10):  # the governor's thread may evict meanwhile
        held = cache.nbytes
        entries = list(cache.items())
        if cache.nbytes == held:
            break
    keys = [key for key, _ in entries]
    check(len(keys) == len(set(keys)), f"{len(keys)} keys, {len(set(keys))} of them different")
    check(all(number_of(value) == key for key, value in entries), "a key has another's value")
    total = sum(sizes(key) + sizes(value) + cache.overhead for key, value in entries)
    check(abs(total - held) <= 0.01 * total, f"entries weigh {total}, the total is {held}")
    del entries
    ebbcache.status()
    sight = front.governor.sight
    check(sight.account.cached == engine.sizes(tallied_only=True), "the governor counts other cached bytes")
    for name in ("others", "retained", "cached", "floor"):
        amount = getattr(sight.account, name)
        check(0 <= amount <= sight.account.usage, f"{name} is {amount} of {sight.account.usage}")
    check(0 <= sight.cap <= sight.reading.limit, f"the cap is {sight.cap} of {sight.reading.limit}")
    check(engine.current_pass() is None, "a pass is still under way")
    largest = max((sizes(value) for _, value in cache.items()), default=0) + 4096
    before = cache.nbytes
    freed = cache.shrink(before // 2)
    check(freed == before - cache.nbytes, f"a shrink says {freed}, {before - cache.nbytes} went")
    check(before // 2 <= freed <= before // 2 + largest, f"asked for {before // 2}, a shrink freed {freed}")
    cache.clear()
    check(cache.nbytes == 0 and len(cache) == 0, f"a cleared cache holds {cache.nbytes}")
    return found
