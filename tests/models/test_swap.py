"""Exchanged layers: shared ones stay shared, what the network's own code needs is named, all of it can be undone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from drbench.errors import InputError
from drbench.models import convert, create_model
from drbench.models.recipes import select
from drbench.operators import DRConv2d


class Head(nn.Module):
    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).relu()


class Shared(nn.Module):
    """Two parents that hold one convolution, as the heads of a detector over several scales do."""

    def __init__(self) -> None:
        super().__init__()
        conv = nn.Conv2d(3, 3, 3, padding=1)
        self.large, self.small = Head(conv), Head(conv)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.small(self.large(x))


@pytest.mark.parametrize("where", ["*", "small.conv", ["large.conv", "small.conv"]])
def test_a_convolution_of_two_parents_becomes_one_layer_of_both(where):
    model = Shared()
    converted = convert(model, where)
    assert isinstance(converted.large.conv, DRConv2d)
    assert converted.large.conv is converted.small.conv
    assert [row.name for row in converted.conversion.replacements] == ["large.conv"]
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(converted(x), model(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("guide", ["own", "block"])
def test_a_convolution_of_two_blocks_is_shared_by_them(guide):
    model = create_model("shufflenet_v2_x0_5", num_classes=3, input_shape=(3, 64, 64), seed=0).eval()
    model.stage2[2].branch2[5] = model.stage2[1].branch2[5]
    converted = convert(model, where_args={"guide": guide}, input_shape=(3, 64, 64))
    assert converted.stage2[2].branch2[5] is converted.stage2[1].branch2[5]
    assert len(converted.conversion.replacements) == 15
    assert len(converted.conversion.guides) == (16 if guide == "block" else 0)
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(converted(x), model(x), atol=1e-5, rtol=1e-3)


class Reads(nn.Module):
    """Code that reads a convolution's attributes, calls one that it holds twice, and calls one as it should."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Conv2d(3, 3, 1)
        self.held = nn.Conv2d(3, 3, 1)
        self.fine = nn.Conv2d(3, 3, 1)
        self.held_too = [self.held]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fine(self.held_too[0](nn.functional.conv2d(x, self.read.weight)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "read",
            r"^operator 'drconv' can't replace 'read', a layer whose 'weight' the network reads \(test_swap.py, l",
        ),
        ("held", r"^operator 'drconv' can't replace 'held', a layer that the network does not call by this name"),
    ],
)
def test_code_that_needs_the_convolution_itself_is_named(name, message):
    model = Reads()
    with pytest.raises(InputError, match=message) as raised:
        convert(model, [name, "fine"], inplace=True)
    assert "input_shape" not in str(raised.value)
    assert {type(layer) for layer in model.children()} == {nn.Conv2d}


def test_code_that_needs_the_convolution_itself_can_be_skipped():
    model = Reads()
    converted = convert(model, "*", unsuitable="skip", inplace=True)
    assert [row.name for row in converted.conversion.replacements] == ["fine"]
    assert [skipped.name for skipped in converted.conversion.skipped] == ["read", "held"]
    assert (type(model.read), type(model.held), type(model.fine)) == (nn.Conv2d, nn.Conv2d, DRConv2d)
    assert model.held_too[0] is model.held


def test_another_failure_of_the_converted_network_is_shown_as_it_is():
    class Fails(nn.Conv2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("out of\nluck")

    with pytest.raises(InputError, match=r"converted Reads fails where the plain one works: RuntimeError: out of luck"):
        convert(Reads(), "fine", Fails, init="fresh")


def blocks() -> nn.Module:
    return create_model("shufflenet_v2_x0_5", num_classes=3, input_shape=(3, 64, 64))


def test_a_block_that_can_not_share_a_guide_is_named_or_skipped():
    model = blocks()
    model.stage2[1].forward = model.stage2[1].forward
    args = {"guide": "block"}
    with pytest.raises(InputError, match=r"^where: got 'stage2.1.branch2.5', a layer of 'stage2.1', whose method"):
        select(model, "last-pointwise", args)
    selection = select(model, "last-pointwise", args | {"unsuitable": "skip"})
    assert [skipped.name for skipped in selection.skipped] == ["stage2.1.branch2.5"]
    assert len(selection.convs) == len(selection.guided_blocks) == 15


def test_a_block_whose_convolutions_are_all_skipped_gets_no_guide():
    model = blocks()
    model.stage2[1].branch2[5].weight.register_hook(lambda grad: grad)
    converted = convert(model, where_args={"guide": "block"}, unsuitable="skip", inplace=True, input_shape=(3, 64, 64))
    assert "stage2.1" not in converted.conversion.guided_blocks
    assert not hasattr(converted.stage2[1], "guide")
    assert len(converted.conversion.replacements) == 15


@pytest.mark.parametrize("failing", ["stage2.1.branch2.5", "stage4.3.branch2.5"])
def test_all_is_as_it_was_after_a_failure_in_the_middle(failing):
    model = blocks()
    model.get_submodule(failing).regions = 3  # an attribute that the new layer needs itself
    before = dict(model.named_modules())
    kinds = {name: type(module) for name, module in before.items()}
    with pytest.raises(InputError, match=f"in place of '{failing}'"):
        convert(model, where_args={"guide": "block"}, inplace=True)
    assert dict(model.named_modules()) == before
    assert {name: type(module) for name, module in model.named_modules()} == kinds
    assert not hasattr(model, "conversion")
