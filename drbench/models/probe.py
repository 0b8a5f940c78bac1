"""A dummy input through a network, to see that the shapes inside and behind are what they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from drbench.errors import InputError
from drbench.models.foreign import one_line

SIDES = (64, 224, 32, 28)
"""Image sizes to try where none is given."""


@dataclass(frozen=True)
class Call:
    """Shapes of what a layer was given (its first tensor) and of what it returned; () for anything else."""

    input: tuple[int, ...]
    output: tuple[int, ...]


@dataclass(frozen=True)
class Shapes:
    """The output's shape for an input of `input_shape`, and every call of the layers that ran."""

    input_shape: tuple[int, int, int]
    output: Any
    layers: dict[str, list[Call]]


def shapes(model: nn.Module, layers: Sequence[str], input_shape: tuple[int, int, int] | None) -> Shapes:
    """Run zeros through the network in evaluation mode; weights, statistics and random state stay as they are.

    InputError if it fails, for a given `input_shape` or for all usual ones.
    """
    failure: Exception | None = None
    for shape in [input_shape] if input_shape else _usual(model):
        if len(shape) != 3 or min(shape) < 1:
            raise InputError(f"input_shape: got {shape!r}, allowed is (channels, height, width)")
        try:
            return _run(model, layers, shape)
        except Exception as error:  # whatever a network raises; the first one says most
            failure = failure or error
    raise InputError(
        f"input_shape: {type(model).__name__} can't run on {input_shape or 'any usual size'} "
        f"({one_line(failure)}); give the (channels, height, width) that it takes"
    ) from failure


def compare(before: Shapes, after: Shapes, operator: str) -> None:
    """InputError naming the first layer whose output changed its shape, or the network's output."""
    for name, calls in before.layers.items():
        if name not in after.layers:
            raise InputError(
                f"operator {operator!r} in place of {name!r} does not run: the network holds the convolution "
                "elsewhere too"
            )
        for old, new in zip(calls, after.layers[name], strict=False):
            if new.output != old.output:
                raise InputError(f"operator {operator!r} in place of {name!r} gives {new.output}, not {old.output}")
    if before.output != after.output:
        raise InputError(f"operator {operator!r}: the network now gives {after.output}, not {before.output}")


def _usual(model: nn.Module) -> Iterator[tuple[int, int, int]]:
    channels = next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)
    return ((channels, side, side) for side in SIDES)


def _run(model: nn.Module, layers: Sequence[str], input_shape: tuple[int, int, int]) -> Shapes:
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    dummy = torch.zeros(1, *input_shape, device=like.device, dtype=like.dtype)
    seen: dict[str, list[Call]] = {}
    with ExitStack() as stack:
        stack.enter_context(_evaluating(model))
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        for name in layers:

            def note(_module: nn.Module, args: Any, kwargs: Any, output: Any, name: str = name) -> None:
                given = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
                seen.setdefault(name, []).append(Call(_tensor_shape(given), _tensor_shape(output)))

            stack.callback(model.get_submodule(name).register_forward_hook(note, with_kwargs=True).remove)
        output = model(dummy)
    return Shapes(input_shape, _shape(output), seen)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


def _tensor_shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _shape(output: Any) -> Any:
    if isinstance(output, Tensor):
        return tuple(output.shape)
    if isinstance(output, dict):
        return {key: _shape(value) for key, value in output.items()}
    if isinstance(output, (tuple, list)):
        return [_shape(value) for value in output]
    return type(output).__name__
