"""What the region convolution is measured against computes what it says: by float64 loops, gradients too."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from drbench_kernels.bench import peers
from drbench_kernels.bench.problem import MASKS, Case, Problem
from drbench_kernels.bench.shapes import Shape, parse
from drbench_kernels.bench.ways import WAYS, SkippedError, layer_way
from drbench_kernels.reference import region_conv2d_gradients, region_conv2d_reference

SHAPES = ("1x1-5-3@4x6", "3x3-3-4@5x4", "1x1-4-2@5s2", "3x3-2-3@6x5s2")
REGION_WAYS = ("all-and-pick", "sort-gemm", "region_conv2d")


def shape_of(name: str) -> Shape:
    shape = parse(name)
    assert shape is not None
    return shape


def problem(name: str, *, backward: bool = True, channels_last: bool = True, masks: str = "scattered") -> Problem:
    return Problem(Case(shape_of(name), 2, backward, 3, 4, masks, torch.float64, "cpu", channels_last))


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("way", REGION_WAYS)
def test_ways_with_regions_are_the_definition(way: str, name: str, channels_last: bool) -> None:
    made = problem(name, channels_last=channels_last)
    stride, padding = (made.shape.stride,) * 2, (made.shape.padding,) * 2
    prepared = WAYS[way].make(made)
    assert prepared.leaves == (made.input, made.filters, made.guide, made.bias)
    output = prepared.output()
    expected = region_conv2d_reference(made.input, made.filters, made.guide, made.bias, stride, padding)
    torch.testing.assert_close(output.detach(), expected.detach(), rtol=1e-10, atol=1e-10)
    gradients = prepared.call(made)()
    assert isinstance(gradients, tuple)
    wanted = region_conv2d_gradients(made.grad, made.input, made.filters, made.guide, stride, padding)
    for got, want in zip(gradients, (wanted.input, wanted.filters, wanted.guide, wanted.bias), strict=True):
        assert want is not None
        torch.testing.assert_close(got.double(), want.detach(), rtol=1e-5, atol=1e-5)  # the guide is float32


@pytest.mark.parametrize("name", SHAPES)
def test_one_filter_a_sample(name: str) -> None:
    made = problem(name)
    stride, padding = made.shape.stride, made.shape.padding
    output = peers.per_sample(made.input, made.sample_filters, made.bias, stride, padding)
    each = [
        F.conv2d(x[None], w, made.bias, stride, padding) for x, w in zip(made.input, made.sample_filters, strict=True)
    ]
    torch.testing.assert_close(output, torch.cat(each))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_an_output_and_all_gradients(way: str, name: str) -> None:
    made = problem(name)
    output = WAYS[way].make(made).output()
    assert output.shape == (2, made.shape.outputs, *made.shape.output_size)
    gradients = WAYS[way].make(made).call(made)()
    assert [g.shape for g in gradients] == [leaf.shape for leaf in WAYS[way].make(made).leaves]  # type: ignore[attr-defined]


def test_layers_have_the_dtype_and_layout_of_the_case() -> None:
    made = problem("3x3-3-4@5x4")
    prepared = WAYS["nn.Conv2d"].make(made)
    assert {leaf.dtype for leaf in prepared.leaves} == {torch.float64}
    assert prepared.leaves[1].is_contiguous(memory_format=torch.channels_last)
    with pytest.raises(SkippedError, match="no_such"):
        layer_way("no_such.module:Layer")[1].make(made)
    with pytest.raises(SkippedError, match="Nothing"):
        layer_way("torch.nn:Nothing")[1].make(made)


def test_masks_are_what_they_are_called() -> None:
    def changes(masks: str) -> float:
        """The share of neighbours in a row that are of unlike regions."""
        regions = Problem(Case(shape_of("1x1-3-4@28"), 4, False, 8, 8, masks)).guide.argmax(1)
        return (regions[..., 1:] != regions[..., :-1]).double().mean().item()

    found = {masks: changes(masks) for masks in MASKS}
    assert found["constant"] == 0
    assert 0.01 < found["smooth"] < 0.3
    assert found["scattered"] > 0.8


def test_inputs_lie_in_memory_as_asked() -> None:
    case = Case(shape_of("1x1-16-4@6"), 2, False, 3)
    made = Problem(case)
    assert made.input.is_contiguous(memory_format=torch.channels_last)
    assert made.filters.is_contiguous()
    assert made.filters.shape == (2, 3, 4, 16, 1, 1)
    assert made.guide.dtype == torch.float32
    assert not made.input.requires_grad
    assert 1 <= made.regions_present <= 3


@pytest.mark.parametrize("way", WAYS)
def test_memory_is_said_beforehand_within_a_factor(way: str) -> None:
    made = problem("1x1-16-8@6")
    needed = WAYS[way].bytes_needed(made)
    prepared = WAYS[way].make(made)
    held = sum(leaf.numel() * leaf.element_size() for leaf in prepared.leaves)
    assert held / 4 < needed < 20 * held
