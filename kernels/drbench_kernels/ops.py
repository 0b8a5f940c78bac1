"""The region convolutions as torch ops: implementation, shapes for the compiler, gradients, autocast and FLOP formulas.

`drbench::region_conv2d` and `drbench::expert_region_conv2d` are opaque to torch.compile and torch.export. Gradients are
those of the paper: input, filters and bias use the hard region; the guide gets the gradient that it would get were the
one-hot mask its softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from drbench_kernels import autograd, by_torch, composite, native, paths
from drbench_kernels.by_torch import empty_output
from drbench_kernels.columns import empty_like_layout
from drbench_kernels.geometry import Geometry, check, check_coefficients, check_gradient, check_regions, pair

LIBRARY = torch.library.Library("drbench", "DEF")  # type: ignore[no-untyped-call]
_GEOMETRY = "SymInt[] stride, SymInt[] padding, SymInt[] dilation, SymInt groups"
_SCHEMAS = (
    f"region_conv2d(Tensor input, Tensor filters, Tensor guide, Tensor? bias, {_GEOMETRY}) -> Tensor",
    f"region_conv2d_backward(Tensor grad, Tensor input, Tensor filters, Tensor guide, {_GEOMETRY}, bool guide_learns)"
    " -> (Tensor, Tensor, Tensor)",
    "expert_region_conv2d(Tensor input, Tensor experts, Tensor coefficients, Tensor guide, Tensor? bias,"
    f" {_GEOMETRY}) -> Tensor",
    "expert_region_conv2d_backward(Tensor grad, Tensor input, Tensor experts, Tensor coefficients, Tensor guide,"
    f" {_GEOMETRY}, bool guide_learns) -> (Tensor, Tensor, Tensor, Tensor)",
)


def define(schema: str) -> None:
    """Define an op, and its twin `_by_torch`: what the native kernel, once loaded, hands back (native/binding.cpp)."""
    LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))  # type: ignore[no-untyped-call]
    LIBRARY.define(schema.replace("(", "_by_torch(", 1))  # type: ignore[no-untyped-call]


for _schema in _SCHEMAS:
    define(_schema)

Implementation = TypeVar("Implementation", bound=Callable[..., Any])


def implements(name: str) -> Callable[[Implementation], Implementation]:
    """Register for every device. (torch.library.custom_op would load torch._dynamo, seconds, in the first call.)"""

    def register(function: Implementation) -> Implementation:
        run = autograd.without_autocast(function)  # a backward may run inside autocast
        for op in (name, f"{name}_by_torch"):
            LIBRARY.impl(op, run, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
        return function

    return register


def _geometry(stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int], groups: int) -> Geometry:
    return Geometry(pair("stride", stride, 1), pair("padding", padding, 0), pair("dilation", dilation, 1), groups)


def _checked(
    input: Tensor,
    filters: Tensor,
    guide: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    coefficients: Tensor | None = None,
    grad: Tensor | None = None,
) -> None:
    """What the public functions have checked, for those who call the op: a saved program, `torch.ops`."""
    own = coefficients is None
    form = f"({'N, m' if own else 'K'}, O, C/groups, kh, kw)"
    name = "filters" if own else "experts"
    size = check(input, filters, guide, bias, geometry, filters_name=name, filters_form=form, per_sample=own)
    if coefficients is None:
        check_regions(guide, filters.shape[-5], name)
    else:
        check_coefficients(coefficients, input, filters.shape[0])
        check_regions(guide, coefficients.shape[1], "coefficients")
    if grad is not None:
        check_gradient(grad, (input.shape[0], filters.shape[-4], *size))


def _path_of(input: Tensor, guide: Tensor) -> Any:
    """The module that computes for these tensors, with the functions of by_torch: `gpu`, or by_torch itself.

    The native kernels, once loaded, take the CPU's place in the dispatcher and come here only with what they leave.
    """
    path = paths.region_path(input.device.type, input.dtype)
    if path == paths.TRITON_REGION and guide.dtype != torch.float64:  # as float32, close ones could change places
        return import_module("drbench_kernels.gpu")
    if input.device.type == "cpu" and input.dtype in paths.NATIVE_DTYPES:
        native.warn_once()
    return by_torch


@implements("region_conv2d")
def _region_conv2d(
    input: Tensor,
    filters: Tensor,
    guide: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    geometry = _geometry(stride, padding, dilation, groups)
    _checked(input, filters, guide, bias, geometry)
    return _path_of(input, guide).region_forward(input, filters, guide, bias, geometry)  # type: ignore[no-any-return]


@implements("region_conv2d_backward")
def _region_conv2d_backward(
    grad: Tensor,
    input: Tensor,
    filters: Tensor,
    guide: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    guide_learns: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    geometry = _geometry(stride, padding, dilation, groups)
    _checked(input, filters, guide, None, geometry, grad=grad)
    return _path_of(input, guide).region_backward(  # type: ignore[no-any-return]
        grad, input, filters, guide, geometry, guide_learns
    )


@implements("expert_region_conv2d")
def _expert_region_conv2d(
    input: Tensor,
    experts: Tensor,
    coefficients: Tensor,
    guide: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    geometry = _geometry(stride, padding, dilation, groups)
    _checked(input, experts, guide, bias, geometry, coefficients)
    return _path_of(input, guide).expert_forward(  # type: ignore[no-any-return]
        input, experts, coefficients, guide, bias, geometry
    )


@implements("expert_region_conv2d_backward")
def _expert_region_conv2d_backward(
    grad: Tensor,
    input: Tensor,
    experts: Tensor,
    coefficients: Tensor,
    guide: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    guide_learns: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    geometry = _geometry(stride, padding, dilation, groups)
    _checked(input, experts, guide, None, geometry, coefficients, grad)
    return _path_of(input, guide).expert_backward(  # type: ignore[no-any-return]
        grad, input, experts, coefficients, guide, geometry, guide_learns
    )


@torch.library.register_fake("drbench::region_conv2d", lib=LIBRARY)
def _(input, filters, guide, bias, stride, padding, dilation, groups):  # type: ignore[no-untyped-def]
    return empty_output(input, filters, _geometry(stride, padding, dilation, groups))


@torch.library.register_fake("drbench::expert_region_conv2d", lib=LIBRARY)
def _(input, experts, coefficients, guide, bias, stride, padding, dilation, groups):  # type: ignore[no-untyped-def]
    return empty_output(input, experts, _geometry(stride, padding, dilation, groups))


def _fake_gradient(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _fake_guide_gradient(guide: Tensor, guide_learns: bool) -> Tensor:
    return _fake_gradient(guide) if guide_learns else guide.new_empty(0)


@torch.library.register_fake("drbench::region_conv2d_backward", lib=LIBRARY)
def _(grad, input, filters, guide, stride, padding, dilation, groups, guide_learns):  # type: ignore[no-untyped-def]
    return (
        empty_like_layout(input, tuple(input.shape)),
        _fake_gradient(filters),
        _fake_guide_gradient(guide, guide_learns),
    )


@torch.library.register_fake("drbench::expert_region_conv2d_backward", lib=LIBRARY)
def _(  # type: ignore[no-untyped-def]
    grad, input, experts, coefficients, guide, stride, padding, dilation, groups, guide_learns
):
    return (
        empty_like_layout(input, tuple(input.shape)),
        _fake_gradient(experts),
        _fake_gradient(coefficients),
        _fake_guide_gradient(guide, guide_learns),
    )


def _backward(name: str, tensors: int) -> Callable[..., tuple[Tensor | None, ...]]:
    """The gradient of an op whose first `tensors` arguments end with the guide and are followed by the bias."""
    op = getattr(torch.ops.drbench, f"{name}_backward").default

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        args, needs = autograd.arguments_of(ctx)
        guide_learns = args[tensors - 1].is_floating_point() and needs[tensors - 1]
        gradients: list[Tensor | None] = [None] * tensors
        if any(needs[:tensors]):
            gradients = list(op(grad, *args[:tensors], *args[tensors + 1 :], guide_learns))
        if not guide_learns:
            gradients[-1] = None
        bias = grad.sum((0, 2, 3)) if needs[tensors] else None
        return *gradients, bias, None, None, None, None

    return backward


for _name, _tensors in (("region_conv2d", 3), ("expert_region_conv2d", 4)):
    _again = getattr(composite, f"{_name}_backward")
    for _twin in ("", "_by_torch"):
        autograd.register(LIBRARY, f"{_name}{_twin}", getattr(composite, _name), _backward(_name, _tensors))
        autograd.register(LIBRARY, f"{_name}_backward{_twin}", _again, autograd.through(_again))


def _autocast(name: str, device: str, tensors: int) -> None:
    """Under autocast: input, filters and bias in the autocast dtype; guide and coefficients in float32 at least.

    torch.library.register_autocast would cast those too, and bfloat16 alone moves positions between regions.
    """
    key = getattr(torch._C.DispatchKey, f"Autocast{device.upper()}")
    op = getattr(torch.ops.drbench, name).default

    def cast(*args: Any) -> Tensor:
        dtype = torch.get_autocast_dtype(device)
        input, filters, *choices = args[:tensors]
        choices = [choice.float() if choice.dtype in (torch.float16, torch.bfloat16) else choice for choice in choices]
        values = narrowed(input, dtype), narrowed(filters, dtype), *choices
        bias = None if args[tensors] is None else narrowed(args[tensors], dtype)
        with torch._C._ExcludeDispatchKeyGuard(torch._C.DispatchKeySet(key)):
            return op(*values, bias, *args[tensors + 1 :])  # type: ignore[no-any-return]

    LIBRARY.impl(name, cast, f"Autocast{device.upper()}")  # type: ignore[no-untyped-call]


def narrowed(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """float64 is asked for by name: autocast leaves it, as it does for torch's own convolution."""
    return tensor.to(dtype) if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor


for _device in ("cpu", "cuda"):
    _autocast("region_conv2d", _device, 3)
    _autocast("expert_region_conv2d", _device, 4)


# Twice the convention's multiply-adds. Backward: dX falls out of the products that the guide's gradient needs, so one
# per region and one for the filters; two for fixed regions.
@register_flop_formula(torch.ops.drbench.region_conv2d)
def _region_flops(input, filters, guide, bias, *args, out_shape=None, **kwargs) -> int:  # type: ignore[no-untyped-def]
    return 2 * paths.region_conv2d_madds(out_shape, filters)


@register_flop_formula(torch.ops.drbench.expert_region_conv2d)
def _expert_flops(  # type: ignore[no-untyped-def]
    input, experts, coefficients, guide, bias, *args, out_shape=None, **kwargs
) -> int:
    return 2 * paths.expert_region_conv2d_madds(out_shape, experts, coefficients[1])


@register_flop_formula(torch.ops.drbench.region_conv2d_backward)
def _region_backward_flops(grad, input, filters, guide, *args, **kwargs) -> int:  # type: ignore[no-untyped-def]
    products = 1 + filters[-5] if len(guide) == 4 else 2
    return 2 * products * paths.region_conv2d_madds(grad, filters)


@register_flop_formula(torch.ops.drbench.expert_region_conv2d_backward)
def _expert_backward_flops(  # type: ignore[no-untyped-def]
    grad, input, experts, coefficients, guide, *args, **kwargs
) -> int:
    products = 1 + coefficients[1] if len(guide) == 4 else 2
    mixing = paths.mixing_madds(grad[0], coefficients[1], experts)
    return 2 * (products * paths.region_conv2d_madds(grad, experts) + 2 * mixing)
