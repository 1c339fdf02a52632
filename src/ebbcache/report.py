"""`ebbcache status` for people: what limits memory here, what binds, what wakes us, what could not be read.

The doctor that someone runs first in a new container, so what is missing is named with its reason rather
than left out. Bound: says only what `status()` found, in at most one line for each source and wake-up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ebbcache.memory.reading import SourceState, WakeupState
from ebbcache.status import GovernorStatus, ShrinkerStatus, Status
from ebbcache.units import format_bytes


def lines(found: Status) -> Iterator[str]:
    """Yield the report on `found`, line by line."""
    yield _headline(found)
    yield ""
    yield "Sources ('*' binds: it leaves the least)"
    rows = [_source(source) for source in found.memory.sources]
    yield from _table(("", "source", "limit", "usage", "left", "where"), rows, right=(2, 3, 4))
    yield ""
    yield "Wake-ups (besides looking every so often)"
    yield from _table(("", "what", "where"), [_wakeup(wakeup) for wakeup in found.memory.wakeups])
    yield ""
    yield from _governor(found.governor)
    yield ""
    why = f": {found.why_pure}" if found.why_pure else ""
    yield f"Shrinkers ({found.store} store{why})"
    if found.shrinkers:
        rows = [_shrinker(shrinker) for shrinker in found.shrinkers]
        yield from _table(("", "name", "holds", "calls", "freed", "errors"), rows, right=(2, 3, 4, 5))
    else:
        yield "  none: no cache in this process yet"


def _headline(found: Status) -> str:
    reading = found.memory.reading
    if reading is None:
        return "Nothing was found that limits this process's memory: caches will not be bounded."
    kind = "a soft ceiling, past which the kernel slows the process down" if reading.soft else "the ceiling"
    return (
        f"{format_bytes(reading.usage)} used of {format_bytes(reading.limit)}, "
        f"{format_bytes(reading.headroom)} left; {kind} is {reading.source}."
    )


def _source(source: SourceState) -> Sequence[str]:
    mark = "*" if source.binding else ("!" if source.error else " ")
    notes = [
        *(["soft"] if source.soft else []),
        *([f"not read: {source.error}"] if source.error else []),
        *([source.note] if source.note else []),
    ]
    where = source.path + (f" ({'; '.join(notes)})" if notes else "")
    limit = "-" if source.error else ("none" if source.limit is None else format_bytes(source.limit))
    return mark, source.name, limit, _amount(source.usage), _amount(source.headroom), where


def _wakeup(wakeup: WakeupState) -> Sequence[str]:
    mark = "+" if wakeup.armed else "!"
    notes = [
        *([wakeup.detail] if wakeup.detail else []),
        *([f"not armed: {wakeup.error or 'no reason known'}"] if not wakeup.armed else []),
    ]
    return mark, wakeup.name, wakeup.path + (f" ({'; '.join(notes)})" if notes else "")


def _governor(governor: GovernorStatus) -> Iterator[str]:
    marks = governor.marks
    yield f"Governor: {governor.state}, {'watching' if governor.running else 'not running yet (no cache)'}"
    yield (
        f"  watermarks   soft under {format_bytes(marks.low)} left, hard under {format_bytes(marks.min)}, "
        f"until {format_bytes(marks.high)}"
    )
    if governor.reserve:
        yield f"  reserve      {format_bytes(governor.reserve)} (configured)"
    yield f"  looks        {governor.looks}, the next within {governor.interval:.3g} s"
    yield (
        f"  caches       {format_bytes(governor.cached)} held, at most {format_bytes(governor.cap)}, "
        f"{format_bytes(governor.allowance)} more before the next look"
    )
    if governor.neighbours:
        processes = "process" if governor.neighbours == 1 else "processes"
        yield f"  neighbours   {governor.neighbours} more {processes} with caches, counted among the above"
    yield (
        f"  others       {format_bytes(governor.others)} now, {format_bytes(governor.peak)} at their "
        f"recent peak; {format_bytes(governor.retained)} retained by the allocator"
    )
    yield (
        f"  room         for others to grow to {format_bytes(governor.expected)} again, "
        f"and for a first burst of {format_bytes(governor.unknown)}"
    )
    passes = ", ".join(f"{count} {kind}" for kind, count in governor.passes.items())
    yield f"  reclaims     {passes}; {format_bytes(governor.freed)} freed in all"
    if governor.woken_by:
        woken = ", ".join(f"{count} by {name}" for name, count in governor.woken_by.items())
        yield f"  woken        {woken}"


def _shrinker(shrinker: ShrinkerStatus) -> Sequence[str]:
    record = shrinker.record
    return (
        "!" if record.errors else " ",
        shrinker.name,
        "-" if shrinker.held is None else format_bytes(shrinker.held),
        str(record.calls),
        format_bytes(record.answered),
        str(record.errors),
    )


def _amount(amount: int | None) -> str:
    return "-" if amount is None else format_bytes(amount)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> Iterator[str]:
    """Yield `head` and `rows` in columns, those of `right` flush right; says "none" for no rows."""
    if not rows:
        yield "  none"
        return
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    for row in (head, *rows):
        cells = [
            cell.rjust(widths[at]) if at in right else cell.ljust(widths[at]) for at, cell in enumerate(row)
        ]
        yield f"  {'  '.join(cells)}".rstrip()
