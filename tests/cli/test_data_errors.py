"""Data that cannot be used, through the real command: exit code 2, one line that names the data, nothing of ours."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from drbench_db import Store
from PIL import Image

from tests.hostile_images import KINDS

OWN = '''
import os, torch
from torch import nn
from torch.utils.data import TensorDataset

def base(num_classes=10):
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes)
    return nn.Sequential(*layers)

def pair(n, k=4):
    return TensorDataset(torch.rand(n, 3, 8, 8), torch.arange(n) % k)

class Bad(TensorDataset):
    """Of 600 items 256 are looked at before the training; this one is not among them."""
    def __getitem__(self, index):
        if index == 301:
            raise ValueError("bad item 301")
        return super().__getitem__(index)

class Unlisted(torch.utils.data.Dataset):
    classes = ["a", "b", "c", "d"]
    def __init__(self, whole):
        self.whole = whole
    def __len__(self):
        return len(self.whole)
    def __getitem__(self, index):
        return self.whole[index]

def fine(): return pair(64), pair(32)
def onehot(): return TensorDataset(torch.rand(64, 3, 8, 8), torch.eye(4)[torch.arange(64) % 4]), pair(32)
def more_in_test(): return pair(64), pair(32, 6)
def boom(): raise RuntimeError("no luck")
def late(): return Bad(*pair(600).tensors), pair(32)
def late_test(): return pair(64), Bad(*pair(600).tensors)
def unlisted(): return Unlisted(pair(600)), Unlisted(Bad(*pair(600).tensors))
'''
TRAIN = ("--input", "3,16,16", "--stages", "train", "--epochs", 1, "--batch-size", 8, "--threads", 1)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "broken.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("own", None)


@pytest.fixture
def folder(own: None, tmp_path: Path) -> Path:
    for part, count in (("train", 4), ("val", 2)):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / "images" / part / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (20, 20), (100 * label + 50,) * 3).save(
                    tmp_path / "images" / part / name / f"{number}.png"
                )
    return tmp_path / "images"


def refused(found, *parts: str) -> None:
    errors = [line for line in found.err.splitlines() if line.startswith("drbench: error: ")]
    assert found.code == 2, found.err
    assert len(errors) == 1, found.err
    assert found.err.splitlines()[-1] == errors[0]
    assert "Traceback" not in found.err
    for part in parts:
        assert part in errors[0]


def of_folder(drbench: Callable[..., object], folder: Path, *more: object) -> object:
    return drbench("run", "model", "own:base", "--data", "imagefolder", "--data-root", folder, *TRAIN, *more)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("onehot", ("data set 'own:onehot', train item 0", "label.argmax()")),
        ("more_in_test", ("data set 'own:more_in_test', test item 4: label is 4", "expected 0 to 3")),
        ("boom", ("data set 'own:boom' raised RuntimeError: no luck (own.py, line")),
        ("late", ("data set 'own:late', train item 301: ValueError: bad item 301 (own.py, line")),
        ("late_test", ("data set 'own:late_test', test item 301: ValueError: bad item 301")),
        ("unlisted", ("data set 'own:unlisted', test item 301: ValueError: bad item 301")),
    ],
)
def test_data_sets_of_the_users_own(drbench, own: None, name: str, parts: tuple[str, ...] | str) -> None:
    found = drbench("run", "model", "own:base", "--data", f"own:{name}", "--val-fraction", "0", *TRAIN[2:])
    refused(found, *([parts] if isinstance(parts, str) else parts))
    assert ("epoch 1 of 1" in found.err) == (name == "late_test")  # all else is found before an epoch has ended
    assert ("data own:" in found.err) == (name in ("late", "late_test"))


def test_a_module_that_cannot_be_imported(drbench, own: None) -> None:
    found = drbench("run", "model", "own:base", "--data", "broken:anything", *TRAIN[2:])
    refused(found, "data set 'broken:anything'", "nowhere_to_be_found")


def test_a_network_for_fewer_classes(drbench, own: None) -> None:
    found = drbench("run", "model", "own:base", "--data", "own:fine", "--num-classes", 3, *TRAIN[2:])
    refused(found, "num_classes: got 3; expected 4 for the 4 classes of data set 'own:fine'")


@pytest.mark.parametrize(
    "name", ["bomb.png", "dead-link.png", "own-link.png", "empty.png", "fifo.png", "text.jpg", "int32.tif"]
)
def test_files_of_a_folder_are_checked_before_training(drbench, folder: Path, name: str) -> None:
    KINDS[name][0](Random(0), folder / "val" / "cat" / name)
    found = of_folder(drbench, folder)
    refused(found, f"images/val/cat/{name} ")
    assert found.err.count("\n") == 1
    assert not (folder.parent / "drbench.db").exists()


@pytest.mark.parametrize(("part", "workers"), [("train", 0), ("train", 1), ("val", 1)])
def test_a_file_that_only_decoding_shows_to_be_damaged(drbench, folder: Path, part: str, workers: int) -> None:
    KINDS["truncated.jpg"][0](Random(0), folder / part / "cat" / "bad.jpg")
    (folder.parent / "mine.toml").write_text(
        'name = "mine"\narchitectures = ["own:base"]\nstages = ["train"]\ninput_shape = [3, 16, 16]\n'
        f'data = {{ name = "imagefolder", root = "images", val_fraction = 0.25 }}\n'
        f"train = {{ epochs = 1, batch_size = 2, loader_workers = {workers} }}\n"
    )
    found = drbench("run", "suite", "mine.toml")
    refused(found, f"images/{part}/cat/bad.jpg cannot be decoded: image file is truncated")


def test_hidden_folders_are_no_classes_and_every_run_says_what_it_has(drbench, folder: Path) -> None:
    for part in ("train", "val"):
        (folder / part / ".ipynb_checkpoints").mkdir()
        Image.new("RGB", (20, 20)).save(folder / part / ".ipynb_checkpoints" / "0.png")
    found = of_folder(drbench, folder, "--val-fraction", 0.25)
    assert found.code == 0, found.err
    said = "data imagefolder: 2 classes, 6 train, 2 validation, 4 test images; values 50 to 150 (uint8)"
    assert found.err.splitlines().count(said) == 1
    assert "left out 2 files and folders: 2 hidden" in found.err
    with Store.open("drbench.db") as store:
        (record,) = store.records()
    assert record.settings["classes"] == record.variant.num_classes == 2
    assert record.settings["images"] == {"train": 6, "validation": 2, "test": 4}


def test_a_single_class(drbench, folder: Path) -> None:
    for part in ("train", "val"):
        (folder / part / "dog").rename(folder / part / ".dog")
    refused(of_folder(drbench, folder), "data set 'imagefolder' has one class, 'cat'; expected two or more")


def test_a_run_that_bad_data_ended_is_kept_as_failed(drbench, own: None) -> None:
    refused(drbench("run", "model", "own:base", "--data", "own:late_test", *TRAIN[2:]), "test item 301")
    with Store.open("drbench.db") as store:
        assert store.run().status == "failed"
        assert store.records() == ()
