"""Tensors of torch: a small Python object, a TensorImpl in C++, and a storage that views share.

The storage tells how many tensors hold it (c10/core/StorageImpl.h); a view's base counts among them, and is
taken off where nothing but its views keeps it alive. The storage is never asked for as an object, since
torch would keep that. A tensor that was computed holds the graph it came from: its steps, their results as
far as they were saved (torch/csrc/autograd/saved_variable.h), and leaves that nobody else holds. Inputs
that were saved, and who else holds a step, show nowhere. Bound: O(steps), of which at most `cap` are seen.
"""

from __future__ import annotations

import gc
import sys
from typing import Any, Final

from ebbcache.sizing.chunks import malloc_chunk
from ebbcache.sizing.holders import Rule
from ebbcache.sizing.layout import Expand, Expanded, Part, class_of, fixed, mro

_TENSOR: Final = 224  # the TensorImpl
_STORAGE: Final = 112
_VIEW: Final = 290  # the differentiable view's record
_AUTOGRAD: Final = 184  # the AutogradMeta of a leaf that gathers gradients
_NODE: Final = 580  # a step of the graph
_LEAF: Final = 500  # the step that gathers a leaf's gradient
_SCALAR: Final = 420  # a number that a step saved
_OUTPUTS: Final = ("_saved_result", "_saved_output")  # to ask for a saved input would make an object of it
_ALONE: Final = 3  # what getrefcount says of a base that only views keep: it, our name, and the argument


def _tensors(cls: type) -> Expand:
    core: Any = sys.modules["torch._C"]
    python_step: Any = core._FunctionBase
    tensor: Any = cls  # TensorBase, whose own methods these are
    base_of = tensor._base.__get__
    grad_of = tensor.grad.__get__
    step_of = tensor.grad_fn.__get__

    def nbytes(obj: Any) -> int:
        return int(tensor.numel(obj) * tensor.element_size(obj))

    def sparse(obj: Any) -> list[Any]:
        return [tensor._indices(obj), tensor._values(obj)]

    def stored(part: Any, kept: int) -> Part:
        """Return the storage of a tensor that was unpacked for us, and holds it `kept` times itself."""
        address = core._storage_address(part)
        holders = core._storage_Use_Count(address) - kept
        return Part(address, _STORAGE + malloc_chunk(nbytes(part) + 63 & -64), holders)

    def graph(step: Any, cap: float) -> tuple[int, list[Any]]:
        """Return the bytes of the steps from `step` on, and what they keep alive."""
        own = _AUTOGRAD
        kids: list[Any] = []
        steps: list[Any] = [step]
        met: dict[int, Any] = {id(step): step}
        while steps and len(met) <= cap:
            step = steps.pop()
            written = python_step in mro(class_of(step))  # in Python, and so may be its attributes
            leaf = None if written else getattr(step, "variable", None)
            own += _NODE if leaf is None else _LEAF
            if leaf is not None:
                # It is an object of its own again, if one that only the graph holds.
                if sys.getrefcount(leaf) <= _ALONE:
                    own += fixed(class_of(leaf)) + _TENSOR + _AUTOGRAD
                    kids.append(stored(leaf, 0))
                continue
            for name in () if written else dir(step):
                if not name.startswith(_OUTPUTS):
                    own += _SCALAR if name == "_saved_other" else 0
                    continue
                try:
                    saved = getattr(step, name)
                except RuntimeError:  # it was freed, or changed in place
                    continue
                if cls in mro(class_of(saved)) and core._has_storage(saved):
                    own += _TENSOR
                    kids.append(stored(saved, 1))
            owner: Any = python_step if written else class_of(step)
            above = owner.next_functions.__get__(step)
            for node, _ in above:
                if node is not None and id(node) not in met:
                    met[id(node)] = node
                    steps.append(node)
        return own, kids

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
        kids.append(Part(address, _STORAGE + malloc_chunk(size + 63 & -64), holders))
        if tensor.requires_grad.__get__(obj) and tensor.is_leaf.__get__(obj):
            grad = grad_of(obj)
            if grad is not None:
                kids.append(grad)
            own += _AUTOGRAD
        step = None if base is not None else step_of(obj)
        if step is not None:
            more, saved = graph(step, cap)
            own += more
            kids += saved
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


tensors = Rule(_tensors)
storages = Rule(_storages)
