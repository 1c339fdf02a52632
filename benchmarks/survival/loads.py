"""What else takes memory in the program: saw-teeth, stairs, bursts, leaks, and files read.

A load runs in a thread of its own, beside the requests. *When* is told by the progress of the requests (0
to 1), so that every cache sees the same load at the same request; *how fast* by the clock. `gil` takes
memory inside one C call that keeps the interpreter lock from the first byte to the end: ctypes.PyDLL
functions called by `map` consumed by a `deque`, with no bytecode between them.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from operator import call
from typing import Any

from benchmarks.survival import MIB


class Loads:
    """The bytes that the program's other half holds, and what it does to them; `progress` is 0 to 1."""

    def __init__(self, progress: Callable[[], float], tell: Callable[..., None], limit: int) -> None:
        self.progress = progress
        self.tell = tell
        self.limit = limit
        self.held: list[Any] = []
        self.own = 0

    def until(self, progress: float) -> None:
        while self.progress() < progress:
            time.sleep(0.004)

    def take(self, amount: int, how: str, rate: float, seconds: float = 0.0) -> None:
        """Hold `amount` bytes more, taken at `rate` bytes a second at most."""
        if how == "gil":
            self._take_in_one_call(amount, rate, seconds)
            return
        if how == "json":
            # 9 bytes of text a number, 40 in memory: what such a parse takes is that of its own making.
            text = json.dumps([{"number": n} for n in range(1000)])
            many = "[" + ",".join([text] * (amount // 290_000)) + "]"
            self.held.append(json.loads(many))
            self.own += amount
            return
        began, taken = time.perf_counter(), 0
        while taken < amount:
            piece = min(amount - taken, MIB if how == "python" else 4 * MIB)
            self.held.append(self._piece(piece, how))
            taken += piece
            self.own += piece
            ahead = taken / rate - (time.perf_counter() - began)
            if ahead > 0.001:
                time.sleep(ahead)

    def _piece(self, amount: int, how: str) -> Any:
        if how == "python":
            length = 4000 + len(self.held) % 8  # not a constant: the compiler would make one object of it
            return [b"x" * length for _ in range(amount // 4096)]
        import numpy as np

        return np.ones(amount // 8)

    def _take_in_one_call(self, amount: int, rate: float, seconds: float) -> None:
        region = mmap.mmap(-1, amount)
        view = (ctypes.c_char * amount).from_buffer(region)
        address = ctypes.addressof(view)
        library = ctypes.PyDLL(None)
        fill, sleep = library.memset, library.usleep
        fill.argtypes, fill.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], ctypes.c_void_p
        pause = int(1e6 * MIB / rate * 0.7)  # about a third of the time goes to touching
        steps: list[Callable[[], object]] = []
        for at in range(0, amount, MIB):
            steps += [partial(fill, address + at, 1, min(MIB, amount - at)), partial(sleep, pause)]
        left = seconds - amount / rate
        if left > 0:
            steps.append(partial(sleep, int(left * 1e6)))
        deque(map(call, steps), maxlen=0)
        self.held.append((region, view))
        self.own += amount

    def drop(self, keep: int = 0) -> None:
        """Give back all but `keep` bytes (pieces are of one size in a load that keeps some)."""
        if keep == 0:
            self.held.clear()
            self.own = 0
            return
        piece = self.own // max(1, len(self.held))
        while self.own > keep and self.held:
            self.held.pop()
            self.own -= piece

    # ------------------------------------------------------------------------------------------ the kinds

    def burst(
        self,
        *,
        at: float,
        until: float,
        share: float,
        how: str,
        rate: float,
        room: bool = False,
        seconds: float = 0.0,
        times: int = 1,
    ) -> None:
        """Take `share` of the limit at once and hold it, `times` times between `at` and `until`."""
        every = (until - at) / times
        for number in range(times):
            self.until(at + number * every)
            amount = int(share * self.limit)
            with self._room(amount if room else 0):
                began = time.monotonic()
                self.tell("burst", size=amount, how=how)
                self.take(amount, how, rate, seconds)
                self.tell("taken", size=amount, took=round(time.monotonic() - began, 4))
            self.until(at + (number + 0.6) * every)
            self.drop()
            self.tell("dropped", size=amount)

    def _room(self, amount: int) -> contextlib.AbstractContextManager[Any]:
        if not amount:
            return contextlib.nullcontext()
        import ebbcache

        return ebbcache.make_room(amount)

    def saw(self, *, at: float, until: float, share: float, how: str, rate: float, times: int) -> None:
        """Rise evenly to `share` of the limit and fall at once, `times` times."""
        every = (until - at) / times
        top = int(share * self.limit)
        for number in range(times):
            start = at + number * every
            self.until(start)
            self.tell("burst", size=top, how=how)
            while (part := (self.progress() - start) / (0.8 * every)) < 1:
                if self.own < part * top:
                    self.take(4 * MIB, how, rate)
                else:
                    time.sleep(0.004)
            self.drop()
            self.tell("dropped", size=top)

    def stairs(self, *, at: float, until: float, share: float, how: str, rate: float, step: int) -> None:
        """Climb to `share` of the limit in steps, each taken at once, and climb down again."""
        count = max(1, int(share * self.limit) // step)
        every = (until - at) / (2 * count)
        for number in range(count):
            self.until(at + number * every)
            self.tell("burst", size=step, how=how)
            self.take(step, how, rate)
        for number in range(count):
            self.until(at + (count + number) * every)
            self.drop(keep=step * (count - 1 - number))
        self.drop()
        self.tell("dropped", size=step * count)

    def leak(self, *, at: float, rate: float, how: str) -> None:
        """Take more and more, for ever."""
        self.until(at)
        self.tell("burst", size=self.limit, how=how)
        while True:
            self.take(MIB, how, rate)

    def files(self, *, at: float, until: float, path: str, times: float, mapped: bool = False) -> None:
        """Read a file of twice the limit, again and again: `times` times the limit in all."""
        self.until(at)
        self.tell("reading", size=int(times * self.limit))
        begin, size, read = at, os.path.getsize(path), 0
        with open(path, "rb", buffering=0) as file:
            window = mmap.mmap(file.fileno(), 48 * MIB, prot=mmap.PROT_READ) if mapped else None
            for at_byte in _again(size, 4 * MIB):
                if read >= times * self.limit:
                    break
                self.until(begin + (until - begin) * read / (times * self.limit))
                read += len(os.pread(file.fileno(), 4 * MIB, at_byte))
                if window is not None:
                    sum(window[:: mmap.PAGESIZE])
        self.tell("read", size=read)

    def run(self, spec: dict[str, Any]) -> None:
        """Do what `spec` names under "kind", with the rest as arguments."""
        arguments = dict(spec)
        getattr(self, arguments.pop("kind"))(**arguments)


def _again(size: int, step: int) -> Iterator[int]:
    while True:
        yield from range(0, size, step)
