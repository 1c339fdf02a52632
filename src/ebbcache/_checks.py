"""Argument checks that several caches share: the error names the argument and what was given. O(1)."""

from __future__ import annotations


def check_type(value: object, name: str, kind: type) -> None:
    """Raise TypeError unless `value` is a `kind` (a bool is no int)."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{name} must be {'an' if kind is int else 'a'} {kind.__name__}, not {value!r}")


def check_callable(value: object, name: str) -> None:
    """Raise TypeError unless `value` can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be callable, not {value!r}")


def check_number(value: object, name: str) -> None:
    """Raise TypeError unless `value` is an int or float, ValueError if it is negative or no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not value >= 0:
        raise ValueError(f"{name} must not be negative, got {value!r}")


def check_ttl(ttl: object) -> None:
    """Raise TypeError or ValueError where `ttl` cannot be a time to live; it need not be a number."""
    if isinstance(ttl, bool | str | bytes):
        raise TypeError(f"ttl must be a number of the timer's units, not {ttl!r}")
    if isinstance(ttl, int | float) and not ttl >= 0:
        raise ValueError(f"ttl must not be negative, got {ttl!r}")
