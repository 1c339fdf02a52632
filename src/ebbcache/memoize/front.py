"""Hot keys in front of a pure cache: a hit that counts itself, in one look-up and without a call.

A dict from keys to *rolls* stands in front of the cache. A roll is an `itertools.repeat` of the value, from
which a hit takes one with a ``for`` loop; the interpreter does both in C, and what is left on the roll is
the count of hits. That is told to the entry and the cache when somebody wants to know: who reads `hits`, or
is about to evict the entry. The idea is CLOCK's (Corbato, 1968): a hit leaves a mark, and a mark is good
for a second chance.

One hit in `SELDOM` that goes the long way shows its entry in front, so hot ones are soon there, and where
all are alike little is lost. Rolls are taken back at the end of an *epoch*, after `EPOCH` seconds or when
half of the cache was inserted anew: no stamp is farther off than that. Only keys are shown whose hash and
comparison are C's (`is_plain`); so an entry can be taken from the front at the very moment it leaves the
cache, without running anybody's code. A hit by an object of another class, whose own ``__eq__`` removes the
entry that it is just compared with, may go uncounted; nothing else does.

Bound: 1.4 to 1.8 times functools for a hit (0.8 with keywords), beside 3.3 to 5.9 (1.5) the long way, by
``python -m benchmarks.latency call`` (2026-11-23, CPython 3.11, Linux x86-64, 2 loaded cores); 250
bytes for each entry that is shown.
"""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, cast

from ebbcache import caches
from ebbcache.clock import clock
from ebbcache.gil import is_free_threaded
from ebbcache.store.entry import Entry
from ebbcache.store.table import Table

if TYPE_CHECKING:
    _Repeated = repeat[Any]
else:
    _Repeated = repeat

ROLL: Final = 10_000
"""Hits that a roll is good for."""
SELDOM: Final = 32
"""Hits that go the long way for one that shows its entry; a power of 2."""
EPOCH: Final = 1.0
"""Seconds that a stamp may be off, as those of the clock may."""
_NOTHING: Final = repeat(None, 0)
_PLAIN: Final[frozenset[type]] = frozenset({int, str, bytes, float, complex, bool, type(None)})


class _Roll(_Repeated):
    """An entry that is shown: its value over and over, and how many were left when last counted."""

    __slots__ = ("entry", "left")

    entry: Entry[Any, Any]
    left: int


class DensityCache(caches.DensityCache[Any, Any]):
    """A pure `ebbcache.DensityCache` for one decorated function, whose wrapper looks into `front` first.

    Copies and pickles are plain caches. Each change is one call, or straight-line code from the test to the
    last store with no call in between where another thread could come in (see `ebbcache.store.table`).
    """

    __slots__ = ("_left", "_rolls", "_turned", "front", "lone")

    front: dict[Any, _Roll]
    """The rolls of what is shown, under the entries' keys."""
    lone: repeat[Any]
    """The roll under the key ``()``, that of calls without arguments; an empty one if it is not shown."""
    _rolls: dict[int, _Roll]  # all that are not counted to their end, by the entries' serials
    _left: int  # inserts until the epoch ends

    def _start(self) -> None:
        self.front = {}
        self.lone = _NOTHING
        self._rolls = {}
        self._turned = clock.now
        self._left = 64
        super()._start()

    # ------------------------------------------------------------------------------------------- showing

    def show(self, entry: Entry[Any, Any]) -> None:
        """Put an entry without a deadline in front, if it is still in the cache. Called in a hit of its
        key."""
        if clock.now - self._turned > EPOCH:
            self._turn()
        key, serial = entry.key, entry.serial
        if not is_plain(key):
            return
        roll = _Roll(entry.value, ROLL)
        roll.entry = entry
        roll.left = ROLL
        is_lone = type(key) is tuple and not key
        before = None
        front, rolls, entries = self.front, self._rolls, self._entries
        if serial in entries and entries[serial] is entry:
            if serial in rolls:
                before = rolls[serial]
            rolls[serial] = roll
            front[key] = roll
            if is_lone:
                self.lone = roll
        if before is not None:
            self._count(before)

    def _hide(self, serial: int) -> int:
        """Take an entry that has left the cache from the front; return its hits that nobody knew of."""
        roll = self._rolls.pop(serial, None)
        if roll is None:
            return 0
        self.lone = _NOTHING
        try:
            found = self.front.pop(roll.entry.key, None) is roll
        except BaseException:  # its class has got another __hash__ since
            found = False
        if not found:
            self.front.clear()
        return self._count(roll)

    def _turn(self) -> None:
        """Begin an epoch: whatever is hit goes the long way again."""
        fresh: dict[int, _Roll] = {}
        rolls, self._rolls = self._rolls, fresh
        self.lone = _NOTHING
        self.front.clear()
        self._turned = clock.now
        self._left = max(64, len(self._entries) // 2)
        for roll in rolls.values():
            self._count(roll)

    # ------------------------------------------------------------------------------------------- counting

    def _count(self, roll: _Roll) -> int:
        left = roll.__length_hint__()
        taken = roll.left - left
        if taken > 0:  # less: another thread has counted since, and later hits, too
            roll.left = left
            entry = roll.entry
            entry.hits += taken
            entry.stamp = clock.now
            self._hits += taken
            return taken
        return 0

    @property
    def hits(self) -> int:
        """Lookups that found a live entry. O(entries in front)."""
        for roll in list(self._rolls.values()):
            self._count(roll)
        return self._hits

    @hits.setter
    def hits(self, count: int) -> None:
        self._turn()
        self._hits = count

    def _victim(self, keep: Entry[Any, Any] | None) -> Entry[Any, Any] | None:
        while True:
            entry = super()._victim(keep)
            roll = None if entry is None else self._rolls.get(entry.serial)
            if roll is None or not self._count(roll):
                return entry
            # Hit since it was looked at: its second chance.

    def _evict(self, nbytes: int, leave: int = 0) -> list[Entry[Any, Any]]:
        self._turn()
        return super()._evict(nbytes, leave)

    def _ranked(self, n: int, hottest: bool) -> list[Entry[Any, Any]]:
        self._turn()
        return super()._ranked(n, hottest)

    def _tally(self, now: float) -> dict[int, int]:
        self._turn()
        return super()._tally(now)

    def _rows(self) -> list[tuple[Any, ...]]:
        self._turn()
        return super()._rows()

    def _held(self) -> int:
        if clock.now - self._turned > EPOCH:  # asked for at each look of the governor
            self._turn()
        return super()._held()

    # ------------------------------------------------------------------------------------------- in step
    # The front follows the table at once, even where an interrupt comes between the two.

    def _put(self, *args: Any, **more: Any) -> tuple[Entry[Any, Any], Entry[Any, Any] | None]:
        try:
            entry, old = super()._put(*args, **more)
            if old is not None and old is not entry:  # one may have taken over the other's serial
                entry.hits += self._hide(old.serial)
        except BaseException:
            self.lone = _NOTHING
            self.front.clear()
            raise
        self._left -= 1
        if self._left < 0:
            self._turn()
        return entry, old

    def _unlink(self, entry: Entry[Any, Any]) -> bool:
        try:
            return super()._unlink(entry)
        finally:
            if self._rolls:
                self._hide(entry.serial)

    def _drain(self) -> list[Entry[Any, Any]]:
        try:
            return super()._drain()
        finally:
            self._turn()

    # ------------------------------------------------------------------------------------------- copies

    def _twin(self) -> Any:
        twin = _plain()
        twin._resume(self.timer, self._settings())  # pyright: ignore[reportPrivateUsage]
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        return _plain, (), self.__getstate__()


def _plain() -> caches.DensityCache[Any, Any]:
    kind: type[caches.DensityCache[Any, Any]] = caches.DensityCache
    return kind.__new__(kind)


KIND: Final[type[caches.DensityCache[Any, Any]]] = (
    DensityCache
    if issubclass(caches.DensityCache, Table) and not is_free_threaded()
    else caches.DensityCache
)
"""What decorators use: it has a front where the store is pure and there is a GIL."""


def is_plain(key: object, depth: int = 2) -> bool:
    """Say whether only C's code hashes and compares *key*: an immutable built-in, or known by identity.

    >>> is_plain((1, "a", object())), is_plain(frozenset())
    (True, False)
    """
    kind = type(key)
    if kind in _PLAIN:
        return True
    if kind is tuple:
        return depth > 0 and all(is_plain(each, depth - 1) for each in cast("tuple[object, ...]", key))
    return type(kind) is type and kind.__hash__ is object.__hash__ and kind.__eq__ is object.__eq__
