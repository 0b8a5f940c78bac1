"""Every path against the float64 loops, over random configurations and over edge cases by name."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import torch
from drbench_kernels import expert_region_conv2d, region_conv2d
from drbench_kernels.geometry import Geometry
from drbench_kernels.paths import BY_EXPERT, BY_REGION, torch_path
from drbench_kernels.reference import region_conv2d_gradients, region_conv2d_reference
from torch import Tensor

Pair = tuple[int, int]

# A sum of T products rounds T times; T is at most 3*4*9 here, so 40 machine epsilons of the largest term leave room
# for an unlucky order and none for a wrong tap. Narrow types round the mixed filter or the weighted input once more.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 4e-2, torch.float16: 5e-3}


@dataclass(frozen=True)
class Case:
    samples: int
    channels: int
    out: int
    regions: int
    size: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    dtype: torch.dtype
    channels_last: bool
    shared: bool
    integer_guide: bool
    bias: bool
    smooth: bool


def random_case(seed: int) -> Case:
    draw = random.Random(seed)
    groups = draw.choice([1, 1, 2, 3])
    return Case(
        samples=draw.choice([1, 1, 2, 3]),
        channels=groups * draw.choice([1, 2, 3, 4]),
        out=groups * draw.choice([1, 2, 3, 5]),
        regions=draw.choice([1, 2, 3, 8]),
        size=(draw.randint(5, 9), draw.randint(5, 9)),
        kernel=draw.choice([(1, 1), (1, 1), (3, 3), (1, 3), (2, 2), (5, 3)]),
        stride=draw.choice([(1, 1), (1, 1), (2, 2), (1, 3)]),
        padding=draw.choice([(0, 0), (1, 1), (2, 0)]),
        dilation=draw.choice([(1, 1), (1, 1), (1, 2)]),
        groups=groups,
        dtype=draw.choice([torch.float64, torch.float32, torch.float32, torch.bfloat16, torch.float16]),
        channels_last=draw.random() < 0.5,
        shared=draw.random() < 0.3,
        integer_guide=draw.random() < 0.3,
        bias=draw.random() < 0.5,
        smooth=draw.random() < 0.5,
    )


@dataclass(frozen=True)
class Arguments:
    input: Tensor
    experts: Tensor
    coefficients: Tensor
    filters: Tensor
    guide: Tensor
    bias: Tensor | None
    geometry: tuple[Pair, Pair, Pair, int]

    def region(self) -> tuple[object, ...]:
        return (self.input, self.filters, self.guide, self.bias, *self.geometry)

    def expert(self) -> tuple[object, ...]:
        return (self.input, self.experts, self.coefficients, self.guide, self.bias, *self.geometry)


def arguments(case: Case, seed: int) -> Arguments:
    torch.manual_seed(seed)
    memory_format = torch.channels_last if case.channels_last else torch.contiguous_format
    x = torch.randn(case.samples, case.channels, *case.size, dtype=case.dtype).contiguous(memory_format=memory_format)
    experts = torch.randn(2, case.out, case.channels // case.groups, *case.kernel, dtype=case.dtype) / 2
    coefficients = torch.rand(case.samples, case.regions, 2, dtype=case.dtype)
    filters = torch.einsum("nmk,k...->nm...", coefficients.double(), experts.double()).to(case.dtype)
    geometry = Geometry(case.stride, case.padding, case.dilation, case.groups)
    size = geometry.output_size(*case.size, case.kernel)
    logits = torch.randn(case.samples, case.regions, *size)
    if case.smooth:
        coarse = torch.randn(case.samples, case.regions, 2, 2)
        logits = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    guide = logits.argmax(1) if case.integer_guide else logits.to(case.dtype)
    bias = torch.randn(case.out, dtype=case.dtype) if case.bias else None
    plain = (case.stride, case.padding, case.dilation, case.groups)
    return Arguments(x, experts, coefficients, filters[0] if case.shared else filters, guide, bias, plain)


@pytest.mark.parametrize("seed", range(240))
def test_random_configurations_agree_with_the_loops(seed: int) -> None:
    case = random_case(seed)
    given = arguments(case, seed)
    tolerance = TOLERANCE[case.dtype]
    want = region_conv2d_reference(*given.region())  # type: ignore[arg-type]
    scale = max(1.0, float(want.abs().max()))
    got = region_conv2d(*given.region())  # type: ignore[arg-type]
    assert got.dtype == case.dtype
    # An input of one channel is in both formats at once, and then the output's is free.
    last = case.channels_last and case.channels > 1
    assert got.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    assert float((got.double() - want).abs().max()) <= tolerance * scale
    mixed = torch.einsum("nmk,k...->nm...", given.coefficients.double(), given.experts.double())
    want = region_conv2d_reference(given.input, mixed, given.guide, given.bias, *given.geometry)
    got = expert_region_conv2d(*given.expert())  # type: ignore[arg-type]
    assert float((got.double() - want).abs().max()) <= tolerance * max(1.0, float(want.abs().max()))


@pytest.mark.parametrize("seed", range(60))
def test_gradients_follow_the_formulas(seed: int) -> None:
    case = random_case(1000 + seed)
    given = arguments(Case(**{**case.__dict__, "dtype": torch.float64, "bias": True}), seed)
    assert given.bias is not None
    learn = [given.input, given.filters, given.bias] + ([] if case.integer_guide else [given.guide])
    for tensor in learn:
        tensor.requires_grad_()
    y = region_conv2d(*given.region())  # type: ignore[arg-type]
    grad = torch.randn_like(y)
    got = torch.autograd.grad(y, learn, grad)
    detached = [t.detach() for t in (grad, given.input, given.filters, given.guide)]
    want = region_conv2d_gradients(*detached, *given.geometry)
    expected = [want.input, want.filters, want.bias] + ([] if want.guide is None else [want.guide])
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(40))
def test_expert_gradients_follow_the_formulas_through_the_mixing(seed: int) -> None:
    case = random_case(2000 + seed)
    given = arguments(Case(**{**case.__dict__, "dtype": torch.float64, "integer_guide": False}), seed)
    learn = [t.requires_grad_() for t in (given.input, given.experts, given.coefficients, given.guide)]
    y = expert_region_conv2d(*given.expert())  # type: ignore[arg-type]
    grad = torch.randn_like(y)
    got = torch.autograd.grad(y, learn, grad)
    mixed = torch.einsum("nmk,k...->nm...", given.coefficients, given.experts)
    want = region_conv2d_gradients(grad, given.input.detach(), mixed.detach(), given.guide.detach(), *given.geometry)
    through = torch.autograd.grad(mixed, [given.experts, given.coefficients], want.filters)
    assert want.guide is not None
    for a, b in zip(got, (want.input, *through, want.guide), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("size", "channels", "path"), [((2, 3), 4, BY_EXPERT), ((90, 90), 16, BY_REGION)])
def test_both_ways_of_mixing_are_reached_and_agree(size: Pair, channels: int, path: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, channels, *size, dtype=torch.float64)
    experts, coefficients = torch.randn(4, channels, channels, 1, 1).double(), torch.rand(1, 3, 4).double()
    guide = torch.randn(1, 3, *size).double()
    assert torch_path(size[0] * size[1], channels * channels, 3, 4) == path
    filters = torch.einsum("nmk,k...->nm...", coefficients, experts)
    # An independent way: all three convolutions in full, then pick.
    full = torch.stack([torch.nn.functional.conv2d(x, filters[0, j]) for j in range(3)], 1)
    want = full.gather(1, guide.argmax(1)[:, None, None].expand(-1, 1, channels, -1, -1)).squeeze(1)
    torch.testing.assert_close(expert_region_conv2d(x, experts, coefficients, guide), want)


@pytest.mark.parametrize("regions", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_equal_filters_are_the_plain_convolution(regions: int, stride: int) -> None:
    torch.manual_seed(0)
    x, w = torch.randn(2, 6, 9, 7), torch.randn(8, 3, 3, 3)
    want = torch.nn.functional.conv2d(x, w, stride=stride, padding=1, groups=2)
    guide = torch.randn(2, regions, *want.shape[2:])
    got = region_conv2d(x, w.expand(regions, -1, -1, -1, -1), guide, stride=stride, padding=1, groups=2)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_an_empty_region_gets_no_gradient_and_disturbs_nobody() -> None:
    torch.manual_seed(0)
    x, filters = torch.randn(1, 3, 5, 5), torch.randn(1, 3, 4, 3, 1, 1, requires_grad=True)
    regions = torch.randint(0, 2, (1, 5, 5)) * 2
    region_conv2d(x, filters, regions).sum().backward()
    assert filters.grad is not None
    assert filters.grad[0, 1].abs().sum() == 0
    assert filters.grad[0, 0].abs().sum() > 0


@pytest.mark.parametrize("guide_kind", ["float", "integer"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_value_stays_at_its_position_and_in_its_region(bad: float, guide_kind: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 3, 3)
    x[0, 0, 1, 1] = bad
    x.requires_grad_()
    filters = torch.randn(1, 2, 2, 2, 1, 1, requires_grad=True)
    regions = torch.tensor([[[0, 0, 0], [0, 1, 0], [1, 1, 0]]])
    guide = torch.nn.functional.one_hot(regions, 2).permute(0, 3, 1, 2).float().requires_grad_()
    y = region_conv2d(x, filters, guide if guide_kind == "float" else regions)
    finite = torch.isfinite(y).all(1)
    assert int((~finite).sum()) == 1
    assert not finite[0, 1, 1]
    y.sum().backward()
    assert filters.grad is not None
    assert x.grad is not None
    assert torch.isfinite(filters.grad[0, 0]).all()
    assert not torch.isfinite(filters.grad[0, 1]).all()
    assert torch.isfinite(x.grad[:, :, 0]).all()
    if guide_kind == "float":
        assert guide.grad is not None
        assert int((~torch.isfinite(guide.grad)).any(1).sum()) == 1


def test_a_nan_logit_wins_as_in_argmax_and_ties_go_to_the_lowest() -> None:
    filters = torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1, 1)
    guide = torch.tensor([[0.0, 5.0, 5.0], [0.0, 9.0, float("nan")]]).T.reshape(1, 3, 1, 2)
    assert region_conv2d(torch.ones(1, 1, 1, 2), filters, guide).flatten().tolist() == [2.0, 3.0]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("kernel", "dilation"), [(2, 1), (3, 2), (4, 1)])
def test_padding_same_and_valid_are_those_of_conv2d(kernel: int, dilation: int) -> None:
    torch.manual_seed(0)
    x, w = torch.randn(1, 2, 9, 11), torch.randn(3, 2, kernel, kernel)
    for padding in ("same", "valid"):
        want = torch.nn.functional.conv2d(x, w, padding=padding, dilation=dilation)
        got = region_conv2d(x, w[None], torch.zeros(1, 1, *want.shape[2:]), padding=padding, dilation=dilation)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_no_samples_is_no_output() -> None:
    y = region_conv2d(torch.randn(0, 3, 4, 4), torch.randn(2, 5, 3, 1, 1), torch.randn(0, 2, 4, 4))
    assert y.shape == (0, 5, 4, 4)


def test_two_runs_are_bitwise_equal() -> None:
    given = arguments(random_case(3), 3)
    runs = [region_conv2d(*given.region()) for _ in range(2)]  # type: ignore[arg-type]
    assert torch.equal(*runs)


X, FILTERS, GUIDE = torch.zeros(2, 4, 5, 5), torch.zeros(2, 3, 6, 4, 1, 1), torch.zeros(2, 3, 5, 5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"input": torch.zeros(4, 5, 5)}, r"input is float32 \(4, 5, 5\)"),
        ({"input": X.long()}, "input is int64"),
        ({"filters": torch.zeros(2, 3, 6, 5, 1, 1)}, "5 channels a filter: allowed is 4"),
        ({"filters": torch.zeros(3, 3, 6, 4, 1, 1)}, "for 3 samples: allowed is the input's 2"),
        ({"filters": torch.zeros(0, 6, 4, 1, 1)}, "m at least 1"),
        ({"filters": FILTERS.double()}, "filters is torch.float64: allowed is the input's torch.float32"),
        ({"guide": torch.zeros(2, 4, 5, 5)}, "4 logits a position: allowed is 3"),
        ({"guide": torch.zeros(2, 3, 4, 5)}, r"allowed for this input and stride is \(2, m, 5, 5\)"),
        ({"guide": torch.zeros(2, 5, 5)}, "guide is float32"),
        ({"guide": torch.zeros(2, 5, 5, dtype=torch.bool)}, "guide is bool"),
        ({"guide": torch.full((2, 5, 5), 3)}, "region 3: allowed is 0 to 2"),
        ({"guide": torch.full((2, 5, 5), -1)}, "region -1: allowed is 0 to 2"),
        ({"guide": GUIDE.to("meta")}, "guide is on meta"),
        ({"bias": torch.zeros(5)}, r"bias is float32 \(5,\): allowed is \(6,\)"),
        ({"stride": 0}, "stride is 0: allowed is 1 or more"),
        ({"stride": (1, 2, 3)}, "an int or a pair of ints"),
        ({"padding": "full"}, "'same' or 'valid'"),
        ({"padding": "same", "stride": 2}, "allowed is stride 1"),
        ({"groups": 3}, "groups is 3"),
        ({"filters": torch.zeros(3, 6, 4, 7, 7)}, "smaller than the 7x7 kernel"),
        ({"filters": torch.zeros(3, 6, 4, 0, 1)}, "a kernel of 1x1 or more"),
        ({"input": [1.0]}, "input is a list: allowed is a tensor"),
        ({"bias": 1.0}, "bias is a float: allowed is a tensor"),
        ({"input": X.to_sparse()}, "input is torch.sparse_coo: allowed is a dense tensor"),
        ({"padding": 2**62}, "padding is .*: allowed is 2147483647 or less"),
        ({"dilation": 1.5}, "dilation is 1.5: allowed is an int or a pair of ints"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        region_conv2d(**{"input": X, "filters": FILTERS, "guide": GUIDE, **change})  # type: ignore[arg-type]


def test_bad_coefficients_are_named() -> None:
    with pytest.raises(ValueError, match=r"coefficients is float32 \(2, 3, 4\): allowed is \(2, m, 5\)"):
        expert_region_conv2d(X, torch.zeros(5, 6, 4, 1, 1), torch.zeros(2, 3, 4), GUIDE)
