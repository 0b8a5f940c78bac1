import json

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from drbench.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Prepare, describe, folder_transform, override
from drbench.errors import InputError

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_prepare_equals_torchvisions_normalize(dtype: torch.dtype) -> None:
    images = torch.randint(256, (5, 3, 7, 9), dtype=torch.uint8)
    expected = v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)(v2.ToDtype(torch.float32, scale=True)(images))
    given = images if dtype == torch.uint8 else images.float() / 255
    before = given.clone()
    preprocessing = {**describe(7, IMAGENET_MEAN, IMAGENET_STD), "input_size": [7, 9]}
    out = Prepare(preprocessing, CPU)(given)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(given, before)


def test_images_of_another_size_are_resized() -> None:
    out = Prepare(describe(16, (0.5,) * 3, (0.5,) * 3), CPU)(torch.full((2, 3, 8, 8), 255, dtype=torch.uint8))
    torch.testing.assert_close(out, torch.ones(2, 3, 16, 16), rtol=0, atol=1e-5)


def test_a_header_brings_its_own() -> None:
    own = describe(224, IMAGENET_MEAN, IMAGENET_STD, 256)
    assert override(own, None) == own
    assert json.loads(json.dumps(own)) == own
    assert override(own, {"input_size": [160, 160]})["input_size"] == [160, 160]
    with pytest.raises(InputError, match="colour"):
        override(own, {"colour": "grey"})


def test_evaluation_resizes_the_short_side_and_crops_the_centre() -> None:
    image = Image.new("L", (200, 100))
    image.paste(255, (100, 0, 200, 100))  # the right half is white
    out = folder_transform(describe(32, IMAGENET_MEAN, IMAGENET_STD, 40), "none")(image)
    assert out.shape == (3, 32, 32)  # grey becomes RGB
    assert out.dtype == torch.uint8
    columns = out.float().mean((0, 1))
    assert columns[:14].max() < 5
    assert columns[18:].min() > 250


def test_training_crops_at_random() -> None:
    image = Image.radial_gradient("L")
    transform = folder_transform(describe(32, IMAGENET_MEAN, IMAGENET_STD, 36), "standard")
    first, second = transform(image), transform(image)
    assert first.shape == second.shape == (3, 32, 32)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input_size", "224"),
        ("input_size", [224]),
        ("input_size", [0, 224]),
        ("input_size", [10**9, 224]),
        ("input_size", [True, 224]),
        ("resize", -1),
        ("resize", 256.5),
        ("mean", None),
        ("mean", [0.5, 0.5]),
        ("mean", [0.5, 0.5, float("nan")]),
        ("std", [1, 1, 0]),
        ("std", {"r": 1}),
        ("std", [1, 1, "1"]),
    ],
)
def test_values_that_mean_nothing_are_refused(key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"^preprocessing {key}: got .*; expected "):
        override(describe(32, IMAGENET_MEAN, IMAGENET_STD), {key: value})
