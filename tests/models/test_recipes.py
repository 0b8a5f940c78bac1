"""Which convolutions a recipe or a pattern means."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from drbench.errors import InputError
from drbench.models import ARCHITECTURES, convert, create_model
from drbench.models.recipes import select


def plain(name: str) -> nn.Module:
    return ARCHITECTURES[name].build(num_classes=4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_last_pointwise_is_one_convolution_of_every_block_with_one(name):
    model = plain(name)
    selection = select(model, "last-pointwise")
    assert len(selection.convs) == len({conv.rsplit(".", 2)[0] for conv in selection.convs}) > 0
    everywhere = select(model, "pointwise").convs
    assert set(selection.convs) <= set(everywhere)
    for conv in everywhere:
        assert model.get_submodule(conv).kernel_size == (1, 1)


@pytest.mark.parametrize(
    ("name", "last", "every"),
    [
        ("shufflenet_v2_x0_5", 16, 16 * 2 + 3),  # the left branches of the three stride-2 blocks have one too
        ("mobilenet_v1_0.25", 13, 13),
        ("mobilenet_v2_0.35", 17, 17 * 2 - 1),  # the first block does not expand
        ("mobilenet_v3_small_0.75", 11, 11 * 2 - 1),
        ("mobilenet_v3_large_0.75", 15, 15 * 2 - 1),
    ],
)
def test_counts_follow_from_the_papers_tables(name, last, every):
    model = plain(name)
    assert len(select(model, "last-pointwise").convs) == last
    assert len(select(model, "pointwise").convs) == every


def test_released_is_both_pointwise_of_every_right_branch():
    selection = select(plain("shufflenet_v2_x0_5"), "released")
    assert len(selection.convs) == 32
    assert all(conv.rpartition(".")[0].endswith("branch2") for conv in selection.convs)
    assert len(selection.guided_blocks) == 16


def test_the_last_pointwise_of_a_shufflenet_block_is_the_right_branchs_last():
    convs = select(plain("shufflenet_v2_x0_5"), ("last-pointwise",)).convs
    assert all(conv.endswith("branch2.5") for conv in convs)


def test_patterns_match_names_and_keep_the_networks_order():
    model = plain("mobilenet_v2_0.35")
    assert select(model, ["features.3.conv.2", "features.2.*"]).convs == (
        "features.2.conv.0.0",
        "features.2.conv.1.0",
        "features.2.conv.2",
        "features.3.conv.2",
    )


@pytest.mark.parametrize(
    ("where", "arguments", "message"),
    [
        ("nothing*", {}, r"^where: no convolution matches 'nothing\*'. Candidates: features.0.0, .* more. Recipes: "),
        ("last-pointwize", {}, r"^where: no convolution matches 'last-pointwize'"),
        ("features.0.1", {}, r"^where: 'features.0.1' is a .*BatchNorm2d, not a convolution"),
        (("last-pointwise", "features.*"), {}, r"can't be combined"),
        ("last-pointwise", {"guide": "both"}, r"^guide: got 'both'; expected own, block"),
        ("last-pointwise", {"giude": "own"}, r"^unknown recipe argument 'giude': did you mean 'guide'"),
        ("released", {}, r"^recipe 'released' is about ShuffleNetV2"),
        ("features.*", {"guide": "own"}, r"^where_args: glob patterns take 'unsuitable' only, got guide"),
    ],
)
def test_errors_name_what_there_is(where, arguments, message):
    with pytest.raises(InputError, match=message) as raised:
        select(plain("mobilenet_v2_0.35"), where, arguments)
    assert "\n" not in str(raised.value)


def test_a_network_without_known_blocks_is_refused_with_its_candidates():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, 1))
    with pytest.raises(InputError, match=r"knows no block of Sequential; give glob patterns .* Candidates: 0, 2\."):
        select(model, "last-pointwise")


def test_blocks_of_ones_own_network_are_known():
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 24, 1)
            self.body = plain("shufflenet_v2_x0_5").stage2

    assert select(Own(), "last-pointwise").convs == tuple(f"body.{i}.branch2.5" for i in range(4))


def test_guide_block_is_refused_for_blocks_it_can_not_reach_into():
    with pytest.raises(InputError, match=r"^where: got .*, a layer of 'blocks.*, a timm.* \(guide='own'"):
        select(plain("mobilenetv4_conv_small"), "last-pointwise", {"guide": "block"})


@pytest.mark.parametrize("where", ["pointwise", "*"])
def test_a_second_conversion_stays_out_of_the_first_ones_layers(where):
    model = create_model("shufflenet_v2_x0_5", operator="drconv", generator="grouped", input_shape=(3, 32, 32))
    first = {r.name for r in model.conversion.replacements}
    second = convert(model, where, "condconv", input_shape=(3, 32, 32))
    assert not any(r.name.startswith(tuple(first)) for r in second.conversion.replacements)
    assert second.conversion.before == model.conversion
    assert second(torch.zeros(2, 3, 32, 32)).shape == (2, 1000)
