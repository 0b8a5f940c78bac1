"""Derivatives of the ops: gradients by the kernels, everything beyond them by `composite`.

Each op has a kernel at the dispatcher's Autograd key, as torch's own ops do, so that torch.func's transforms nest. An
op's gradient is its backward op; that op's own gradient, and forward mode, differentiate the composite.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

Gradients = tuple[Tensor | None, ...]
_AUTOCAST = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU) | torch._C.DispatchKeySet(
    torch._C.DispatchKey.AutocastCUDA
)


def register(library: torch.library.Library, name: str, composite: Callable[..., Any], backward: Any) -> None:
    """Make `drbench::name` differentiable.

    Args:
        library: the library that defines the op.
        name: the op's name.
        composite: the same as the op, made of differentiable torch ops.
        backward: `backward(context, *gradients)` as in torch.autograd.Function, for the op's arguments, which it finds
            in `arguments_of(context)`; None for an op that is differentiated through its composite.
    """
    op = getattr(torch.ops.drbench, name).default
    composite = without_autocast(composite)
    plain, nested = _functions(op, backward)

    def kernel(keys: torch._C.DispatchKeySet, *args: Any) -> Any:
        if forward_ad._current_level >= 0:  # some tensor may carry a tangent
            return composite(*args)
        if not torch.is_grad_enabled() or not torch._C._any_requires_grad(*args):
            with torch._C._AutoDispatchBelowAutograd():
                return op.redispatch(keys & torch._C._after_autograd_keyset, *args)
        if backward is None:
            return composite(*args)
        if peek_interpreter_stack() is None:
            return plain(keys, *args)
        with enable_single_level_autograd_function():
            return nested(keys, *args)

    library.impl(name, kernel, "Autograd", with_keyset=True)  # type: ignore[no-untyped-call]


def call(op: Any, *args: Any) -> Any:
    """`op(*args)`; past the Autograd key where nothing can be differentiated: going through Python twice takes time."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return op(*args)
    if forward_ad._current_level >= 0 or peek_interpreter_stack() is not None:
        return op(*args)
    with torch._C._AutoDispatchBelowAutograd():
        return op(*args)


def without_autocast(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` without autocast, which has done its part before the op was reached."""

    @wraps(function)
    def run(*args: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(_AUTOCAST):
            return function(*args)

    return run


def _functions(op: Any, backward: Callable[..., Gradients]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What runs `op` and notes how to go back: outside and inside of torch.func's transforms.

    Inside, the dispatcher has come down to one transform already, where torch.autograd.Function would begin anew.
    """

    def forward(keys: torch._C.DispatchKeySet, *args: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return op.redispatch(keys & torch._C._after_autograd_keyset, *args)

    def remember(ctx: Any, inputs: tuple[Any, ...], output: Any = None) -> None:
        args = inputs[1:]
        ctx.save_for_backward(*(value for value in args if isinstance(value, Tensor)))
        ctx.others = [None if isinstance(value, Tensor) else (value,) for value in args]

    def run(ctx: Any, *inputs: Any) -> Any:
        remember(ctx, inputs)
        return forward(*inputs)

    def back(ctx: Any, *gradients: Tensor) -> Gradients:
        return None, *backward(ctx, *gradients)

    outside = {"forward": staticmethod(run), "backward": staticmethod(back)}
    inside = {"forward": staticmethod(forward), "setup_context": staticmethod(remember), "backward": staticmethod(back)}
    plain = type(op._opname, (torch.autograd.Function,), outside)
    nested = type(op._opname, (_SingleLevelFunction,), inside)
    return plain.apply, nested.apply  # type: ignore[attr-defined]


def arguments_of(ctx: Any) -> tuple[list[Any], tuple[bool, ...]]:
    """The op's arguments, and which of them need a gradient."""
    tensors = iter(ctx.saved_tensors)
    return [next(tensors) if other is None else other[0] for other in ctx.others], ctx.needs_input_grad[1:]


def through(composite: Callable[..., Any]) -> Callable[..., Gradients]:
    """The gradient of an op of several results: that of the composite, computed anew; itself differentiable."""

    composite = without_autocast(composite)

    def backward(ctx: Any, *gradients: Tensor) -> Gradients:
        args, needs = arguments_of(ctx)
        learnt = [number for number, need in enumerate(needs) if need]
        again = torch.is_grad_enabled()
        with torch.enable_grad():
            for number in learnt:  # apart from one another, should one have been computed from the other
                args[number] = args[number].view_as(args[number])
            pairs = [pair for pair in zip(composite(*args), gradients, strict=True) if pair[0].requires_grad]
            outputs, weights = zip(*pairs, strict=True)
            values = [args[number] for number in learnt]
            pulled = torch.autograd.grad(outputs, values, weights, create_graph=again, allow_unused=True)
        result: list[Tensor | None] = [None] * len(args)
        for number, gradient in zip(learnt, pulled, strict=True):
            result[number] = gradient
        return tuple(result)

    return backward
