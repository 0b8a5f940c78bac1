"""Folders of people: parts, pairs, distractors, and what is refused before a training starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from drbench.data import info, open_data
from drbench.data.checks import check_data
from drbench.data.verification import protocol_of
from drbench.errors import DrbenchError, InputError
from drbench.records import DataSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight people to train on, four to verify, three distractors; every image has a grey of its own."""
    grey = 0
    for part, people, count in (("train", "ABCDEFGH", 4), ("verify", "PQRS", 3), ("distractors", "XYZ", 1)):
        for name in people:
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                grey += 4
                image = Image.new("RGB", (30, 30), (grey, grey, grey))
                image.save(tmp_path / part / name / f"{name}_{number + 1:04d}.png")
    (tmp_path / "pairs.txt").write_text("1\t2\nP\t1\t2\nQ\t1\t3\nP\t1\tQ\t1\nR\t2\tS\t3\n")
    return tmp_path


def opened(folder: Path, said: list[str] | None = None, **args: object):
    found = [] if said is None else said
    return open_data(DataSettings("faces", root=str(folder), val_fraction=0.25, args=args), say=found.append)


def test_parts_and_pairs(folder: Path) -> None:
    splits = opened(folder, input_size=24)
    asked, held = protocol_of(splits.test), protocol_of(splits.val)
    assert asked is not None
    assert held is not None
    assert (len(splits.classes), len(splits.train), len(splits.val), len(splits.test)) == (6, 24, 8, 15)
    assert (splits.targets, splits.input_shape, held.count, asked.count) == ("people", (3, 24, 24), 2, 7)
    files = [Path(path).stem for path, _ in splits.test.samples]
    named = [(files[a], files[b]) for a, b in zip(asked.first, asked.second, strict=True)]
    assert named == [("P_0001", "P_0002"), ("Q_0001", "Q_0003"), ("P_0001", "Q_0001"), ("R_0002", "S_0003")]
    assert asked.same.tolist() == [True, True, False, False]
    assert [files[index] for index in asked.distractors] == ["X_0001", "Y_0001", "Z_0001"]
    assert [files[index] for index in asked.probes[:2]] == ["P_0002", "P_0003"]
    train = {Path(path).parent.name for path, _ in splits.train.samples}
    assert not train & {Path(path).parent.name for path, _ in splits.val.samples}
    assert sorted({label for _, label in splits.train.samples}) == list(range(6))
    image, label = splits.test[14]
    assert (tuple(image.shape), label) == ((3, 24, 24), 6)
    check_data(splits, [].append)


def test_images_are_resized_and_training_images_mirrored_at_random(folder: Path) -> None:
    ramp = np.tile(np.arange(0, 240, 8, dtype=np.uint8), (30, 1))
    for path in (folder / "train").rglob("*.png"):
        Image.fromarray(np.stack([ramp] * 3, -1)).save(path)
    splits = opened(folder)
    assert splits.input_shape == (3, 112, 112)
    torch.manual_seed(0)
    left = [bool(splits.train[n % 24][0][0, 0, 0] < 100) for n in range(48)]
    assert 10 < sum(left) < 38
    assert all(splits.val[n][0][0, 0, 0] < 100 for n in range(8))


def test_without_a_list_pairs_are_drawn(folder: Path) -> None:
    (folder / "pairs.txt").unlink()
    asked = protocol_of(opened(folder, draw=20).test)
    assert asked is not None
    assert 0 < len(asked.first) <= 20
    assert len(asked.distractors) == 3


def test_a_distractor_that_shows_a_probes_person_is_left_out(folder: Path) -> None:
    (folder / "distractors" / "P").mkdir()
    shutil.copy(folder / "verify/P/P_0001.png", folder / "distractors/P/P_0009.png")
    said: list[str] = []
    asked = protocol_of(opened(folder, said).test)
    assert asked is not None
    assert len(asked.distractors) == 3
    assert "1 distractors show the person of a probe; they are left out" in said[-1]


def test_info_agrees(folder: Path) -> None:
    known = info(DataSettings("faces", root=str(folder)), input_size=48)
    assert (known.input_shape, known.num_classes) == ((3, 48, 48), 8)


def test_the_digest_covers_the_list_of_pairs(folder: Path) -> None:
    before = opened(folder).digest
    text = (folder / "pairs.txt").read_text()
    (folder / "pairs.txt").write_text(text.replace("Q\t1\t3", "Q\t1\t2"))
    assert opened(folder).digest != before


def broken(folder: Path) -> None:
    (folder / "train/A/A_0001.png").write_bytes(b"")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: shutil.rmtree(f / "verify"), r"expected .*verify/PERSON"),
        (lambda f: shutil.copytree(f / "train/A", f / "verify/A"), "1 people who are in train/ too \\(A"),
        (lambda f: shutil.copytree(f / "train/B", f / "distractors/B"), "1 people who are in train/ too \\(B"),
        (lambda f: (f / "pairs2.txt").write_text("1\n"), "several lists of pairs \\(pairs.txt, pairs2.txt\\)"),
        (lambda f: (f / "verify/R/R_0002.png").unlink(), "line 5: got image 2 of R"),
        (broken, "A_0001.png"),
        (lambda f: (f / "verify/T").mkdir(), "T: got no images"),
    ],
    ids=["no verify", "known people", "known distractors", "two lists", "missing image", "empty file", "empty folder"],
)
def test_bad_folders_are_one_line_before_training(folder: Path, change, message: str) -> None:
    change(folder)
    with pytest.raises(DrbenchError, match=message):
        opened(folder)


def test_a_root_is_needed() -> None:
    with pytest.raises(InputError, match="data set 'faces' needs --data-root DIR"):
        open_data(DataSettings("faces"))


def test_a_list_that_does_not_exist(folder: Path) -> None:
    with pytest.raises(InputError, match=r"none.txt"):
        opened(folder, pairs="none.txt")
