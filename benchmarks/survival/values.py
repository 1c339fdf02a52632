"""The values that programs cache, by kind: each is made of its number alone, so it can be checked.

Sizes are spread by a hash of the number (Knuth's multiplicative one), log-uniformly, so that they have
nothing to do with how popular a number is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.survival import MIB


def spread(number: int, low: int, high: int) -> int:
    """Return the size of value `number`, between `low` and `high` and the same each time."""
    return int(low * (high / low) ** (number * 2654435761 % 2**32 / 2**32))


def small_dict(number: int) -> Any:
    tags = [f"tag {number % 97}", f"of {number}"]
    return {
        "id": number,
        "name": f"name {number}",
        "price": number * 0.5,
        "tags": tags,
        "open": {"at": number},
    }


def some_bytes(number: int) -> Any:
    return number.to_bytes(8, "little") + b"x" * spread(number, 2_000, 64_000)


def half_mib(number: int) -> Any:
    return number.to_bytes(8, "little") + b"x" * (MIB // 2 - 64)


def array(number: int) -> Any:
    import numpy as np

    return np.full(spread(number, MIB, 16 * MIB) // 8, number)


def frame(number: int) -> Any:
    import numpy as np
    import pandas as pd

    rows = spread(number, 2_000, 60_000)
    made = pd.DataFrame({"n": np.arange(rows), "x": np.full(rows, number * 0.5), "y": np.ones(rows)})
    made.attrs["id"] = number
    return made


def mixed(number: int) -> Any:
    if number % 50 == 0:
        import numpy as np

        return np.full(spread(number, MIB // 2, 4 * MIB) // 8, number)
    if number % 2:
        return some_bytes(number)
    return {"id": number, "rows": [small_dict(number + row) for row in range(20)]}


def number_of(value: Any) -> int:
    """Return the number that `value` was made of."""
    if isinstance(value, bytes):
        return int.from_bytes(value[:8], "little")
    if isinstance(value, dict):
        return int(value["id"])
    if hasattr(value, "attrs"):
        return int(value.attrs["id"])
    return int(value[-1])


@dataclass(frozen=True)
class Kind:
    """How to make a value, its mean bytes in memory, and whether entries are small objects."""

    make: Callable[[int], Any]
    mean: int
    small: bool = False


KINDS = {
    "dicts": Kind(small_dict, 1_000, small=True),
    "bytes": Kind(some_bytes, 18_000),
    "halves": Kind(half_mib, MIB // 2),
    "arrays": Kind(array, 5_700_000),
    "frames": Kind(frame, 410_000),
    "mix": Kind(mixed, 50_000),
}
