"""The controls: regions that depend on the place alone, and a guide that never learns."""

from __future__ import annotations

import pytest
import torch

from drbench.operators import DRConv2d, FixedGridConv2d, RandomGuideConv2d


@pytest.mark.parametrize(("regions", "rows", "columns"), [(1, 1, 1), (4, 2, 2), (8, 2, 4), (7, 1, 7), (12, 3, 4)])
def test_the_grid_is_as_square_as_the_number_allows(regions, rows, columns):
    layer = FixedGridConv2d(4, 6, 1, regions=regions)
    got = layer.regions_of(torch.randn(2, 4, 12, 28))
    for y in range(12):
        for x in range(28):
            assert (got[:, y, x] == (y * rows // 12) * columns + x * columns // 28).all()
    assert layer.guide is None
    assert layer.cost((4, 12, 28))["guide"] == 0


def test_the_grid_is_that_of_drconv_with_the_same_regions_handed_in():
    grid = FixedGridConv2d(4, 6, 3, stride=2, padding=1, dtype=torch.float64)
    other = DRConv2d(4, 6, 3, stride=2, padding=1, own_guide=False, dtype=torch.float64)
    other.load_state_dict(grid.state_dict())
    x = torch.randn(2, 4, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(grid(x), other(x, grid.regions_of(x)))
    with pytest.raises(ValueError, match=r"^guide: "):
        grid(x, torch.zeros(2, 8, 8, 8))


def test_a_random_guide_chooses_like_drconvs_and_learns_nothing():
    layer = RandomGuideConv2d(4, 6, 3, padding=1)
    twin = DRConv2d(4, 6, 3, padding=1)
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 9, 9, requires_grad=True)
    torch.testing.assert_close(layer(x), twin(x))
    layer(x).square().sum().backward()
    assert layer.guide.weight.grad is None
    learned, x.grad = x.grad, None
    made = twin(x, twin.regions_of(x))  # regions fixed: no gradient through any guide
    made.square().sum().backward()
    torch.testing.assert_close(learned, x.grad)
