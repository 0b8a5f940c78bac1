"""The ways to compute a layer, by name. The first two are what the others are measured against.

A way takes a Problem and gives a Prepared: the call that is timed. Whatever it needs beside the problem's tensors is
made beforehand and is not timed; packing filters that arrive in the documented layout is part of the call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drbench_kernels import expert_region_conv2d, paths, region_conv2d
from drbench_kernels.bench import peers
from drbench_kernels.bench.problem import Problem

CONV, CONV_LAYER = "conv", "nn.Conv2d"
OURS = "region_conv2d"
LAYER = "drbench.operators.drconv:DRConv2d"
"""The drop-in layer that is timed beside nn.Conv2d: package.module:callable, called as nn.Conv2d is."""


class SkippedError(Exception):
    """This way cannot be measured here, for the reason given."""


@dataclass(frozen=True)
class Prepared:
    """`output` makes the output; with a gradient pass, `leaves` get gradients. `path`: which code of ours runs."""

    output: Callable[[], Tensor]
    leaves: tuple[Tensor, ...]
    path: str = ""

    def call(self, problem: Problem) -> Callable[[], object]:
        """What is timed: the output, or output and all gradients."""
        output, leaves = self.output, self.leaves
        if not problem.case.backward:
            return output
        grad = problem.grad

        def with_gradients() -> Sequence[Tensor]:
            return torch.autograd.grad(output(), leaves, grad)

        return with_gradients


@dataclass(frozen=True)
class Way:
    """`reference`: the way that its ratio is over. `filters`: how many sets of O*C*k*k elements a call needs by itself,
    and `products` how many outputs; both say beforehand whether it fits into memory. `peer`: neither ours nor what
    ours replaces: skipped where it is slow. `waits`: it waits for the device, so no CUDA graph can be made of it."""

    make: Callable[[Problem], Prepared]
    reference: str
    filters: Callable[[Problem], int]
    products: Callable[[Problem], int] = lambda problem: 1
    peer: bool = False
    waits: bool = False

    def bytes_needed(self, problem: Problem) -> int:
        """About what inputs, output and gradients take; a backward pass holds each of them twice."""
        case, shape = problem.case, problem.shape
        outputs = self.products(problem) * case.batch * shape.outputs * shape.positions
        inputs = case.batch * shape.channels * shape.height * shape.width
        elements = self.filters(problem) * shape.filter_size + outputs + inputs
        return elements * case.dtype.itemsize * (2 if case.backward else 1)


def _conv(problem: Problem) -> Prepared:
    x, weight, bias = problem.input, problem.weight, problem.bias
    stride, padding = problem.shape.stride, problem.shape.padding
    return Prepared(lambda: F.conv2d(x, weight, bias, stride, padding), (x, weight, bias))


def _per_sample(problem: Problem) -> Prepared:
    x, filters, bias = problem.input, problem.sample_filters, problem.bias
    stride, padding = problem.shape.stride, problem.shape.padding
    return Prepared(lambda: peers.per_sample(x, filters, bias, stride, padding), (x, filters, bias))


def _all_and_pick(problem: Problem) -> Prepared:
    x, filters, guide, bias = problem.input, problem.filters, problem.guide, problem.bias
    stride, padding = problem.shape.stride, problem.shape.padding
    return Prepared(lambda: peers.all_and_pick(x, filters, guide, bias, stride, padding), (x, filters, guide, bias))


def _ours(problem: Problem) -> Prepared:
    x, filters, guide, bias = problem.input, problem.filters, problem.guide, problem.bias
    stride, padding = problem.shape.stride, problem.shape.padding
    return Prepared(
        lambda: region_conv2d(x, filters, guide, bias, stride, padding),
        (x, filters, guide, bias),
        region_path(problem),
    )


def _sort_gemm(problem: Problem) -> Prepared:
    x, filters, guide, bias = problem.input, problem.filters, problem.guide, problem.bias
    stride, padding = problem.shape.stride, problem.shape.padding
    return Prepared(
        lambda: peers.sort_gemm(x, filters, guide, bias, stride, padding), (x, filters, guide, bias), paths.BY_REGION
    )


def _ours_by_experts(problem: Problem) -> Prepared:
    x, experts, coefficients = problem.input, problem.experts, problem.coefficients
    guide, bias = problem.guide, problem.bias
    stride, padding = problem.shape.stride, problem.shape.padding
    return Prepared(
        lambda: expert_region_conv2d(x, experts, coefficients, guide, bias, stride, padding),
        (x, experts, coefficients, guide, bias),
        expert_path(problem),
    )


def _conv_layer(problem: Problem) -> Prepared:
    return _layer(problem, nn.Conv2d)


def layer_way(name: str) -> tuple[str, Way]:
    """(what it is called, the way) of a drop-in for nn.Conv2d, by package.module:callable."""
    module, _, attribute = name.partition(":")

    def make(problem: Problem) -> Prepared:
        try:
            factory = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise SkippedError(f"{name} is not there: {error}") from error
        prepared = _layer(problem, factory)
        return Prepared(prepared.output, prepared.leaves, expert_path(problem) if name == LAYER else "")

    return attribute, Way(make, CONV_LAYER, lambda problem: problem.case.batch * problem.case.regions)


def _layer(problem: Problem, factory: Callable[..., nn.Module]) -> Prepared:
    shape, case = problem.shape, problem.case
    torch.manual_seed(0)
    made = factory(shape.channels, shape.outputs, shape.kernel, shape.stride, shape.padding)
    layout = torch.channels_last if case.channels_last else torch.contiguous_format
    made = made.train(case.backward).to(device=case.device, dtype=case.dtype).to(memory_format=layout)
    x = problem.input
    return Prepared(lambda: made(x), (x, *made.parameters()))


def region_path(problem: Problem) -> str:
    """What `region_conv2d` runs for this problem."""
    return paths.region_path(problem.case.device, problem.case.dtype)


def expert_path(problem: Problem) -> str:
    """What `expert_region_conv2d` runs for this problem."""
    case, shape = problem.case, problem.shape
    return paths.expert_path(case.device, case.dtype, shape.positions, shape.filter_size, case.regions, case.experts)


def _one(problem: Problem) -> int:
    return 1


def _a_sample(problem: Problem) -> int:
    return problem.case.batch


def _a_region(problem: Problem) -> int:
    return problem.case.batch * problem.case.regions


def _regions(problem: Problem) -> int:
    return problem.case.regions


WAYS: dict[str, Way] = {
    CONV: Way(_conv, CONV, _one),
    CONV_LAYER: Way(_conv_layer, CONV_LAYER, _one),
    "bmm": Way(_per_sample, CONV, _a_sample, peer=True),
    "all-and-pick": Way(_all_and_pick, CONV, _a_region, _regions, peer=True),
    "sort-gemm": Way(_sort_gemm, CONV, _a_region, peer=True, waits=True),
    OURS: Way(_ours, CONV, _a_region),
    "expert_region_conv2d": Way(_ours_by_experts, CONV, _a_region),
}
