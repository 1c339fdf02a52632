"""Read and write traces: requests as numbers, in a zip of numpy columns, with the standard library alone.

What belongs to an object (size, cost, cache) is stored once by object, and times as differences, so that
deflate has little to do. Bound: a request takes 4 bytes in memory for its key and 4 for its time.
"""

from __future__ import annotations

import ast
import sys
import zipfile
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

HERE = Path(__file__).parent
OWN = "memo-sympy"
"""The trace that is part of the project."""
TYPES = {"|u1": "B", "<u2": "H", "<u4": "I", "<u8": "Q", "<i4": "i"}


@dataclass(frozen=True)
class Trace:
    """Requests in order, and what is known about the objects they ask for."""

    name: str
    keys: Sequence[int]
    """The object of each request, counted from 0."""
    times: Sequence[int]
    """When each request came, in the trace's own unit."""
    sizes: Sequence[int]
    """Bytes by object."""
    costs: Sequence[int] | None = None
    """Microseconds to make it, by object; None: nobody knows."""
    caches: Sequence[int] | None = None
    """Which of several caches it belongs to, by object."""

    @property
    def unit_sized(self) -> bool:
        """Whether all objects have the same size."""
        return min(self.sizes) == max(self.sizes)

    @property
    def working_set(self) -> int:
        """The bytes of all objects that are asked for."""
        return sum(self.sizes[key] for key in set(self.keys))

    def head(self, requests: int) -> Trace:
        """Return the trace of the first `requests` requests."""
        return Trace(
            self.name, self.keys[:requests], self.times[:requests], self.sizes, self.costs, self.caches
        )


def names(folder: Path | None) -> list[str]:
    """Return the traces that there are: the project's own, and those in `folder`."""
    found = {OWN}
    if folder is not None:
        if not folder.is_dir():
            raise ValueError(f"traces must be a folder, got {str(folder)!r}")
        found |= {path.stem for path in folder.glob("*.npz")}
    return sorted(found, key=lambda name: (name != OWN, name))


def load(name: str, folder: Path | None = None) -> Trace:
    """Return the trace `name` out of `folder`, or the project's own. FileNotFoundError if there is none."""
    path = HERE / f"{OWN}.npz" if name == OWN or folder is None else folder / f"{name}.npz"
    if path.stem != name:
        raise FileNotFoundError(f"trace {name!r} needs a folder of traces")
    with zipfile.ZipFile(path) as archive:
        columns = {entry[:-4]: _column(archive.read(entry)) for entry in archive.namelist()}
    keys = columns["key"]
    times = array("Q", accumulate(columns["d_time"]))
    trace = Trace(name, keys, times, columns["obj_size"], columns.get("obj_cost"), columns.get("obj_cache"))
    if len(times) != len(keys) or (len(keys) and max(keys) >= len(trace.sizes)):
        raise ValueError(f"{path} is no trace: its columns do not fit together")
    return trace


def _column(data: bytes) -> array[int]:
    if data[:6] != b"\x93NUMPY" or data[6] != 1:
        raise ValueError("a column is no numpy array of format 1")
    end = 10 + int.from_bytes(data[8:10], "little")
    header = ast.literal_eval(data[10:end].decode("latin-1"))
    if header["descr"] not in TYPES or len(header["shape"]) != 1:
        raise ValueError(f"a column must be a list of unsigned integers, got {header!r}")
    column = array(TYPES[header["descr"]])
    column.frombytes(data[end:])
    if sys.byteorder == "big":
        column.byteswap()
    return column


def save(
    path: Path, requests: Iterable[tuple[int, object, int]], costs: dict[object, int] | None = None
) -> Trace:
    """Write requests of (time, key, size) as a trace, and return it. A changed size makes a new object."""
    numbers: dict[tuple[object, int], int] = {}
    times, keys, sizes = array("Q"), array("I"), array("I")
    made: list[int] = []
    for time, key, size in requests:
        number = numbers.setdefault((key, size), len(numbers))
        if number == len(sizes):
            sizes.append(size)
            made.append(0 if costs is None else costs[key])
        times.append(time)
        keys.append(number)
    steps = array("I", (max(0, b - a) for a, b in zip([0, *times], times, strict=False)))
    columns = {"d_time": steps, "key": keys, "obj_size": sizes}
    if costs is not None:
        columns["obj_cost"] = array("I", made)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, column in columns.items():
            if sys.byteorder == "big":
                column.byteswap()
            header = f"{{'descr': '<u4', 'fortran_order': False, 'shape': ({len(column)},), }}"
            header = header.ljust(117) + "\n"  # numpy wants data to begin at a multiple of 64 bytes
            head = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
            archive.writestr(f"{name}.npy", head + column.tobytes())
    return Trace(path.stem, keys, times, sizes, columns.get("obj_cost"))
