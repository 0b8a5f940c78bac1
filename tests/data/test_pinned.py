"""Digests of data and seeds of what is drawn, as literal values of commit ac95b46: see tests/test_pinned.py."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from PIL import Image

from drbench.data import open_data
from drbench.data.seeds import derive
from drbench.records import DataSettings


@pytest.mark.parametrize(
    ("settings", "digest", "held_out"),
    [
        (
            DataSettings("shapes", None, False, 0.1, {}),
            "5dce91fa54216e56589282658f961ce6bea615149d3435bd10599a404bb040ef",
            "d8cedf943e477f3f",
        ),
        (
            DataSettings(val_fraction=0.25, args={"train": 64, "test": 32, "size": 16, "seed": 3, "noise": 0.5}),
            "2cb40a22294338985e4bdb6dee1e9282f23065c265f8f32f934ad6c35ca474b2",
            "a88414f10ccea5a1",
        ),
    ],
)
def test_the_embedded_data_set_and_what_is_held_out(settings: DataSettings, digest: str, held_out: str) -> None:
    found = open_data(settings)
    assert found.digest == digest
    assert hashlib.sha256(json.dumps(found.val_indices).encode()).hexdigest()[:16] == held_out


def test_an_image_folder(tmp_path: Path) -> None:
    for part, count in (("train", 4), ("val", 2)):
        for name in ("ant", "bee"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8 + number, 8)).save(tmp_path / part / name / f"{number}.bmp")
    found = open_data(DataSettings("imagefolder", root=str(tmp_path)))
    assert found.digest == "946d4b53160590b60f1a0fcb305c7ee54d4a83a88fd1aeaae3c56e0954cf0c6d"
    assert found.val_indices == (3, 5)


def test_seeds_of_what_is_drawn() -> None:
    """The order and the augmentation of the images of an epoch: a training that was begun before goes on with them."""
    assert [derive("order", 0, 1), derive("augment", 3, 7, 12)] == [8783113041400999520, 4096248862757295425]
