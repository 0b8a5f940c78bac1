"""Images with masks: changed together, checked by name before training, batches of both."""

from __future__ import annotations

import pytest
import torch

from drbench.data.batches import Part, batches, in_order, raw_batches
from drbench.data.masks import IGNORED, FlipScale, Masks
from drbench.data.preprocess import Prepare, describe
from drbench.data.seeds import generator
from drbench.errors import DataError

PART = Part("mine", "train", 3)


def test_an_image_and_its_mask_are_changed_alike() -> None:
    """The image shows its own mask: after any change it still does, up to the interpolation at edges."""
    masks = torch.zeros(16, 40, 30, dtype=torch.uint8)
    for number in range(16):
        masks[number, 5 + number : 25, 4:20] = 1 + number % 2
    images = (masks[:, None] * 100).expand(-1, 3, -1, -1).clone()
    changed, moved = FlipScale().together(images, masks, generator(3))
    assert (changed.shape, changed.dtype, moved.shape, moved.dtype) == (
        images.shape,
        torch.uint8,
        masks.shape,
        torch.uint8,
    )
    assert set(moved.unique().tolist()) <= {0, 1, 2}
    agree = (changed[:, 0].float() / 100).round() == moved
    assert float(agree.float().mean()) > 0.97
    assert not torch.equal(moved, masks)
    mirrored = [
        torch.equal(FlipScale(1.0).together(images, masks, generator(s))[1][0], masks[0].flip(1)) for s in range(20)
    ]
    assert 4 < sum(mirrored) < 16
    again, _ = FlipScale().together(images, masks, generator(3))
    assert torch.equal(again, changed)


def test_ignored_pixels_stay_ignored() -> None:
    masks = torch.full((4, 8, 8), IGNORED, dtype=torch.uint8)
    _, moved = FlipScale().together(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), masks, generator(0))
    assert bool((moved == IGNORED).all())


def test_batches_hold_inputs_and_masks() -> None:
    images, masks = torch.randint(256, (5, 3, 8, 8), dtype=torch.uint8), torch.randint(3, (5, 8, 8), dtype=torch.uint8)
    prepare = Prepare(describe(8, (0.5,) * 3, (0.5,) * 3), torch.device("cpu"))
    found = list(batches(Masks(images, masks), in_order(5, 2), prepare, part=PART))
    assert [tuple(targets.shape) for _, targets in found] == [(2, 8, 8), (2, 8, 8), (1, 8, 8)]
    assert torch.equal(torch.cat([targets for _, targets in found]), masks)
    assert torch.allclose(found[2][0], (images[4:].float() / 255 - 0.5) / 0.5, atol=1e-6)


def test_complaint_8_a_mask_of_0_and_254_is_refused_with_what_it_holds() -> None:
    masks = torch.zeros(3, 4, 4, dtype=torch.uint8)
    masks[1, 0] = IGNORED
    masks[2, 0] = 254
    dataset = Masks(torch.zeros(3, 3, 4, 4, dtype=torch.uint8), masks)
    with pytest.raises(
        DataError, match=r"train item 2: mask holds 0 \(12 px\), 254 \(4 px\); expected .* 0 to 2, and 255"
    ):
        list(raw_batches(dataset, in_order(3, 2), 0, PART))
