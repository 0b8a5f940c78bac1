import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from drbench.data import info, open_data
from drbench.data.batches import Part, batches
from drbench.data.preprocess import Prepare
from drbench.errors import InputError
from drbench.records import DataSettings

COLOURS = {"blue": (0, 0, 200), "green": (0, 200, 0), "red": (200, 0, 0)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, count in (("train", 8), ("val", 2)):
        for name, colour in COLOURS.items():
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (40 + number, 30), colour).save(tmp_path / part / name / f"{number}.png")
    return tmp_path


def settings(folder: Path, **keywords: object) -> DataSettings:
    return DataSettings("imagefolder", root=str(folder), val_fraction=0.25, **keywords)  # type: ignore[arg-type]


def test_classes_splits_and_pixels(folder: Path) -> None:
    splits = open_data(settings(folder, args={"input_size": 24}))
    assert splits.classes == ("blue", "green", "red")
    assert (len(splits.train), len(splits.val), len(splits.test)) == (18, 6, 6)  # type: ignore[arg-type]
    assert splits.input_shape == (3, 24, 24)
    assert splits.preprocessing["resize"] == 27
    for part in (splits.train, splits.val, splits.test):
        for index in range(len(part)):  # type: ignore[arg-type]
            image, label = part[index]  # type: ignore[index]
            assert image.shape == (3, 24, 24)
            assert tuple(image[:, 12, 12].tolist()) == COLOURS[splits.classes[label]]
    train = {splits.train.dataset.samples[i][0] for i in splits.train.indices}  # type: ignore[attr-defined]
    held = {splits.val.dataset.samples[i][0] for i in splits.val_indices}  # type: ignore[union-attr]
    assert len(train | held) == 24


def test_info_reads_no_image_and_agrees(folder: Path) -> None:
    known = info(settings(folder), input_size=64)
    splits = open_data(settings(folder), input_size=64)
    assert (known.num_classes, known.input_shape) == (len(splits.classes), splits.input_shape)
    assert info(settings(folder)).input_shape == (3, 224, 224)


def test_the_digest_follows_names_and_sizes(folder: Path) -> None:
    first = open_data(settings(folder)).digest
    moved = folder.parent / "moved"
    shutil.copytree(folder, moved)
    assert open_data(settings(moved)).digest == first
    (moved / "val" / "red" / "1.png").rename(moved / "val" / "red" / "2.png")
    assert open_data(settings(moved)).digest != first


def test_the_weights_own_preprocessing_wins(folder: Path) -> None:
    splits = open_data(settings(folder), preprocessing={"input_size": [16, 16], "resize": 20, "mean": [0.0] * 3})
    assert splits.input_shape == (3, 16, 16)
    assert splits.test[0][0].shape == (3, 16, 16)
    assert splits.preprocessing["mean"] == [0.0] * 3
    assert splits.preprocessing["std"] != [0.0] * 3


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data-root DIR"):
        open_data(DataSettings("imagefolder"))
    with pytest.raises(InputError, match=re.escape(str(tmp_path / "no" / "train"))):
        open_data(settings(tmp_path / "no"))
    shutil.rmtree(folder / "val" / "red")
    with pytest.raises(InputError, match=r"same class folders.*red"):
        open_data(settings(folder))
    shutil.rmtree(folder / "val" / "blue")
    shutil.rmtree(folder / "val" / "green")
    with pytest.raises(InputError, match=r"val: expected .*CLASS") as caught:
        open_data(settings(folder))
    assert "\n" not in str(caught.value)


def test_an_image_that_cannot_be_decoded_is_named(folder: Path) -> None:
    damaged = folder / "val" / "blue" / "0.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    splits = open_data(settings(folder))
    with pytest.raises(InputError, match=r"val/blue/0.png cannot be decoded"):
        splits.test[0]


def test_tiny_imagenet(tiny_root: Path) -> None:
    splits = open_data(DataSettings("imagefolder", root=str(tiny_root)), input_size=64)
    assert len(splits.classes) == 20
    assert (len(splits.train), len(splits.val), len(splits.test)) == (1440, 160, 600)  # type: ignore[arg-type]
    prepare = Prepare(splits.preprocessing, torch.device("cpu"))
    plan = [(torch.arange(0, 1440, 90), 1)]
    part = Part("imagefolder", "train", 20)
    ((images, labels),) = batches(splits.train, plan, prepare, splits.augment, part=part)
    assert images.shape == (16, 3, 64, 64)
    assert labels.unique().numel() == 16
    ((again, _),) = batches(splits.train, plan, prepare, splits.augment, part=part)
    assert torch.equal(images, again)
