"""Derivatives beyond the first gradient, in every mode, against torch.nn.functional.conv2d and a choice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from drbench_kernels import expert_region_conv2d, region_conv2d
from drbench_kernels.layer import expert_layer, steps
from drbench_kernels.reference import region_conv2d_by_choice
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

# torch's own forward mode begins with a torch.jit.script
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
Function = Callable[..., Tensor]
GEOMETRIES = [((1, 1), (0, 0), (1, 1), 1, 1), ((2, 1), (1, 1), (1, 2), 2, 3)]
KINDS = ["logits", "integer", "shared"]
close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


def by_choice(input: Tensor, experts: Tensor, coefficients: Tensor, guide: Tensor, *rest: Any) -> Tensor:
    return region_conv2d_by_choice(input, torch.einsum("nmk,k...->nm...", coefficients, experts), guide, *rest)


def layer_by_choice(x: Tensor, e: Tensor, w: Tensor, b: Tensor, guide: Tensor, bias: Tensor, *rest: Any) -> Tensor:
    stride, padding, dilation, groups, guide_padding = rest
    coefficients = (torch.sigmoid(F.linear(x.mean((2, 3)), w, b)) * 2 / len(e)).view(len(x), -1, len(e))
    logits = F.conv2d(x, guide, None, stride, guide_padding, dilation)
    return by_choice(x, e, coefficients, logits, bias, stride, padding, dilation, groups)


def case(op: str, kind: str, geometry: tuple[Any, ...]) -> tuple[Function, Function, list[Tensor]]:
    """An op and its reference as functions of the tensors that learn, and those tensors."""
    torch.manual_seed(0)
    stride, padding, dilation, groups, kernel = geometry
    rest = (stride, padding, dilation, groups)
    new = partial(torch.randn, dtype=torch.float64)
    x, filters, bias = new(2, 4, 4, 5), new(2, 3, 6, 4 // groups, kernel, kernel), new(6)
    size = F.conv2d(x, filters[0, 0], None, *rest).shape[2:]
    guide = new(2, 3, *size)
    if op == "layer":
        tensors = [x, filters[0], new(9, 4), new(9), new(3, 4, kernel, kernel), bias]
        return (lambda *t: expert_layer(*t, *rest, padding)), (lambda *t: layer_by_choice(*t, *rest, padding)), tensors
    if op == "expert":
        tensors, ours, theirs = [x, filters[0], new(2, 3, 3), guide, bias], expert_region_conv2d, by_choice
    else:
        filters = filters[0] if kind == "shared" else filters
        tensors, ours, theirs = [x, filters, guide, bias], region_conv2d, region_conv2d_by_choice
    if kind != "integer":
        return (lambda *t: ours(*t, *rest)), (lambda *t: theirs(*t, *rest)), tensors
    fixed = tensors.pop(-2).argmax(1)
    return (
        (lambda *t: ours(*t[:-1], fixed, t[-1], *rest)),
        (lambda *t: theirs(*t[:-1], fixed, t[-1], *rest)),
        tensors,
    )


CASES = [
    pytest.param(op, kind, geometry, id=f"{op}-{kind}-{geometry[-1]}")
    for op, kinds in (("region", KINDS), ("expert", KINDS[:2]), ("layer", KINDS[:1]))
    for kind in kinds
    for geometry in GEOMETRIES
]


def three_orders(function: Function, tensors: list[Tensor]) -> list[Tensor]:
    learn = [t.clone().requires_grad_() for t in tensors]
    torch.manual_seed(1)
    y = function(*learn)
    orders: list[Tensor] = []
    value = (y * torch.randn(y.shape, dtype=y.dtype)).sum()
    for _ in range(3):
        gradients = torch.autograd.grad(value, learn, create_graph=True, materialize_grads=True)
        orders += gradients
        value = sum((g * torch.randn(g.shape, dtype=g.dtype)).sum() + g.pow(2).sum() for g in gradients)  # type: ignore[assignment]
    return orders


@pytest.mark.parametrize(("op", "kind", "geometry"), CASES)
def test_gradients_to_the_third_order(op: str, kind: str, geometry: tuple[Any, ...]) -> None:
    ours, theirs, tensors = case(op, kind, geometry)
    close(three_orders(ours, tensors), three_orders(theirs, tensors), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("op", "kind", "geometry"), [c for c in CASES if "integer" in str(c.id)])
def test_gradgradcheck_with_fixed_regions(op: str, kind: str, geometry: tuple[Any, ...]) -> None:
    ours, _, tensors = case(op, kind, geometry)
    learn = tuple(t.requires_grad_() for t in tensors)
    assert torch.autograd.gradcheck(ours, learn, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(ours, learn, check_fwd_over_rev=True, fast_mode=True)


@pytest.mark.parametrize(("op", "kind", "geometry"), CASES)
def test_forward_mode(op: str, kind: str, geometry: tuple[Any, ...]) -> None:
    ours, theirs, tensors = case(op, kind, geometry)
    tangents = tuple(torch.randn_like(t) for t in tensors)
    want = torch.func.jvp(theirs, tuple(tensors), tangents)
    close(torch.func.jvp(ours, tuple(tensors), tangents), want)
    with torch.no_grad(), forward_ad.dual_level():
        duals = [forward_ad.make_dual(t, v) for t, v in zip(tensors, tangents, strict=True)]
        close(tuple(forward_ad.unpack_dual(ours(*duals))), want)


@pytest.mark.parametrize(("op", "kind", "geometry"), CASES)
def test_all_ways_to_a_hessian_agree(op: str, kind: str, geometry: tuple[Any, ...]) -> None:
    ours, theirs, tensors = case(op, kind, geometry)
    learnt = tuple(range(1, len(tensors)))
    few = [tensors[0], *(t * 0.3 for t in tensors[1:])]
    direction = tuple(torch.randn_like(t) for t in few)

    def squared(function: Function) -> Function:
        return lambda *t: function(*t).pow(2).sum()

    want = torch.autograd.functional.vhp(squared(theirs), tuple(few), direction)
    close(torch.autograd.functional.vhp(squared(ours), tuple(few), direction), want)
    close(torch.autograd.functional.hvp(squared(ours), tuple(few), direction), want)
    gradient = torch.func.grad(squared(ours), argnums=(0, *learnt))
    close(torch.func.jvp(gradient, tuple(few), direction)[1], want[1])  # forward over reverse
    slope = lambda *t: torch.func.jvp(squared(ours), t, direction)[1]  # noqa: E731
    close(torch.func.grad(slope, argnums=(0, *learnt))(*few), want[1])  # reverse over forward


@pytest.mark.parametrize("op", ["region", "expert", "layer"])
def test_whole_jacobians_and_hessians(op: str) -> None:
    ours, theirs, tensors = case(op, "logits", GEOMETRIES[1])
    row = lambda function: lambda t: function(tensors[0], t, *tensors[2:])[0, :, 0, 0]  # noqa: E731
    want = torch.autograd.functional.jacobian(row(theirs), tensors[1])
    close(torch.func.jacrev(row(ours))(tensors[1]), want)
    close(torch.func.jacfwd(row(ours))(tensors[1]), want)
    value = lambda function: lambda t: row(function)(t).pow(3).sum()  # noqa: E731
    close(torch.func.hessian(value(ours))(tensors[1]), torch.autograd.functional.hessian(value(theirs), tensors[1]))


def test_a_layer_without_gradients_is_its_steps() -> None:
    ours, theirs, tensors = case("layer", "logits", GEOMETRIES[1])
    close(ours(*tensors), theirs(*tensors))
    close(steps(*tensors, (2, 1), (1, 1), (1, 2), 2, (1, 1)), theirs(*tensors))


@pytest.mark.parametrize("twin", ["", "_by_torch"])
def test_no_op_passes_gradients_by(twin: str) -> None:
    # what torch does with an op that has no rule: no gradient, and a warning
    stride, padding, dilation, groups, _ = GEOMETRIES[0]
    x = torch.randn(1, 2, 3, 3, requires_grad=True)
    w, guide, a = torch.randn(4, 5, 2, 1, 1), torch.randn(1, 4, 3, 3), torch.randn(1, 4, 4)
    rest = (stride, padding, dilation, groups)
    ops = torch.ops.drbench
    grad = torch.ones(1, 5, 3, 3)
    outputs = [
        getattr(ops, f"region_conv2d{twin}")(x, w, guide, None, *rest),
        getattr(ops, f"expert_region_conv2d{twin}")(x, w, a, guide, None, *rest),
        getattr(ops, f"region_conv2d_backward{twin}")(grad, x, w, guide, *rest, True)[1],
        getattr(ops, f"expert_region_conv2d_backward{twin}")(grad, x, w, a, guide, *rest, True)[1],
        getattr(ops, f"expert_layer{twin}")(
            x, w, torch.randn(16, 2), torch.randn(16), torch.randn(4, 2, 1, 1), None, *rest, padding
        ),
    ]
    for y in outputs:
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert gradient.abs().sum() > 0


def test_a_gradient_penalty_is_that_of_the_plain_convolution() -> None:
    # float32, as the native kernels compute; all regions' filters are one, so the plain convolution is the reference
    torch.manual_seed(0)
    x, w = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3)
    guide = torch.randn(2, 5, 6, 6)

    def penalty(convolve: Function) -> tuple[Tensor, ...]:
        z, own = x.clone().requires_grad_(), w.clone().requires_grad_()
        (g,) = torch.autograd.grad(convolve(z, own).tanh().square().sum(), z, create_graph=True)
        return torch.autograd.grad((g.flatten(1).norm(dim=1) - 1).square().sum(), (z, own))

    got = penalty(lambda z, own: region_conv2d(z, own.expand(5, -1, -1, -1, -1), guide, padding=1))
    torch.testing.assert_close(got, penalty(lambda z, own: F.conv2d(z, own, padding=1)), rtol=1e-4, atol=1e-4)
