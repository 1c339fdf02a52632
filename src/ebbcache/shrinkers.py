"""The registry of shrinkers: who can give memory back, and how it is asked with care.

The idea is OSv's `class shrinker` (core/mempool.cc): a cache registers a name and a
`request_memory(n, hard)`, and whoever watches memory calls it. OSv trusts its callbacks; here they are
user code and therefore hostile. Bounds: registering, unregistering and the death of an owner are one
dict operation each, O(1), and take no lock at all; no callback ever runs under a lock; whatever a
callback does, the worst it costs is its own time and an answer of 0 bytes.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import operator
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import thread_time
from types import FunctionType, MethodType, TracebackType
from typing import Any, TypeVar, cast, overload

from ebbcache.clock import clock
from ebbcache.forking import in_child
from ebbcache.gil import taking
from ebbcache.units import format_bytes

__all__ = ["Gave", "Offer", "Record", "Shrinker", "register_shrinker", "registered"]

ShrinkFunction = Callable[[int, bool], int]
"""`(target, hard) -> freed`: free about `target` bytes and return the bytes freed."""
SizeFunction = Callable[[], int | None]
"""`() -> bytes held`, or None if not known now; cheap enough to be called at every look at memory."""
TallyFunction = Callable[[bool], Mapping[int, int] | None]
"""`(hard) -> bytes by density class`, or None to be divided by size this time."""
AnyShrinkFunction = TypeVar("AnyShrinkFunction", bound=ShrinkFunction)
AnyCallable = TypeVar("AnyCallable", bound=Callable[..., Any])

logger = logging.getLogger("ebbcache")

# A call is slow when it takes longer than SLOW and brings less than WORTHWHILE bytes a second; freeing a
# gigabyte in small entries takes seconds and is no reason to leave a big cache out. A slow shrinker
# rests REST times as long as it took (LONGEST_REST seconds at most), so that soft reclaim spends about a
# hundredth of its time in it.
SLOW = 0.1
WORTHWHILE = 8 * 1024 * 1024
REST = 100.0
LONGEST_REST = 60.0
MOST_CAUSES = 32
PIECE = 64 * 1024  # bytes: less is not worth a call

# Every change is one dict operation with an int key: atomic, and unable to run anyone's code. So the
# callback of a weak reference may run in the middle of anything, garbage collection included.
_registry: dict[int, Shrinker] = {}
_serials = itertools.count(1)
_hooks: list[Callable[[], object]] = []

# For counters that several threads change. It is held over straight-line code only, and re-entrant
# because a garbage collection on its way out may run a finaliser that counts something.
_lock = threading.RLock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()


in_child(_renew_lock)


@dataclass(frozen=True, slots=True)
class Record:
    """What a shrinker did so far: `asked` and `answered` in bytes, `slowest` call in seconds."""

    calls: int
    asked: int
    answered: int
    errors: int
    slowest: float
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Gave:
    """One shrinker's part in a reclaim: bytes `asked` of it and `freed` by it, in `seconds`.

    `error` says what went wrong (the last thing, if several did), or is None.
    """

    name: str
    asked: int
    freed: int
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a shrinker could give: the size it states, its tally, and what its past makes likely (bytes).

    `held` is None if it states no size; `tally` (bytes by density class) if it keeps none; `likely` if
    it was never called.
    """

    held: int | None
    tally: Mapping[int, int] | None = None
    likely: int | None = None


class NonsenseError(ValueError):
    """A callback answered something that is no number of bytes."""


def whole(answer: object) -> int:
    """Return what user code answered as an exact int of bytes, or raise NonsenseError."""
    if type(answer) is int and answer >= 0:
        return answer
    # operator.index takes the integers of numpy as well, and makes an exact int of a subclass of int,
    # whose comparisons could be anything.
    if isinstance(answer, bool):
        raise NonsenseError("answered a bool, not a number of bytes")
    try:
        number = operator.index(answer)  # type: ignore[arg-type]  # that is the question
    except TypeError:
        raise NonsenseError(f"answered {type(answer).__name__}, not a number of bytes") from None
    if number < 0:
        raise NonsenseError(f"answered {number}, a negative number of bytes")
    return number


def hold(func: AnyCallable, gone: Callable[[object], None]) -> Callable[[], AnyCallable | None]:
    """Return a callable that gives `func`, or None once the owner of the bound method `func` is dead."""
    if not isinstance(func, MethodType):
        return lambda: func
    function = func.__func__
    try:
        owner = weakref.ref(func.__self__, gone)
    except TypeError:
        raise TypeError(
            f"{func!r} cannot be held weakly: add '__weakref__' to the __slots__ of "
            f"{type(func.__self__).__name__}, or register a function"
        ) from None

    # What weakref.WeakMethod does in twice the time: it guards against the death of the function as well.
    def get() -> AnyCallable | None:
        alive = owner()
        return None if alive is None else cast("AnyCallable", MethodType(function, alive))

    return get


def _nothing() -> None:
    """Stand in for a callable that is gone."""


def _forget(registry: dict[int, Shrinker], serial: int, _: object) -> None:
    # The registry comes as an argument because at interpreter exit an owner may outlive our globals.
    shrinker = registry.pop(serial, None)
    if shrinker is not None:
        shrinker.unregister()


class Shrinker:
    """The handle of a registered shrinker: unregister it, use it as a context manager, read its record.

    Made by `register_shrinker`. `name` is what it was registered as; names need not be unique.
    """

    __slots__ = (
        "__weakref__",
        "_answered",
        "_asked",
        "_calls",
        "_causes",
        "_errors",
        "_func",
        "_last_error",
        "_likely",
        "_pace",
        "_registry",
        "_rests_until",
        "_size",
        "_slowest",
        "_tally",
        "name",
        "serial",
    )

    def __init__(
        self, name: str, func: ShrinkFunction, size: SizeFunction | None, tally: TallyFunction | None
    ) -> None:
        self.name = name
        self._registry = _registry
        self.serial = next(_serials)
        gone = partial(_forget, _registry, self.serial)
        self._func: Callable[[], ShrinkFunction | None] = hold(func, gone)
        self._size: Callable[[], SizeFunction | None] = _nothing if size is None else hold(size, gone)
        self._tally: Callable[[], TallyFunction | None] = _nothing if tally is None else hold(tally, gone)
        self._calls = self._asked = self._answered = self._errors = 0
        self._slowest = self._rests_until = 0.0
        self._last_error: str | None = None
        self._likely: int | None = None
        self._pace = 0.0
        self._causes: set[str] = set()

    @property
    def registered(self) -> bool:
        """Whether reclaiming still asks this shrinker; False once unregistered or its owner is dead."""
        return self.serial in self._registry

    @property
    def record(self) -> Record:
        """The record of all calls so far."""
        return Record(
            self._calls, self._asked, self._answered, self._errors, self._slowest, self._last_error
        )

    def unregister(self) -> None:
        """Take the shrinker out of the registry. Harmless if done twice; never waits.

        A call that runs in another thread at this moment runs to its end.
        """
        self._registry.pop(self.serial, None)
        # A handle that someone keeps should not keep the callbacks' closures.
        self._func = self._size = self._tally = _nothing

    def __enter__(self) -> Shrinker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unregister()

    def __repr__(self) -> str:
        record = self.record
        return (
            f"<Shrinker {self.name!r}{'' if self.registered else ' (unregistered)'}: "
            f"{record.calls} calls, asked {format_bytes(record.asked)}, "
            f"answered {format_bytes(record.answered)}, {record.errors} errors, "
            f"slowest {record.slowest:.3f} s>"
        )

    # What follows is for the engine and the rooms above it.

    def calls_for(self, func: object) -> bool:
        """Whether `func` itself is what this shrinker calls."""
        return self._func() is func

    @property
    def tallies(self) -> bool:
        """Whether it was registered with a tally, as every cache of ebbcache is."""
        return self._tally is not _nothing

    def resting(self, now: float) -> bool:
        """Whether it was slow so recently that soft rounds should pass it over (seconds of `clock`).

        Never a cache: it frees in slices, and is slow only when its thread does not get to run.
        """
        return now < self._rests_until and not self.tallies

    def held(self) -> int | None:
        """Ask for the size it states, in bytes; None if it states none, or nonsense, or is gone."""
        size = self._size()
        if size is None:
            return None
        try:
            answer = size()
            return None if answer is None else whole(answer)
        except Exception as exc:
            self._failed("size", exc)
            return None

    def within(self, seconds: float) -> int:
        """Return the bytes that a cache is likely to free in `seconds`; no limit if it is none."""
        if not self.tallies:
            return sys.maxsize
        return max(int(self._pace * seconds), PIECE)

    def offer(self, hard: bool, most: int, *, tally: bool = True) -> Offer:
        """Ask what it could give, with its tally unless `tally` is False. Slow answers make it rest."""
        start = clock.tick()
        held = self.held()
        if held is not None:
            held = min(held, most)
        classes: dict[int, int] | None = None
        func = self._tally() if tally and held != 0 else None
        if func is not None:
            try:
                answer = func(hard)
                if answer is not None:
                    classes = {operator.index(c): whole(b) for c, b in answer.items()}
            except Exception as exc:
                self._failed("tally", exc)
        self._timed(clock.tick() - start, 0)
        return Offer(held, classes, self._likely)

    def ask(self, target: int, hard: bool, most: int) -> Gave:
        """Call it for `target` bytes; what it answers is clamped to `most` and to the size it states.

        Only exceptions that are no Exception (KeyboardInterrupt, SystemExit) pass through, recorded.
        """
        held = self.held()
        func = self._func()
        if func is None or not self.registered:
            return Gave(self.name, 0, 0, 0.0)
        freed = 0
        error: str | None = "interrupted"
        start, working = clock.tick(), thread_time()
        try:
            freed, error = min(whole(func(target, hard)), most), None
            if held is not None:
                freed = min(freed, held)
        except Exception as exc:
            error = self._failed("shrink", exc)
        finally:
            seconds = max(clock.tick() - start, 0.0)
            self._calls += 1
            self._asked += target
            self._answered += freed
            self._slowest = max(self._slowest, seconds)
            # Whoever gave all it was asked for may hold more; whoever gave less has shown its bottom.
            self._likely = min(2 * freed, most) if freed >= target else freed
            worked = thread_time() - working
            if freed and worked > 0:
                self._pace = freed / worked
            if error == "interrupted":
                self._last_error = error
            self._timed(seconds, freed)
        return Gave(self.name, target, freed, seconds, error)

    def _timed(self, seconds: float, freed: int) -> None:
        if seconds > SLOW and freed < seconds * WORTHWHILE:
            self._rests_until = clock.now + min(REST * seconds, LONGEST_REST)
        elif freed:
            self._rests_until = 0.0

    def _failed(self, what: str, exc: Exception) -> str:
        """Count and describe an exception of user code; log it if this cause is new."""
        try:
            text = "".join(traceback.format_exception_only(exc)).strip()
        except Exception:  # a hostile exception class
            text = "an exception that cannot be described"
        error = f"{what}: {text}"
        # Text, not the exception or its class: those would keep frames and modules alive.
        cause = f"{what} {type(exc).__module__}.{type(exc).__qualname__}"
        for _ in taking(_lock):
            try:
                self._errors += 1
                self._last_error = error
            finally:
                _lock.release()
            break
        if cause not in self._causes and len(self._causes) < MOST_CAUSES:
            self._causes.add(cause)
            try:
                logger.warning(
                    "shrinker %r failed in %s; further failures of this kind are only counted",
                    self.name,
                    error,
                    exc_info=exc,
                )
            except Exception:  # a logging filter is user code as well
                pass
        return error


@overload
def register_shrinker(
    name: str, func: ShrinkFunction, *, size: SizeFunction | None = None, tally: TallyFunction | None = None
) -> Shrinker: ...


@overload
def register_shrinker(
    name: str, func: None = None, *, size: SizeFunction | None = None, tally: TallyFunction | None = None
) -> Callable[[AnyShrinkFunction], AnyShrinkFunction]: ...


def register_shrinker(
    name: str,
    func: ShrinkFunction | None = None,
    *,
    size: SizeFunction | None = None,
    tally: TallyFunction | None = None,
) -> Shrinker | Callable[[AnyShrinkFunction], AnyShrinkFunction]:
    """Register `func(target, hard) -> freed`, to be called when memory runs short.

    `func` should free about `target` bytes and return how many it freed. It is called from any thread,
    with no lock of ebbcache held, one call at a time in the whole process. `hard` False: pressure is
    building, freeing is welcome; True: memory is about to run out, free now.

    `size()` tells the bytes held (cheap: it is asked at every look at memory) and makes shares and answers
    exact. `tally(hard)` gives those bytes by density class (see `ebbcache.engine`), or None to be
    divided by size. Bound methods, all three, are held weakly: when an owner dies, the shrinker is gone.

    Returns the handle, a `Shrinker`. Without `func` it returns a decorator that registers a function and
    leaves it as it is; `registered(name)` finds the handle. Names are for people: they must be
    printable and need not be unique. O(1). Raises TypeError or ValueError for arguments that make no sense.

    >>> hoard = bytearray(4096)
    >>> def give(target, hard):
    ...     freed = len(hoard)
    ...     hoard.clear()
    ...     return freed
    >>> with register_shrinker("hoard", give, size=lambda: len(hoard)) as handle:
    ...     handle.registered
    True
    >>> handle.registered
    False
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str, not {name!r}")
    if not name.strip() or not name.isprintable():
        raise ValueError(f"name must be printable and not blank, got {name!r}")
    name = str.__str__(name)
    for argument, value in (("func", func), ("size", size), ("tally", tally)):
        if value is not None and not callable(value):
            raise TypeError(f"{argument} must be callable or None, not {value!r}")
        if inspect.iscoroutinefunction(value):
            raise TypeError(f"{argument} must be a plain function, not the coroutine function {value!r}")

    if func is not None:
        if isinstance(func, FunctionType):
            try:
                inspect.signature(func).bind(0, False)
            except TypeError as exc:
                raise TypeError(f"func must take (target, hard), {func!r} does not: {exc}") from None
        shrinker = Shrinker(name, func, size, tally)
        _registry[shrinker.serial] = shrinker
        for hook in _hooks:
            hook()
        return shrinker

    def decorate(func: AnyShrinkFunction) -> AnyShrinkFunction:
        register_shrinker(name, func, size=size, tally=tally)
        return func

    return decorate


def registered(name: str | None = None) -> tuple[Shrinker, ...]:
    """Return the handles of all registered shrinkers, or those called `name`, oldest first. O(n)."""
    # dict.copy is atomic where iterating is not: a garbage collection can take dead owners out meanwhile.
    everyone = _registry.copy().values()
    return tuple(everyone) if name is None else tuple(s for s in everyone if s.name == name)


def when_registered(hook: Callable[[], object]) -> None:
    """Have `hook()` called after every registration, in the thread that registers; it must not raise."""
    _hooks.append(hook)
