"""The embedded data set of identities: equal everywhere, no person in two parts, and clear errors."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from drbench.data import info, open_data
from drbench.data.identities import draw
from drbench.data.verification import protocol_of
from drbench.errors import InputError
from drbench.records import DataSettings

SMALL = {"people": 8, "test_people": 6, "images": 5, "pairs": 40, "distractors": 7, "size": 24}


def opened(**args: object):
    return open_data(DataSettings("identities", val_fraction=0.25, args={**SMALL, **args}))


def test_equal_arguments_give_equal_images_on_every_machine() -> None:
    images, labels = draw((3, 3, 1), 24, 0, 0.15)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert (images.shape, images.dtype) == ((7, 3, 24, 24), np.uint8)
    assert hashlib.sha256(images.tobytes()).hexdigest()[:16] == "896956d3e84eff22"
    other, _ = draw((3, 3, 1), 24, 1, 0.15)
    assert (other != images).any()


def test_parts_have_other_people() -> None:
    splits = opened()
    asked, held = protocol_of(splits.test), protocol_of(splits.val)
    assert asked is not None
    assert held is not None
    assert (len(splits.classes), len(splits.train), len(splits.val), len(splits.test)) == (6, 30, 10, 37)
    assert (splits.targets, splits.synthetic, splits.input_shape) == ("people", True, (3, 24, 24))
    assert np.bincount(splits.train.labels.numpy()).tolist() == [5] * 6
    assert (asked.count, len(asked.distractors), len(asked.probes), held.count) == (13, 7, 24, 2)
    assert asked.people.tolist() == [*np.repeat(np.arange(6), 5), *range(6, 13)]
    train = {image.tobytes() for image in splits.train.images.numpy()}
    assert not train & {image.tobytes() for image in splits.test.images.numpy()}


def test_images_of_a_person_are_alike() -> None:
    """The mean distance of two images of a person, after removal of brightness, is below that of two people."""
    images, labels = draw((12,) * 8, 32, 0, 0.05)
    flat = images.reshape(len(images), -1).astype(float)
    flat = (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)
    similarity = flat @ flat.T / flat.shape[1]
    same = labels[:, None] == labels[None, :]
    apart = ~np.eye(len(labels), dtype=bool)
    assert similarity[same & apart].mean() > similarity[~same].mean() + 0.05


def test_info_agrees() -> None:
    known, splits = info(DataSettings("identities")), open_data(DataSettings("identities"))
    assert (known.input_shape, known.synthetic) == (splits.input_shape, True)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"people": 3}, "people: got 3; expected a whole number, 4 to"),
        ({"images": 1}, "images: got 1"),
        ({"size": 8}, "size: got 8"),
        ({"noise": 2}, "noise: got 2; expected a number from 0 to 1"),
        ({"people": 900_000, "size": 1024}, "Lower people, images or size"),
        ({"persons": 4}, "got argument 'persons'"),
    ],
)
def test_wrong_arguments_are_one_line(args: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        opened(**args)
