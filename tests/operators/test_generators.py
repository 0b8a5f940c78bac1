"""The filter generators: what they compute, in float64 by hand, and with what variance they begin."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from drbench.operators import DRConv2d
from drbench.operators.generators import GENERATORS, ExpertGenerator, GroupedGenerator

SHAPE = (6, 2, 3, 2)  # O, C/groups, kh, kw


def test_experts_are_mixed_by_twice_the_sigmoid_over_k():
    generator = ExpertGenerator(4, SHAPE, regions=3, experts=5, dtype=torch.float64)
    nn.init.normal_(generator.routing.weight)
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    pooled = x.sum((2, 3)) / 25
    for n in range(2):
        for j in range(3):
            for k in range(5):
                row = generator.routing.weight[j * 5 + k]
                expected = 2 * torch.sigmoid(pooled[n] @ row + generator.routing.bias[j * 5 + k]) / 5
                torch.testing.assert_close(generator(x)[n, j, k], expected)


def test_grouped_filters_come_from_the_regions_own_basis():
    m = 3
    generator = GroupedGenerator(4, SHAPE, regions=m, dtype=torch.float64)
    nn.init.normal_(generator.offset)
    x = torch.randn(2, 4, 7, 5, dtype=torch.float64)
    hidden = torch.sigmoid(F.conv2d(F.adaptive_avg_pool2d(x, (3, 2)), generator.routing.weight, generator.routing.bias))
    filters = generator(x)
    assert filters.shape == (2, m, *SHAPE)
    weight = generator.basis.weight.view(m, 12, m)
    for j in range(m):
        own = torch.einsum("fh,nhyx->nfyx", weight[j], hidden[:, j * m : (j + 1) * m]).view(2, *SHAPE)
        torch.testing.assert_close(filters[:, j], own + generator.offset[j].view(SHAPE))


@pytest.mark.parametrize("experts", [1, 4, 8, 16])
@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("kernel", [1, 3])
def test_output_variance_is_that_of_conv2d_within_a_factor_of_two(generator, experts, kernel):
    torch.manual_seed(experts)
    x = torch.randn(4, 64, 12, 12)
    number = {"regions": 8, "experts": experts} if generator == "experts" else {"regions": experts}
    layer = DRConv2d(64, 96, kernel, generator=generator, **number)
    plain = nn.Conv2d(64, 96, kernel)
    with torch.no_grad():
        ratio = (layer(x).var() / plain(x).var()).item()
    assert 0.5 < ratio < 2


@pytest.mark.parametrize("experts", [1, 4, 16])
def test_the_released_initialisation_gives_six_over_k_of_it(experts):
    torch.manual_seed(0)
    x = torch.randn(4, 96, 12, 12)
    layer = DRConv2d(96, 128, 1, bias=False, experts=experts, initialisation="released")
    with torch.no_grad():
        ratio = (layer(x).var() / nn.Conv2d(96, 128, 1, bias=False)(x).var()).item()
    assert ratio == pytest.approx(6 / experts, rel=0.15)


def test_costs_of_the_worked_example():
    # 48 -> 48, 1x1, m = 8 (operator.md)
    assert GroupedGenerator(48, (48, 48, 1, 1), 8).cost() == {"routing": 3_072, "mixing": 147_456}
    assert ExpertGenerator(48, (48, 48, 1, 1), 8, 8).cost() == {"routing": 48 * 64, "mixing": 8 * 8 * 48 * 48}
