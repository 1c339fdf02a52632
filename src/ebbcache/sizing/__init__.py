"""What a value weighs: the bytes that would go back to the allocators if it alone went away.

`sizeof` walks what a value holds with an explicit stack and adds up allocator blocks (pymalloc's 16-byte
classes, malloc's header above 512 bytes), each shared object once. It never raises and never runs a
value's own Python code, except sizers registered for its type.
"""

from __future__ import annotations

import gc
import logging
import sys
import types
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["register_sizer", "sizeof"]

T = TypeVar("T")
_log = logging.getLogger("ebbcache")
_sizers: dict[type, Callable[[Any], int]] = {}
_told: set[tuple[int, str]] = set()

_FREE = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.CodeType,
    type(None),
    bool,
    logging.Logger,
)


def _chunk(size: int) -> int:
    return (size + 15) & -16 if size <= 512 else (size + 23) & -16


def register_sizer(cls: type[T]) -> Callable[[Callable[[T], int]], Callable[[T], int]]:
    """Return a decorator that makes its function the sizer of `cls` and its subclasses: ``(obj) -> bytes``."""
    if not isinstance(cls, type):
        raise TypeError(f"register_sizer() takes a class, not {cls!r}")

    def register(sizer: Callable[[T], int]) -> Callable[[T], int]:
        if not callable(sizer):
            raise TypeError(f"a sizer must be callable, not {sizer!r}")
        _sizers[cls] = sizer
        return sizer

    return register


def _complain(cls: type, what: str) -> None:
    if (id(cls), what) not in _told:
        _told.add((id(cls), what))
        _log.warning("the size of a %s is estimated: %s", cls, what)


def sizeof(obj: object, *, exact: bool = False, budget: int = 10_000) -> int:
    """Return the bytes that the allocators would get back if `obj` alone went away. Never raises.

    >>> sizeof(1.5)
    32
    """
    total = 0
    seen: set[int] = set()
    stack: list[object] = [obj]
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, _FREE):
            continue
        seen.add(id(item))
        cls = type(item)
        for base in cls.__mro__ if _sizers else ():
            sizer = _sizers.get(base)
            if sizer is not None:
                break
        else:
            sizer = None
        if sizer is not None:
            try:
                answer = sizer(item)
                if type(answer) is int and answer >= 0:
                    total += answer
                    continue
                _complain(cls, f"its sizer answered {answer!r}")
            except Exception as error:
                _complain(cls, f"its sizer raised {error!r}")
        try:
            total += _chunk(sys.getsizeof(item))
        except Exception as error:
            _complain(cls, f"its __sizeof__ raised {error!r}")
            total += _chunk(object.__sizeof__(item))
        if isinstance(item, dict):
            stack += list(dict.keys(item))  # pyright: ignore
        stack += gc.get_referents(item)
    return total
