"""Counts multiply-adds operation by operation: ptflops' aten engine with the formulas of drbench's convention.

ptflops takes a formula per torch operation and sees every operation when it is dispatched, however it was called
(module, functional, einsum). This module adds:

- No bias. The convention of the MobileNet and ShuffleNet papers excludes it; ptflops' own formulas include it.
- Every other operation for which torch has a FLOP count (`torch.utils.flop_counter.register_flop_formula`, two per
  multiply-add): attention, baddbmm, drbench's region convolutions, and those that a user registered.
- The module to which an operation belongs, and the operations that may multiply but have no formula.
- The operations that depend on the network's inputs. Others (weights that are computed from other weights) run once per
  call, whatever the number of samples.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from ptflops.aten_engine import FlopCounterMode
from ptflops.aten_ops import ATEN_OPS_MAPPING, conv_flop_count, matmul_flop
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.flop_counter import flop_registry

from drbench.trial import tensors

aten = torch.ops.aten
PRODUCTS = (aten.mul, aten.mul_, aten.addcmul, aten.addcmul_)
"""Element-wise products."""

Formula = Callable[[Sequence[Any], Sequence[Any]], int]

ROOT = "Global"
"""ptflops' name for the whole network."""

MAY_MULTIPLY = re.compile(
    r"(^|_)(\w*mm|add(m|r)v?|mv|ger|outer|v?dot|matmul|b?i?linear|trilinear|conv\w*|\w*attention\w*|"
    r"transformer\w*|lstm|gru|rnn\w*|cdist)(_|$)"
)
"""Names of the aten operations that multiply matrices in some way."""

HARMLESS = re.compile(r"upsample|grid_sampler|linear_combination|prepack|flatten_weight|reorder|convert|pack_")
"""Names that the pattern above matches by mistake: interpolation and conversion of formats."""

WITHOUT_PRODUCTS = re.compile(r"^_*(nms|roi_align|roi_pool|ps_roi_align|ps_roi_pool)(_|$)")
"""torchvision's operations that select and interpolate."""

WITHOUT_ARITHMETIC = {"prim", "prims", "profiler", "c10d", "_c10d_functional", "inductor"}


def _convolution(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    transposed = bool(inputs[6])
    return int(conv_flop_count(inputs[0].shape, inputs[1].shape, outputs[0].shape, transposed=transposed, bias=False))


def _addmm(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    return int(matmul_flop(list(inputs[1:3]), list(outputs)))


def _half_of(flops: Callable[..., int]) -> Formula:
    def formula(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        return int(flops(*inputs, out_val=outputs[0] if len(outputs) == 1 else outputs)) // 2

    return formula


def formulas() -> dict[Any, Formula]:
    """Operation -> multiply-adds by the convention. Read at each call, because imports register formulas."""
    table = {operation: _half_of(flops) for operation, flops in flop_registry.items()}
    # torch before 2.15 has no count for the CPU variant of this operation
    table.setdefault(aten._scaled_dot_product_flash_attention_for_cpu, table[aten._scaled_dot_product_flash_attention])
    table |= ATEN_OPS_MAPPING
    del table[aten.matmul]  # decomposes into the others; ptflops' formula does not support vectors
    return table | {
        aten.convolution: _convolution,
        aten._convolution: _convolution,
        aten.addmm: _addmm,
        aten.mv: lambda inputs, outputs: inputs[0].numel(),
        aten.addmv: lambda inputs, outputs: inputs[1].numel(),
        aten.dot: lambda inputs, outputs: inputs[0].numel(),
        aten.vdot: lambda inputs, outputs: inputs[0].numel(),
    }


class OperationCounter(FlopCounterMode):  # type: ignore[misc]
    """Counts the operations inside a `with` block, under the current value of `owner`.

    madds, executed: owner -> multiply-adds by the convention, and those of the code path that ran.
    fixed: owner -> the part of `madds` that depends on weights and constants only, not on the inputs (see `follow`).
    elements: owner -> elements written by counted operations.
    unknown: (owner, operation) in order of appearance, of operations without a formula that may multiply.
    by_hand: owners of element-wise products of a tensor that depends on the inputs and a matrix that does not.
    """

    def __init__(self, executed: Mapping[Any, Formula]) -> None:
        super().__init__(custom_hooks=formulas(), output_params=defaultdict(dict))
        self.owner = ""
        self.parents: list[Any] = []  # ptflops' own attribution, unused: it has only direct children of the root
        self.executed_formulas = executed
        self.madds: dict[str, int] = defaultdict(int)
        self.executed: dict[str, int] = defaultdict(int)
        self.fixed: dict[str, int] = defaultdict(int)
        self.elements: dict[str, int] = defaultdict(int)
        self.unknown: dict[tuple[str, str], None] = {}
        self.by_hand: set[str] = set()
        self._dependent: set[StorageWeakRef] = set()

    def follow(self, inputs: Iterable[Tensor]) -> None:
        """Mark these tensors as inputs of the network; all that is computed from them depends on the inputs."""
        self._dependent |= {storage for tensor in inputs if (storage := _storage(tensor)) is not None}

    def _depends(self, tensor: Tensor) -> bool:
        storage = _storage(tensor)
        return storage is None or storage in self._dependent

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        operation = func._overloadpacket
        if operation not in self.all_ops and _decomposes(func):
            with self:
                return func.decompose(*args, **(kwargs or {}))
        self.parents = [self.owner]
        before = self.flop_counts[self.owner][operation]
        out = super().__torch_dispatch__(func, types, args, kwargs)
        dependent = any(map(self._depends, tensors((args, kwargs or {}))))
        if dependent:
            if operation in PRODUCTS and any(_is_matrix(t) and not self._depends(t) for t in tensors(args)):
                self.by_hand.add(self.owner)
            self.follow(tensors(out))
            if func._schema.is_mutable:
                self.follow(tensors((args[:1], (kwargs or {}).get("out"))))
        if operation in self.all_ops:
            outputs = out if isinstance(out, tuple) else (out,)
            madds = self.flop_counts[self.owner][operation] - before
            exact = self.executed_formulas.get(operation)
            self.madds[self.owner] += madds
            self.executed[self.owner] += exact(args, outputs) if exact else madds
            self.fixed[self.owner] += 0 if dependent else madds
            self.elements[self.owner] += int(outputs[0].numel())
        elif _may_multiply(operation):
            self.unknown[self.owner, str(operation)] = None
        return out


def _is_matrix(tensor: Tensor) -> bool:
    return sum(size > 1 for size in tensor.shape) > 1


def _storage(tensor: Tensor) -> StorageWeakRef | None:
    """The storage that all views of a tensor share; None for tensors without one, such as sparse ones."""
    try:
        return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
    except (NotImplementedError, RuntimeError):  # what torch raises for a tensor without a storage
        return None


def _decomposes(func: Any) -> bool:
    """Whether `func` consists of other operations, as torch.matmul and einsum do; occurs with inference tensors."""
    return func.namespace not in WITHOUT_ARITHMETIC and bool(func._can_decompose())


def _may_multiply(operation: Any) -> bool:
    namespace, _, name = str(operation).partition(".")
    if namespace == "torchvision":
        return not WITHOUT_PRODUCTS.search(name)
    if namespace != "aten":
        return namespace not in WITHOUT_ARITHMETIC
    return bool(MAY_MULTIPLY.search(name)) and not HARMLESS.search(name)
