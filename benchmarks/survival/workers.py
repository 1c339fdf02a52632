"""Several worker processes under one limit, forked after the cache was filled; some die, others follow.

The parent is what gunicorn calls a master: it fills the cache (preloading), forks, takes and drops memory
of its own, and every so often kills a worker (SIGKILL, amid whatever it does) and forks another. Where
workers are to be starved, they get no processor from the beginning of each burst until 0.3 s after it, so
that nobody but the parent can evict.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.survival.program import Program


STARVED = 0.3  # s


def serve(program: Program) -> None:
    """Fill, fork, and look after the workers until the time is up; each tells its own summary."""
    from benchmarks.survival.program import tell

    spec = program.spec
    count: int = spec["workers"]
    program.start()
    filled, number = 0, 0
    while filled < spec.get("preload", 0.25) * program.limit:
        program.front.set(number, program.kind.make(number))
        filled += program.kind.mean
        number += 1
    end = program.began + program.seconds + 0.2
    seeds = iter(range(spec["seed"] * 1000, 10**9))

    def fork() -> int:
        seed = next(seeds)
        pid = os.fork()
        if pid == 0:
            left = max(0.5, end - time.monotonic())
            program.spec["loads"] = []
            program.loads.own = 0  # what it inherited is the parent's, and counted there
            program.seconds = program.longest = left
            try:
                requests = max(1, int(spec["requests"] / count * left / spec["seconds"]))
                program.serve([(seed, requests, "both")])
            finally:
                os._exit(0)
        return pid

    workers = {fork() for _ in range(count)}
    if spec.get("starved"):
        take = program.loads.take

        def take_alone(*arguments: Any) -> None:
            stopped = workers.copy()
            for worker in stopped:
                os.kill(worker, signal.SIGSTOP)
            take(*arguments)
            time.sleep(STARVED)
            for worker in stopped:
                os.kill(worker, signal.SIGCONT)

        program.loads.take = take_alone  # type: ignore[method-assign]
    for load in spec.get("loads", []):
        threading.Thread(target=program.loads.run, args=(load,), daemon=True).start()
    threading.Thread(target=program.report, daemon=True).start()
    every = spec.get("dies_every", 0.0)
    due = time.monotonic() + every
    while workers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        now = time.monotonic()
        if pid:
            workers.discard(pid)
            if status and os.WIFSIGNALED(status):
                tell("lost", worker=pid, signal=os.WTERMSIG(status))
            elif status:
                tell("lost", worker=pid, code=status)
            continue
        if every and now >= due and now < end - 1.0:
            due = now + every
            victim = min(workers)
            tell("replaced", worker=victim)
            os.kill(victim, signal.SIGKILL)
            os.waitpid(victim, 0)
            workers.discard(victim)
            workers.add(fork())
        if now > end + 120:
            for victim in workers:
                os.kill(victim, signal.SIGKILL)
            tell("hung", workers=len(workers))
            break
        time.sleep(0.02)
    program.stop = True
    tell("end", cached=program.front.cached(), hits=0, misses=0, failed=0, errors=[])
    os._exit(0)
