"""Batches from a data set: which images a batch holds and what is drawn for it are given, not drawn here."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import functional

from drbench.data.preprocess import Prepare
from drbench.data.seeds import derive, generator
from drbench.data.splits import Augment, Images

Plan = Sequence[tuple[Tensor, int]]
"""For every batch the indices of its images, (N,) int64, and the seed of whatever is drawn for them."""


def in_order(length: int, batch_size: int) -> Plan:
    """The plan of an evaluation: every image once, in data set order."""
    return [(indices, 0) for indices in torch.split(torch.arange(length), batch_size)]


def batches(
    dataset: Dataset[Any], plan: Plan, prepare: Prepare, augment: Augment | None = None, workers: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Network inputs (N, C, H, W) float32 channels_last and labels (N,) int64, on `prepare`'s device.

    `workers` processes decode images; those in memory need none.
    """
    for (images, labels), (_, seed) in zip(_raw(dataset, plan, workers), plan, strict=True):
        if augment is not None:
            images = augment(images, generator(seed))
        yield prepare(images), labels.to(prepare.device, non_blocking=True)


def _raw(dataset: Dataset[Any], plan: Plan, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    if isinstance(dataset, Images):
        for indices, _ in plan:
            yield dataset.images[indices], dataset.labels[indices]
        return
    keys = [[(int(i), derive("item", seed, position)) for position, i in enumerate(batch)] for batch, seed in plan]
    # DataLoader draws a base seed for its workers; from a generator of its own, for the global one must not move.
    loader = DataLoader(
        Seeded(dataset), batch_sampler=keys, num_workers=workers, collate_fn=_collate, generator=generator(0)
    )
    yield from loader


class Seeded(Dataset[tuple[Tensor, int]]):
    """A data set whose item (index, seed) depends on these two alone, in any process and after any other item.

    Covers what its transforms draw from torch's CPU generator and from `random`.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        index, seed = key
        with seeded(seed):
            image, label = self.dataset[index]
        return as_tensor(image), int(label)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator and `random` for the block, and put them back."""
    torch_state, python_state = torch.default_generator.get_state(), random.getstate()
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(torch_state)
        random.setstate(python_state)


def as_tensor(image: Any) -> Tensor:
    """(C, H, W) of a tensor (as it is) or a PIL image (RGB, uint8)."""
    return image if isinstance(image, Tensor) else functional.pil_to_tensor(image.convert("RGB"))


def _collate(items: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    return torch.stack([image for image, _ in items]), torch.tensor([label for _, label in items])
