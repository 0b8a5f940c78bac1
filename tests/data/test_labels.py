import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

from drbench.data import Splits, labels, open_data
from drbench.data.labels import check_labels, listed
from drbench.data.splits import Images
from drbench.errors import DataError
from drbench.records import DataSettings

IMAGES = torch.rand(12, 3, 4, 4)


class Bare(Dataset[Any]):
    """Labels are known only from the items; `targets` says whatever it is given."""

    def __init__(self, found: list[Any], **attributes: Any) -> None:
        self.found = found
        vars(self).update(attributes)

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if self.found[index] == "bad":
            raise ValueError(f"bad item {index}")
        return IMAGES[0], self.found[index]


@pytest.mark.parametrize(
    "given",
    [torch.arange(12), np.arange(12), list(range(12)), [torch.tensor(i) for i in range(12)], np.arange(12.0)],
    ids=["tensor", "array", "list", "tensors", "floats"],
)
def test_labels_are_listed_without_loading_an_item(given: Any) -> None:
    for name in ("targets", "labels"):
        found = listed(Bare(["bad"] * 12, **{name: given}))
        assert found is not None
        assert found.tolist() == list(range(12))


def test_labels_of_parts_and_sums() -> None:
    whole = TensorDataset(IMAGES, torch.arange(12))
    part = Subset(whole, [7, 3])
    for dataset, expected in ((whole, range(12)), (part, [7, 3]), (ConcatDataset([part, part]), [7, 3, 7, 3])):
        found = listed(dataset)
        assert found is not None
        assert found.tolist() == list(expected)
    assert listed(ConcatDataset([part, Bare([1])])) is None


@pytest.mark.parametrize(
    "given",
    [None, 3, ["a"] * 12, [0.5] * 12, torch.rand(12), torch.eye(12), [[1], [2, 3]], [1, 2], [{}] * 12, [10**30] * 12],
)
def test_a_list_of_something_else_is_none(given: Any) -> None:
    assert listed(Bare([0] * 12, targets=given)) is None


def splits(train: Any, test: Any, classes: int = 4) -> Splits:
    whole = open_data(DataSettings("shapes", args={"train": 20, "test": 10}))
    return replace(
        whole, name="own:set", train=train, val=None, test=test, classes=tuple(map(str, range(classes))), augment=None
    )


GOOD = [0, 1, 2, 3] * 3


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_labels_are_checked_in_all_parts_by_loading_where_nothing_lists_them(workers: int) -> None:
    said: list[str] = []
    check_labels(splits(Bare(GOOD), Bare(GOOD)), said.append, workers)
    with pytest.raises(DataError, match=r"data set 'own:set', test item 9: label is 4; expected 0 to 3"):
        check_labels(splits(Bare(GOOD), Bare([*GOOD[:9], 4, 0, 0])), said.append, workers)
    with pytest.raises(DataError, match=r"'own:set', train item 5: ValueError: bad item 5 \(test_labels\.py, line"):
        check_labels(splits(Bare([*GOOD[:5], "bad", *GOOD[:6]]), Bare(GOOD)), said.append, workers)
    assert said == []


def test_lists_are_believed_where_items_agree() -> None:
    wrong = [4 if index in (8, 10) else label for index, label in enumerate(GOOD)]  # neither is looked at
    with pytest.raises(DataError, match=r"test item 8: label is 4 \(2 items have such labels\); expected 0 to 3"):
        check_labels(splits(Bare(GOOD), Bare(wrong, targets=wrong)), print)
    shifted = [label + 1 for label in GOOD]
    check_labels(splits(Bare(GOOD), Bare(GOOD, targets=shifted)), print)  # as with a target_transform
    with pytest.raises(DataError, match="test item 3: label is 4; expected 0 to 3"):
        check_labels(splits(Bare(GOOD), Bare(shifted, targets=GOOD)), print)


def test_images_in_memory() -> None:
    held = Images(IMAGES, torch.tensor(GOOD))
    check_labels(splits(held, held), print)
    with pytest.raises(DataError, match=r"'own:set', train item 2: label is 2 .*expected 0 to 1"):
        check_labels(splits(held, held, classes=2), print)


def test_a_long_pass_says_how_far_it_came_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Bare):
        def __getitem__(self, index: int) -> tuple[Any, Any]:
            time.sleep(0.01)
            return super().__getitem__(index)

    monkeypatch.setattr(labels, "PASS_SECONDS", 0.03)
    monkeypatch.setattr(labels, "PASS_BATCH", 4)
    said: list[str] = []
    check_labels(splits(Images(IMAGES, torch.tensor(GOOD)), Slow(GOOD)), said.append)
    (line,) = said
    assert line.startswith(
        "data set 'own:set', test: labels of 4 of 12 images checked in 0 s; the rest is checked when"
    )
