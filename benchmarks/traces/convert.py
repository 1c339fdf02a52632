"""Make traces out of what others publish.

    python -m benchmarks.traces.convert FORMAT SOURCE TRACE.npz [--limit REQUESTS]

Formats: `twitter` (twitter/cache-trace: time, key, key size, value size, client, operation, ttl; reads
only, an object's size is key and value), `keys` (one key a line, after the first blank nothing counts; a
line with ``*`` is a comment, as in the traces of the LIRS paper) and `longs` (big-endian 64-bit keys, as
the Caffeine simulator reads for scarab and corda). SOURCE may end in .gz, or be - for a pipe. Bound: one
pass; memory for the keys.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from benchmarks.traces.loading import save

Requests = Iterator[tuple[int, object, int]]
READS = {b"get", b"gets"}


def twitter(source: Iterable[bytes]) -> Requests:
    """Yield the reads of a Twemcache trace: (seconds, key, bytes of key and value)."""
    start: int | None = None
    for line in source:
        time, _, rest = line.rstrip().partition(b",")
        fields = rest.rsplit(b",", 5)  # a key may have commas
        if len(fields) != 6:
            raise ValueError(f"a Twitter trace has 7 columns, got {line!r}")
        key, key_size, value_size, _, operation, _ = fields
        if operation in READS:
            start = int(time) if start is None else start
            yield int(time) - start, key, max(1, int(key_size) + int(value_size))


def keys(source: Iterable[bytes]) -> Requests:
    """Yield one request a line; every object has the same size."""
    wanted = (line.split() for line in source)
    named = (fields[0] for fields in wanted if fields and fields[0] != b"*")
    return ((time, key, 1) for time, key in enumerate(named))


def longs(source: BinaryIO) -> Requests:
    """Yield one request for each 8 bytes; every object has the same size."""
    for time in itertools.count():
        word = source.read(8)
        if not word:
            return
        if len(word) < 8:
            raise ValueError(f"the source must be 64-bit keys, and ends with {word!r}")
        yield time, int.from_bytes(word, "big"), 1


FORMATS: dict[str, Callable[[Any], Requests]] = {"twitter": twitter, "keys": keys, "longs": longs}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a trace out of what others publish.")
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("source")
    parser.add_argument("trace", type=Path)
    parser.add_argument("--limit", type=int, help="requests to take (default: all)")
    given = parser.parse_args()
    with ExitStack() as stack:
        if given.source == "-":
            source: Any = sys.stdin.buffer
        elif given.source.endswith(".gz"):
            source = stack.enter_context(gzip.open(given.source))
        else:
            source = stack.enter_context(Path(given.source).open("rb"))
        trace = save(given.trace, itertools.islice(FORMATS[given.format](source), given.limit))
    print(f"{given.trace}: {len(trace.keys):,} requests for {len(trace.sizes):,} objects")


if __name__ == "__main__":
    main()
