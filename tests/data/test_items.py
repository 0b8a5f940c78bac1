from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset

from drbench.data.items import as_image, as_item, as_label, origin, problem
from drbench.errors import InputError

IMAGE = torch.zeros(3, 4, 4)


@pytest.mark.parametrize(
    "label",
    [2, np.int64(2), np.uint8(2), torch.tensor(2), torch.tensor([2]), np.array(2), np.array([2])],
    ids=lambda value: type(value).__name__,
)
def test_whole_numbers_of_every_type_are_labels(label: Any) -> None:
    found = as_label(label)
    assert (found, type(found)) == (2, int)


@pytest.mark.parametrize("label", [True, np.True_, torch.tensor(True)])
def test_bools_are_two_classes(label: Any) -> None:
    assert as_label(label) == 1


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (0.37, r"label is 0\.37; expected a class index"),
        (torch.tensor(3.0), r"label is 3\.0; .*return int\(label\)"),
        (np.float32(1), r"label is "),
        (torch.eye(4)[1], r"shape \(4,\); .*one-hot labels return label\.argmax\(\)"),
        (torch.zeros(8, 8, dtype=torch.long), r"shape \(8, 8\); .*One label per image"),
        ("cat", r"label is 'cat'; expected a class index"),
        (None, r"label is NoneType"),
        ({"boxes": []}, r"label is dict"),
        (-1, r"label is -1; expected a class index from 0"),
        (torch.tensor(-100), r"label is -100"),
        (10**30, r"label is 1000000"),
        (torch.empty(0, dtype=torch.long), r"shape \(0,\)"),
    ],
    ids=str,
)
def test_what_is_no_class_index_is_refused(label: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_label(label)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.zeros(32, 24, 3), r"float32 tensor of shape \(32, 24, 3\), which looks like \(H, W, C\); .*permute"),
        (torch.zeros(4, 4), r"shape \(4, 4\); expected \(C, H, W\)"),
        (torch.zeros(2, 3, 4, 4), r"shape \(2, 3, 4, 4\)"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), r"int64 tensor"),
        (torch.zeros(3, 0, 4), r"shape \(3, 0, 4\)"),
        (torch.full((3, 4, 4), float("nan")), r"NaN or infinite"),
        (torch.full((3, 4, 4), float("inf")), r"NaN or infinite"),
        (np.zeros((4, 4, 3), np.uint8), r"image is a numpy\.ndarray; expected a torch tensor"),
        ("a.png", r"image is a builtins\.str"),
        (Image.new("F", (4, 4), 7.0), r"values are floats from 7 to 7"),
    ],
    ids=lambda value: str(getattr(value, "shape", value))[:20],
)
def test_what_is_no_image_is_refused(image: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_image(image)


def test_images_as_they_are() -> None:
    for image in (IMAGE, IMAGE.to(torch.uint8), IMAGE.half(), IMAGE.double(), torch.zeros(1, 3, 3)):
        assert as_image(image) is not None
        assert as_image(image).dtype == image.dtype
    assert as_image(IMAGE.bfloat16()).dtype == torch.float32
    assert not as_image(torch.zeros(3, 4, 4, requires_grad=True)).requires_grad
    sixteen = Image.fromarray(np.full((2, 2), 25700, np.uint16))
    assert as_image(sixteen).unique().tolist() == [100]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"image": IMAGE, "label": 1}, r"dict with the keys 'image', 'label'; expected a pair"),
        ((IMAGE, 1, 2), r"tuple of 3; expected a pair"),
        (IMAGE, r"got a Tensor; expected a pair"),
        (None, r"got a NoneType"),
    ],
    ids=["dict", "three", "tensor", "none"],
)
def test_what_is_no_pair_is_refused(item: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_item(item)


def test_indices_are_those_of_the_whole_data_set() -> None:
    whole = TensorDataset(torch.arange(10))
    assert origin(Subset(Subset(whole, [5, 6, 7, 8]), [3, 0]), 0) == 8
    assert origin(whole, 4) == 4


def test_a_problem_is_one_line_with_its_place(tmp_path: Path) -> None:
    try:
        raise KeyError("two\nlines")
    except KeyError as error:
        text = problem(error)
    assert text.startswith(r"KeyError: 'two\nlines' (test_items.py, line ")
    assert problem(ValueError()) == "ValueError"
    assert problem(InputError("as it\nis")) == "as it is"
