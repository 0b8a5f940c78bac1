"""torch.vmap over the ops, against a loop; per-sample gradients."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from drbench_kernels import expert_region_conv2d, region_conv2d
from drbench_kernels.layer import expert_layer
from torch import Tensor

close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)
WINDOWS = ((2, 1), (1, 1), (1, 2), 2)


def members(kind: str, samples: int = 2) -> dict[str, Tensor]:
    """Three of each argument, along dimension 1."""
    torch.manual_seed(0)
    new = partial(torch.randn, dtype=torch.float64)
    shapes = {
        "grad": (samples, 6, 2, 4),
        "input": (samples, 4, 4, 6),
        "filters": (3, 6, 2, 3, 3) if kind == "shared" else (samples, 3, 6, 2, 3, 3),
        "experts": (5, 6, 2, 3, 3),
        "coefficients": (samples, 3, 5),
        "guide": (samples, 3, 2, 4),
        "bias": (6,),
    }
    made = {name: new(shape[0], 3, *shape[1:]) for name, shape in shapes.items()}
    if kind == "integer":
        made["guide"] = made["guide"].argmax(2)
    return made


def compare(function: Callable[..., Any], values: list[Tensor], dims: tuple[int | None, ...]) -> None:
    given = [value if dim is not None else value[:, 0] for value, dim in zip(values, dims, strict=True)]
    got = torch.vmap(function, dims)(*given)
    alone = [
        function(*(value.select(dim, i) if dim is not None else value for value, dim in zip(given, dims, strict=True)))
        for i in range(3)
    ]
    close(got, torch.stack(alone) if isinstance(got, Tensor) else tuple(map(torch.stack, zip(*alone, strict=True))))


OPS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "region": (lambda x, w, f, b: region_conv2d(x, w, f, b, *WINDOWS), ("input", "filters", "guide", "bias")),
    "region_backward": (
        lambda g, x, w, f: torch.ops.drbench.region_conv2d_backward(g, x, w, f, *WINDOWS, f.is_floating_point()),
        ("grad", "input", "filters", "guide"),
    ),
    "expert": (
        lambda x, e, a, f, b: expert_region_conv2d(x, e, a, f, b, *WINDOWS),
        ("input", "experts", "coefficients", "guide", "bias"),
    ),
    "expert_backward": (
        lambda g, x, e, a, f: torch.ops.drbench.expert_region_conv2d_backward(
            g, x, e, a, f, *WINDOWS, f.is_floating_point()
        ),
        ("grad", "input", "experts", "coefficients", "guide"),
    ),
}


@pytest.mark.parametrize("kind", ["logits", "integer", "shared"])
@pytest.mark.parametrize("op", OPS)
def test_every_op_as_in_a_loop_whatever_is_batched(op: str, kind: str) -> None:
    function, names = OPS[op]
    made = members(kind)
    for dims in itertools.product((None, 1), repeat=len(names)):
        if any(dims):
            compare(function, [made[name] for name in names], dims)


@pytest.mark.parametrize("grad", [True, False])
def test_a_layer_as_in_a_loop(grad: bool) -> None:
    new = partial(torch.randn, dtype=torch.float64)
    function = lambda x, e, w, b, g: expert_layer(x, e, w, b, g, None, *WINDOWS, (1, 1))  # noqa: E731
    shapes = ((2, 3, 4, 4, 6), (5, 3, 6, 2, 3, 3), (15, 3, 4), (15, 3), (3, 3, 4, 3, 3))
    values = [new(shape).requires_grad_(grad) for shape in shapes]
    for dims in ((1, None, None, None, None), (None, 1, 1, 1, 1), (1, 1, 1, 1, 1)):
        compare(function, values, dims)


def test_nested_batches_and_a_batch_of_nothing() -> None:
    made = members("logits")
    x, w, guide = made["input"], made["filters"][:, 0], made["guide"][:, 0]
    twice = torch.vmap(torch.vmap(lambda v: region_conv2d(v, w, guide, None, *WINDOWS), 1), 0)
    got = twice(torch.stack([x, -x]))
    close(got[1, 2], region_conv2d(-x[:, 2], w, guide, None, *WINDOWS))
    empty = torch.vmap(lambda v, f: region_conv2d(v, w[:0], f, None, *WINDOWS), 1)
    assert empty(x[:0], made["guide"][:0]).shape == (3, 0, 6, 2, 4)


@pytest.mark.parametrize("op", ["region", "expert"])
def test_per_sample_gradients(op: str) -> None:
    function, names = OPS[op]
    made = members("shared", samples=1)
    shared = [name for name in names if name in ("filters", "experts", "bias")]
    learnt = {name: made[name][:, 0] for name in shared}
    rest = {name: made[name].movedim(1, 0) for name in names if name not in shared}

    def loss(learnt: dict[str, Tensor], rest: dict[str, Tensor]) -> Tensor:
        return function(*({**learnt, **rest}[name] for name in names)).square().sum()  # type: ignore[no-any-return]

    got = torch.vmap(torch.func.grad(loss, argnums=(0, 1)), (None, 0))(learnt, rest)
    for i in range(3):
        leaves = {name: value.clone().requires_grad_() for name, value in learnt.items()}
        own = {name: value[i].clone().requires_grad_() for name, value in rest.items()}
        loss(leaves, own).backward()
        close({name: value[i] for name, value in got[0].items()}, {name: v.grad for name, v in leaves.items()})
        close({name: value[i] for name, value in got[1].items()}, {name: v.grad for name, v in own.items()})
