"""The guide: precision, and how one that is handed in is fitted."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from drbench.errors import InputError
from drbench.operators.guide import GuideConv2d, fit


def test_logits_stay_in_float32_under_autocast_and_in_a_bfloat16_network():
    guide = GuideConv2d(16, 8)
    x = torch.randn(2, 16, 9, 9)
    plain = guide(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = guide(x)
    assert torch.equal(cast, plain)  # bit for bit: nothing of it ran in bfloat16
    half = guide.to(torch.bfloat16)
    wide = F.conv2d(x.bfloat16().float(), half.weight.float())
    assert half(x.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(half(x.bfloat16()), wide)


def test_float64_is_not_narrowed():
    assert GuideConv2d(4, 2, dtype=torch.float64)(torch.randn(1, 4, 3, 3, dtype=torch.float64)).dtype == torch.float64


def test_cost_is_one_product_per_position_region_and_channel():
    assert GuideConv2d(24, 8).cost((24, 28, 28)) == {"guide": 28 * 28 * 24 * 8}


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (14, 11), (7, 6)])
def test_resizing_is_nearest(size):
    logits = torch.randn(2, 3, 7, 6)
    torch.testing.assert_close(fit(logits, size, 2, 3), F.interpolate(logits, size, mode="nearest"))
    regions = torch.randint(3, (2, 7, 6))
    by_torch = F.interpolate(regions[:, None].double(), size, mode="nearest")[:, 0].long()
    assert torch.equal(fit(regions, size, 2, 3), by_torch)


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(2, 4, 7, 6), torch.zeros(1, 3, 7, 6), torch.zeros(3, 7, 6), torch.zeros(2, 3, 7, 6, dtype=torch.long)],
)
def test_wrong_shapes_are_refused(wrong):
    with pytest.raises(InputError, match=r"^guide: got shape .* expected floating logits \(2, 3, h, w\)"):
        fit(wrong, (7, 6), 2, 3)
