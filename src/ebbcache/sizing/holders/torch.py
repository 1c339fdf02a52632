"""Tensors of torch: a small Python object, a TensorImpl in C++, and a storage that views share.

The storage tells how many tensors hold it (c10/core/StorageImpl.h); a view's base counts among them, and is
taken off where nothing but its views keeps it alive. The storage is never asked for as an object, since
torch would keep that. What autograd saved for a tensor that was computed shows nowhere. Bound: O(1).
"""

from __future__ import annotations

import gc
import sys
from typing import Any, Final

from ebbcache.sizing.chunks import malloc_chunk
from ebbcache.sizing.holders import Rule
from ebbcache.sizing.layout import IN_NAME, Expand, Expanded, Part, class_of, fixed, members

_TENSOR: Final = 224  # the TensorImpl
_STORAGE: Final = 112
_VIEW: Final = 290  # the differentiable view's record
_AUTOGRAD: Final = 184  # the AutogradMeta of a leaf that gathers gradients
_ALONE: Final = 1 + IN_NAME  # what getrefcount says of a base that only views keep


def _tensors(cls: type) -> Expand:
    core: Any = sys.modules["torch._C"]
    tensor: Any = cls  # TensorBase, whose own methods these are
    base_of = tensor._base.__get__
    grad_of = tensor.grad.__get__
    meta_of = tensor.is_meta.__get__

    def nbytes(obj: Any) -> int:
        return int(tensor.numel(obj) * tensor.element_size(obj))

    def sparse(obj: Any) -> list[Any]:
        return [tensor._indices(obj), tensor._values(obj)]

    def read(obj: Any, cap: float) -> Expanded:
        own = fixed(class_of(obj)) + _TENSOR
        kids = gc.get_referents(obj)
        if not core._has_storage(obj):
            if tensor.is_sparse.__get__(obj):
                own += sum(_TENSOR + _STORAGE + malloc_chunk(nbytes(part) + 64) for part in sparse(obj))
            return own, kids, 1
        start = tensor.storage_offset(obj) * tensor.element_size(obj)
        size = start + nbytes(obj)
        address = core._storage_address(obj)
        holders = core._storage_Use_Count(address)
        base = base_of(obj)
        if base is not None:
            own += _VIEW
            size = nbytes(base)  # a view may repeat what it shows
            if sys.getrefcount(base) <= _ALONE:
                holders -= 1
                kids.append(Part(id(base), _TENSOR, holders))
        elif meta_of(obj):
            size = 0
        kids.append(Part(address, _STORAGE + malloc_chunk(size + 63 & -64), holders))
        if tensor.requires_grad.__get__(obj) and tensor.is_leaf.__get__(obj):
            grad = grad_of(obj)
            if grad is not None:
                kids.append(grad)
            own += _AUTOGRAD
        return own, kids, 1

    return read


def _storages(cls: type) -> Expand:
    core: Any = sys.modules["torch._C"]
    storage: Any = cls

    def read(obj: Any, cap: float) -> Expanded:
        address = obj._cdata
        part = Part(
            address,
            _STORAGE + malloc_chunk(storage.nbytes(obj) + 63 & -64),
            core._storage_Use_Count(address),
        )
        return fixed(class_of(obj)), [part, *gc.get_referents(obj)], 1

    return read


def _tensors_in_c(base: type, cls: type) -> tuple[Any, ...]:
    core: Any = sys.modules["torch._C"]
    names = members(base)
    functions = core._has_storage, core._storage_address, core._storage_Use_Count
    methods = (names[name] for name in ("storage_offset", "element_size", "numel"))
    fields = (names[name] for name in ("_base", "grad", "requires_grad", "is_leaf", "is_meta"))
    return "tensors", *functions, *methods, *fields, _TENSOR, _STORAGE, _VIEW, _AUTOGRAD


tensors = Rule(_tensors, native=_tensors_in_c)
storages = Rule(_storages)
