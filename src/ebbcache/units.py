"""Amounts of memory as people write them: ``"64 MiB"`` in, bytes out, and back.

The one place where text becomes bytes, so that every argument and environment variable of ebbcache
accepts the same spellings: IEC units are powers of 1024, SI units powers of 1000.
"""

from __future__ import annotations

import re

_FACTORS = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGTPE", start=1):
    _FACTORS[f"{_letter}IB"] = 1024**_power
    _FACTORS[f"{_letter}I"] = 1024**_power
    _FACTORS[f"{_letter}B"] = 1000**_power

_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)


def parse_bytes(amount: int | str, name: str = "amount") -> int:
    """Return `amount` in bytes; `name` is the argument that an error message speaks of.

    Accepts a non-negative int, or text such as ``"64 MiB"``, ``"1.5GB"`` or ``"4096"``. Raises
    TypeError for any other type (bool included) and ValueError for text or a sign that makes no sense.

    >>> parse_bytes("64 MiB")
    67108864
    >>> parse_bytes("1.5 kB")
    1500
    """
    if isinstance(amount, bool) or not isinstance(amount, int | str):
        raise TypeError(f"{name} must be an int (bytes) or text such as '64 MiB', not {amount!r}")
    if isinstance(amount, int):
        if amount < 0:
            raise ValueError(f"{name} must not be negative, got {amount!r}")
        return amount
    match = _AMOUNT.fullmatch(amount)
    factor = _FACTORS.get(match[2].upper()) if match else None
    if match is None or factor is None:
        raise ValueError(f"{name} must look like '64 MiB' or '1.5 GB', got {amount!r}")
    return int(float(match[1]) * factor) if "." in match[1] else int(match[1]) * factor


def format_bytes(amount: int) -> str:
    """Return `amount` bytes as people read it, in the largest IEC unit that keeps it above 1.

    >>> format_bytes(67108864)
    '64.0 MiB'
    >>> format_bytes(-512)
    '-512 B'
    """
    if abs(amount) < 1024:
        return f"{amount} B"
    size, unit = abs(amount) / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB", "PiB", "EiB"):
        if size < 1023.95:
            break
        size, unit = size / 1024, larger
    return f"{'-' if amount < 0 else ''}{size:.1f} {unit}"
