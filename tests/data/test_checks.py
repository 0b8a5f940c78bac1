from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from drbench.data import Splits, open_data
from drbench.data.checks import check_data, summary
from drbench.data.splits import Images
from drbench.errors import DataError, InputError
from drbench.records import DataSettings
from tests.hostile_images import KINDS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, count in (("train", 10), ("val", 2)):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                Image.new("L", (20, 20), 100 * label + number).save(tmp_path / part / name / f"{number}.png")
    return tmp_path


def opened(folder: Path, say: Any = print) -> Splits:
    return open_data(DataSettings("imagefolder", root=str(folder), val_fraction=0.2), input_size=16, say=say)


def test_the_summary_of_a_folder(folder: Path) -> None:
    said: list[str] = []
    check_data(opened(folder, said.append), said.append)
    assert said == ["data imagefolder: 2 classes, 16 train, 4 validation, 4 test images; values 0 to 109 (uint8)"]


def test_what_a_folder_holds_beside_images_is_said(folder: Path) -> None:
    for name in (
        "train/.ipynb_checkpoints/a.png",
        "val/.ipynb_checkpoints/a.png",
        "train/cat/notes.txt",
        "train/a.png",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "test").mkdir()
    said: list[str] = []
    assert opened(folder, said.append).classes == ("cat", "dog")
    assert said[0] == "data imagefolder: left out 4 files and folders: 2 hidden, 1 *.txt, 1 *.png"
    assert said[1].startswith(f"data imagefolder: {folder / 'test'} is not used")


def test_the_summary_of_images_in_memory() -> None:
    splits = open_data(DataSettings("shapes", args={"train": 40, "test": 10}))
    images = splits.train.images  # type: ignore[attr-defined]
    text = f"{len(splits.train)} train, {len(splits.val)} validation, 10 test images"  # type: ignore[arg-type]
    values = f"values {images.min()} to {images.max()} (uint8)"
    assert summary(splits).startswith(f"data shapes: 10 classes, {text}; {values}")


def test_the_summary_of_floats_and_of_classes_without_images() -> None:
    images = torch.linspace(0, 0.5, 40).view(40, 1, 1, 1).expand(40, 3, 4, 4)
    part = TensorDataset(images, torch.arange(40) % 3 + 1)
    splits = replace(
        open_data(DataSettings("shapes", args={"train": 20, "test": 10})),
        name="own:set", train=part, val=None, test=part, classes=tuple("abcde"),
    )  # fmt: skip
    assert summary(splits) == (
        "data own:set: 5 classes, 40 train, 40 test images; values 0.00 to 0.50 (float32) in 32 of them; "
        "no train images of 2 classes: 'a', 'e'"
    )


@pytest.mark.parametrize("name", ["bomb.png", "large.png", "text.jpg", "int32.tif"])
@pytest.mark.parametrize("place", ["train/cat", "val/dog"])
def test_files_whose_header_shows_that_they_cannot_be_decoded(folder: Path, name: str, place: str) -> None:
    KINDS[name][0](Random(0), folder / place / name)
    with pytest.raises(DataError, match=f"{place}/{name} cannot be decoded"):
        check_data(opened(folder), print)


def test_labels_of_all_parts_are_checked() -> None:
    splits = open_data(DataSettings("shapes", args={"train": 20, "test": 10}))
    wrong = Images(splits.test.images, splits.test.labels + 5)  # type: ignore[attr-defined]
    odd = int(np.flatnonzero(wrong.labels.numpy() > 9)[0])
    with pytest.raises(DataError, match=rf"data set 'shapes', test item {odd}: label is 1\d.*expected 0 to 9"):
        check_data(replace(splits, test=wrong), print)


def test_a_single_class_can_be_opened_but_not_trained_on(folder: Path) -> None:
    for part in ("train", "val"):
        (folder / part / "dog").rename(folder / part / ".dog")
    splits = opened(folder)
    assert splits.classes == ("cat",)
    with pytest.raises(InputError, match="data set 'imagefolder' has one class, 'cat'; expected two or more"):
        check_data(splits, print)
