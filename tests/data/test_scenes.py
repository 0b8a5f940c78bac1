"""The embedded data set of scenes: equal everywhere, masks that belong to the images, and clear errors."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from drbench.data import info, open_data
from drbench.data.checks import check_data
from drbench.data.scenes import CLASSES, LEAST_SEEN, draw
from drbench.errors import InputError
from drbench.records import DataSettings

SMALL = {"train": 30, "test": 10, "size": 48}


def test_equal_arguments_give_equal_scenes_on_every_machine() -> None:
    drawn = draw(6, 32, 3, 0.1, 0, 0.15)
    assert (drawn.images.shape, drawn.instances.shape, drawn.kinds.shape) == ((6, 3, 32, 32), (6, 32, 32), (6, 3))
    content = drawn.images.tobytes() + drawn.masks.tobytes()
    assert hashlib.sha256(content).hexdigest()[:16] == "8637e40d1373bce3"


def test_masks_are_the_kinds_of_the_instances() -> None:
    drawn = draw(60, 48, 4, 0.2, 1, 0.15)
    for instances, kinds, mask in zip(drawn.instances, drawn.kinds, drawn.masks, strict=True):
        for figure, kind in enumerate(kinds.tolist(), 1):
            here = instances == figure
            assert (mask[here] == kind).all()
            assert not kind or here.sum() >= LEAST_SEEN
            assert kind or not here.any()
        assert (mask[instances == 0] == 0).all()
    empty = int((drawn.masks.reshape(60, -1).max(1) == 0).sum())
    assert 3 <= empty <= 30
    assert set(np.unique(drawn.masks).tolist()) == set(range(len(CLASSES)))


def test_a_figure_has_one_colour_and_the_background_another() -> None:
    drawn = draw(30, 48, 1, 0.0, 2, 0.0)
    for image, instances in zip(drawn.images, drawn.instances, strict=True):
        if (instances == 1).any():
            assert image[:, instances == 1].std(1).max() < 1


def test_parts() -> None:
    splits = open_data(DataSettings("scenes", val_fraction=0.2, args=SMALL))
    assert (len(splits.train), len(splits.val), len(splits.test)) == (24, 6, 10)
    assert (splits.targets, splits.synthetic, splits.input_shape) == ("masks", True, (3, 48, 48))
    said: list[str] = []
    check_data(splits, said.append)
    assert said == ["data scenes: 6 classes, 24 train, 6 validation, 10 test images; values 0 to 255 (uint8)"]


def test_info_agrees() -> None:
    known, splits = info(DataSettings("scenes")), open_data(DataSettings("scenes"))
    assert (known.num_classes, known.input_shape) == (len(splits.classes), splits.input_shape)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"train": 3}, "train: got 3; expected a whole number, 20 to"),
        ({"objects": 0}, "objects: got 0"),
        ({"empty": -0.1}, "empty: got -0.1; expected a number from 0 to 1"),
        ({"noise": True}, "noise: got True"),
        ({"train": 900_000, "size": 1024}, "Lower train, test or size"),
    ],
)
def test_wrong_arguments_are_one_line(args: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_data(DataSettings("scenes", args={**SMALL, **args}))
