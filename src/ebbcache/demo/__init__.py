"""`ebbcache demo`: the library's main job, seen in half a minute.

A service replays Zipf requests for documents that take real work to make, in this process, under a process
limit. A neighbour in the same process takes memory and gives it back. The cache has no size: it takes what
is left. Beside it two caches of fixed size get the same requests, of the size that a careful operator would
have set: what is left when the neighbour takes most. Bound: a run takes the seconds it was given, plus the
picture; it needs no root, no server and no file.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from ebbcache import governor
from ebbcache.demo.live import view
from ebbcache.demo.load import MIB, Neighbour, Service
from ebbcache.demo.process import peak_rss, reset_peak_rss, rss
from ebbcache.demo.record import Recorder, Standing
from ebbcache.demo.summary import Summary
from ebbcache.demo.workload import Library, zipf
from ebbcache.engine import sizes
from ebbcache.status import status
from ebbcache.units import format_bytes

MISSING_MATPLOTLIB = "no picture: matplotlib is not installed (pip install 'ebbcache[demo]')"

_LIMIT = 300 * MIB
_SHARE = 0.8  # of what the machine has left, the demo takes at most this part
_PEAK = 0.5  # of what the program itself leaves free, the most that the neighbour takes
_MARGIN = 0.1  # of the limit that a careful operator leaves unused
_DOCUMENTS = 8_000  # some 630 MiB: several times what the limit can hold
_TICK = 0.2  # seconds between two samples


def run(
    *, seconds: float, seed: int, live: bool, say: Callable[[str], None], limit: int | None = None
) -> tuple[Recorder, Summary]:
    """Run the demo in this process for `seconds`; `say` gets its plain lines.

    Sets this process's limit through `configure` and leaves it in place: a process of its own is best.
    `limit` in bytes is 300 MiB where the machine has it to spare, less where not. Raises ValueError where
    there is no room for a demo at all.
    """
    library = Library(_DOCUMENTS, seed)
    base = rss()
    limit = _usual_limit(base) if limit is None else limit
    free = limit - base
    if free < 32 * MIB:
        uses = f"this process uses {format_bytes(base)} of a limit of {format_bytes(limit)}"
        raise ValueError(f"no room for a demo: {uses}")
    governor.configure(limit=limit)
    neighbour = Neighbour(int(free * _PEAK), seconds)
    fixed_bytes = free - neighbour.peak - int(limit * _MARGIN)
    service = Service(library, zipf(library.count, seed), fixed_bytes)
    recorder = Recorder()
    stop = threading.Event()
    failure: list[BaseException] = []

    def serve() -> None:
        try:
            service.serve(stop.is_set)
        except BaseException as error:
            failure.append(error)
            stop.set()

    server = threading.Thread(target=serve, name="service", daemon=True)
    passes = governor.the_watcher.governor.passes
    soft, hard = passes["soft"], passes["hard"]
    reset_peak_rss()
    began = time.monotonic()
    try:
        with view(live, seconds, fixed_bytes, say) as show:
            server.start()
            neighbour.start()
            while not stop.wait(_TICK):
                t = time.monotonic() - began
                standing = Standing(
                    limit,
                    rss(),
                    sizes(),
                    neighbour.held,
                    service.fixed,
                    passes["soft"] - soft,
                    passes["hard"] - hard,
                )
                show(recorder.add(t, standing, service.counts))
                if t >= seconds:
                    break
    finally:
        stop.set()
        neighbour.stop()
        server.join()
    if failure:
        raise failure[0]
    peak = max(peak_rss(), *(sample.standing.usage for sample in recorder.samples))
    return recorder, Summary.of(
        recorder.samples, service, fixed_bytes=fixed_bytes, limit=limit, base=base, peak=peak
    )


def _usual_limit(base: int) -> int:
    reading = status().memory.reading
    return _LIMIT if reading is None else min(_LIMIT, base + int(reading.headroom * _SHARE))


def save_picture(recorder: Recorder, fixed_bytes: int, path: Path, seconds: float) -> str | None:
    """Draw the run to `path`; return why there is no picture, or None when there is one."""
    try:
        from ebbcache.demo.picture import draw

        draw(recorder.samples, path, fixed_bytes=fixed_bytes, seconds=seconds)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        return MISSING_MATPLOTLIB
    except (OSError, ValueError) as error:
        return f"no picture: {error}"
    return None
