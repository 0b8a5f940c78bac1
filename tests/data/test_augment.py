import pytest
import torch
from torch.nn import functional

from drbench.data.augment import ShiftFlip, check_augment
from drbench.data.seeds import generator
from drbench.errors import InputError


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("padding", [0, 2, 4])
def test_every_image_is_one_of_its_own_crops(padding: int, flip: bool) -> None:
    images = torch.randint(1, 256, (40, 3, 8, 6), dtype=torch.uint8, generator=generator(0))
    out = ShiftFlip(padding, flip)(images, generator(1))
    assert out.shape == images.shape
    assert out.dtype == torch.uint8
    seen = set()
    for image, result in zip(images, out, strict=True):
        padded = functional.pad(image, (padding,) * 4)
        crops = {
            (top, left, mirrored): crop.flip(2) if mirrored else crop
            for top in range(2 * padding + 1)
            for left in range(2 * padding + 1)
            for mirrored in ([False, True] if flip else [False])
            for crop in [padded[:, top : top + 8, left : left + 6]]
        }
        matches = [key for key, crop in crops.items() if torch.equal(crop, result)]
        assert len(matches) == 1
        seen.add(matches[0])
    if padding or flip:
        assert len(seen) > 1  # not one draw for the whole batch


def test_draws_are_uniform() -> None:
    # An image whose pixels tell where they came from.
    image = torch.arange(1, 257).view(1, 1, 16, 16).expand(20_000, 1, 16, 16)
    out = ShiftFlip(2, True)(image, generator(5))
    inner = out[:, 0, 8, 8]
    # Nine-by-nine candidates do not overlap between mirrored and straight in their neighbour's direction.
    mirrored = out[:, 0, 8, 9] < inner
    assert 0.48 < mirrored.double().mean() < 0.52
    rows = (inner - 1) // 16
    assert rows.unique().tolist() == [6, 7, 8, 9, 10]
    shares = torch.bincount(rows - 6).double() / 20_000
    assert (shares - 0.2).abs().max() < 0.015


def test_equal_seeds_give_equal_images_whatever_the_global_state() -> None:
    images = torch.rand(10, 3, 8, 8)
    torch.manual_seed(0)
    first = ShiftFlip()(images, generator(3))
    state = torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(ShiftFlip()(images, generator(3)), first)
    assert not torch.equal(ShiftFlip()(images, generator(4)), first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)


def test_unknown_names_are_answered_with_the_known() -> None:
    with pytest.raises(InputError, match="standard"):
        check_augment("standart")
