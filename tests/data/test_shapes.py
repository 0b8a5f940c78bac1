import numpy as np
import pytest
import torch

from drbench.data.shapes import CLASSES, KINDS, draw, shapes
from drbench.errors import InputError


def test_the_same_arguments_give_the_same_images() -> None:
    draw.cache_clear()
    first = shapes(train=100, test=20)
    draw.cache_clear()
    again, other = shapes(train=100, test=20), shapes(train=100, test=20, seed=1)
    assert torch.equal(first.train.images, again.train.images)  # type: ignore[attr-defined]
    assert first.digest == again.digest != other.digest


def test_the_default_is_what_a_plan_expects() -> None:
    splits = shapes()
    train, val, test = splits.train, splits.val, splits.test
    assert (len(train) + len(val), len(test)) == (2000, 500)  # type: ignore[arg-type]
    image, label = train[0]
    assert image.shape == splits.input_shape == (3, 32, 32)
    assert image.dtype == torch.uint8
    assert isinstance(label, int)
    assert splits.synthetic
    assert len(splits.classes) == 10


def test_every_class_occurs_about_as_often() -> None:
    _, labels = draw(2500, 32, 0, 0.2)
    counts = np.bincount(labels, minlength=len(CLASSES))
    assert counts.min() > 200  # five standard deviations below 250 are 175
    assert counts.max() < 300


def test_the_large_figure_lies_in_the_half_its_class_names() -> None:
    images, labels = draw(400, 32, 3, 0.0)
    # Without noise the commonest colour is the background; the quadrant with most other pixels holds the figure.
    right = 0
    for image, label in zip(images, labels, strict=True):
        pixels = image.reshape(3, -1).T
        colours, counts = np.unique(pixels, axis=0, return_counts=True)
        drawn = (image != colours[counts.argmax()][:, None, None]).any(0)
        above, below = drawn[:16].reshape(16, 2, 16).sum((0, 2)), drawn[16:].reshape(16, 2, 16).sum((0, 2))
        right += ("below" in CLASSES[label]) == (below.max() > above.max())
    assert right / len(labels) > 0.97  # a small square may outweigh a slender cross


def test_figures_of_different_kinds_differ_and_those_of_one_kind_fill_their_share() -> None:
    axis = np.linspace(-1, 1, 401, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    shares = {kind: float(test(x, y).mean()) for kind, test in KINDS.items()}
    assert shares["disc"] == pytest.approx(np.pi / 4, rel=0.02)
    assert shares["ring"] == pytest.approx(np.pi / 4 * 0.7, rel=0.02)
    assert shares["square"] == pytest.approx(0.85**2, rel=0.02)
    assert shares["cross"] == pytest.approx((2 * 2 * 0.6 - 0.36) / 4, rel=0.02)  # two bars less their overlap
    assert len({round(share, 2) for share in shares.values()}) == len(KINDS)


def test_augmentation_never_mirrors() -> None:
    splits = shapes(train=50, test=10)
    assert splits.augment is not None
    assert splits.augment.flip is False  # type: ignore[attr-defined]
    assert shapes(train=50, test=10, augment="none").augment is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"train": 3}, "train: got 3; expected a whole number, 20 to"),
        ({"train": True}, "train: got True"),
        ({"train": 10**12}, "train: got 1000000000000"),
        ({"test": "many"}, "test: got 'many'"),
        ({"size": 4}, "size: got 4"),
        ({"size": 10**9}, "size: got 1000000000"),
        ({"size": 1024, "train": 1000}, "got 1500 images of 1024 px; expected at most 268435456 pixels"),
        ({"seed": -1}, "seed: got -1"),
        ({"seed": 10**30}, "seed: got 1000"),
        ({"noise": 2.0}, "noise: got 2.0"),
        ({"noise": float("nan")}, "noise: got nan"),
        ({"augment": "lots"}, "unknown augment 'lots'"),
        ({"val_fraction": 1.0}, "1.0"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        shapes(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
