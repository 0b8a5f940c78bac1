import random
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from drbench.data.augment import ShiftFlip
from drbench.data.batches import Part, batches, in_order
from drbench.data.items import as_tensor
from drbench.data.preprocess import Prepare, describe
from drbench.data.splits import Images

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
