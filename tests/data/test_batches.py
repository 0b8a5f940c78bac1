import os
import random
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Subset

from drbench.data.augment import ShiftFlip
from drbench.data.batches import Part, batches, in_order, lost_loaders
from drbench.data.items import as_tensor
from drbench.data.preprocess import Prepare, describe
from drbench.data.splits import Images
from drbench.errors import DataError, FailedError

PLAIN = Prepare(describe(8, (0.0,) * 3, (1.0,) * 3), torch.device("cpu"))


class Noisy(Dataset[Any]):
    """Items that draw from torch and from random, as a user's own transforms do."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((3, 8, 8), index / 100) + 0.001 * torch.rand(3, 8, 8) * random.random(), index


def all_of(*arguments: Any, **keywords: Any) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batches(*arguments, **keywords, part=Part("own", "train", 100)), strict=True)
    return torch.cat(images), torch.cat(labels)


def test_evaluation_sees_every_image_once_in_order() -> None:
    dataset = Images(torch.randint(256, (23, 3, 8, 8), dtype=torch.uint8), torch.arange(23))
    images, labels = all_of(dataset, in_order(23, 5), PLAIN)
    assert labels.tolist() == list(range(23))
    torch.testing.assert_close(images, dataset.images / 255)


def test_indices_choose_and_seeds_decide() -> None:
    dataset = Images(torch.randint(256, (23, 3, 8, 8), dtype=torch.uint8), torch.arange(23))
    plan = [(torch.tensor([3, 1]), 7), (torch.tensor([20]), 8)]
    images, labels = all_of(dataset, plan, PLAIN, ShiftFlip())
    assert labels.tolist() == [3, 1, 20]
    later, _ = all_of(dataset, plan[1:], PLAIN, ShiftFlip())
    assert torch.equal(images[2:], later)  # the second batch does not depend on the first having been drawn
    other, _ = all_of(dataset, [(plan[0][0], 9)], PLAIN, ShiftFlip())
    assert not torch.equal(images[:2], other)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_items_of_a_data_set_do_not_depend_on_workers_or_on_each_other() -> None:
    plan = [(torch.tensor([4, 5, 4]), 1), (torch.tensor([0, 11]), 2)]
    images, labels = all_of(Noisy(), plan, PLAIN)
    assert labels.tolist() == [4, 5, 4, 0, 11]
    assert not torch.equal(images[0], images[2])  # the same image twice, drawn for twice
    assert torch.equal(all_of(Noisy(), plan[1:], PLAIN)[0], images[3:])
    assert torch.equal(all_of(Noisy(), plan, PLAIN, workers=1)[0], images)


def test_the_global_random_state_stays() -> None:
    torch.manual_seed(0)
    random.seed(0)
    before = torch.get_rng_state(), random.getstate()
    all_of(Noisy(), [(torch.tensor([1, 2]), 3)], PLAIN)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_pil_images_become_rgb() -> None:
    image = as_tensor(Image.new("L", (5, 4), 200))
    assert image.shape == (3, 4, 5)
    assert image.unique().tolist() == [200]


class Spoilt(Noisy):
    """Items of which number 7 cannot be used."""

    def __init__(self, how: str) -> None:
        self.how = how

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, label = super().__getitem__(index)
        if index == 7:
            match self.how:
                case "raises":
                    raise ValueError("no\nluck")
                case "nan":
                    image[0, 0, 0] = float("nan")
                case "size":
                    image = image[:, :4]
                case "kind":
                    image = image.to(torch.uint8)
                case "label":
                    label = 300
                case "memory":
                    raise MemoryError
                case "crash":
                    os._exit(3)
        return image, label


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raises", r"^data set 'own', train item 7: ValueError: no luck \(test_batches\.py, line \d+\)$"),
        ("nan", r"^data set 'own', train item 7: image holds NaN"),
        ("size", r"item 7: a float32 image of shape \(3, 4, 8\), unlike item 6: a float32 image of shape \(3, 8, 8\)"),
        ("kind", r"item 7: a uint8 image of shape \(3, 8, 8\), unlike item 6"),
        ("label", r"^data set 'own', train item 7: label is 300; expected 0 to 99, .* 100 classes$"),
    ],
)
def test_an_item_that_cannot_be_used_is_named_by_any_process(how: str, words: str, workers: int) -> None:
    dataset = Subset(Spoilt(how), [11, 6, 7])
    with pytest.raises(DataError, match=words):
        all_of(dataset, [(torch.tensor([0]), 1), (torch.tensor([1, 2]), 2)], PLAIN, workers=workers)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_memory_that_runs_out_is_not_the_items_fault(workers: int) -> None:
    with pytest.raises(MemoryError):
        all_of(Spoilt("memory"), [(torch.tensor([7]), 1)], PLAIN, workers=workers)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_loader_process_that_dies_is_told_with_the_data_sets_name() -> None:
    with (
        pytest.raises(FailedError, match=r"^data set 'own': DataLoader worker .*loader_workers = 0"),
        lost_loaders("own"),
    ):
        all_of(Spoilt("crash"), [(torch.tensor([7]), 1)], PLAIN, workers=1)
    with pytest.raises(RuntimeError, match="other"), lost_loaders("own"):
        raise RuntimeError("other")
