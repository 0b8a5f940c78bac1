"""Batches from a data set: which images a batch holds and what is drawn for it are given, not drawn here."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from drbench.data.items import as_item, origin, problem
from drbench.data.masks import IGNORED, FlipScale, Masks
from drbench.data.preprocess import Prepare
from drbench.data.seeds import derive, generator
from drbench.data.splits import Augment, Images
from drbench.errors import DataError, FailedError

Plan = Sequence[tuple[Tensor, int]]
"""For every batch the indices of its images, (N,) int64, and the seed of whatever is drawn for them."""


@dataclass(frozen=True)
class Part:
    """What errors call a part of a data set: its name, which part ("train"), and how many classes its labels have."""

    name: str
    part: str
    classes: int

    def __str__(self) -> str:
        return f"data set {self.name!r}, {self.part}"


def in_order(length: int, batch_size: int) -> Plan:
    """The plan of an evaluation: every image once, in data set order."""
    return [(indices, 0) for indices in torch.split(torch.arange(length), batch_size)]


def batches(
    dataset: Dataset[Any],
    plan: Plan,
    prepare: Prepare,
    augment: Augment | FlipScale | None = None,
    workers: int = 0,
    *,
    part: Part,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Network inputs (N, C, H, W) float32 channels_last and labels (N,) int64, on `prepare`'s device.

    Of images with masks, the labels are the masks (N, H, W) uint8.

    `workers` processes decode images; those in memory need none. DataError names `part` and the item that cannot be
    used, whichever process found it; indices are those of the data set's own training or test part.
    """
    for (images, labels), (_, seed) in zip(raw_batches(dataset, plan, workers, part), plan, strict=True):
        if isinstance(augment, FlipScale):
            images, labels = augment.together(images, labels, generator(seed))
        elif augment is not None:
            images = augment(images, generator(seed))
        yield prepare(images), labels.to(prepare.device, non_blocking=True)


def raw_batches(dataset: Dataset[Any], plan: Plan, workers: int, part: Part) -> Iterator[tuple[Tensor, Tensor]]:
    """Images (N, C, H, W) as the data set has them and labels (N,) int64, every label checked against the classes."""
    for (images, labels), (indices, _) in zip(_unchecked(dataset, plan, workers, part), plan, strict=True):
        if labels.dim() > 1:
            _check_masks(dataset, indices, labels, part)
        elif len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < part.classes:
            odd = int(((labels < 0) | (labels >= part.classes)).nonzero()[0])
            raise out_of_range(part, origin(dataset, int(indices[odd])), int(labels[odd]))
        yield images, labels


def out_of_range(part: Part, index: int, label: int, more: str = "") -> DataError:
    """The error for a label that no class has."""
    return DataError(
        f"{part} item {index}: label is {label}{more}; expected 0 to {part.classes - 1}, for the training set has "
        f"{part.classes} classes"
    )


def _check_masks(dataset: Dataset[Any], indices: Tensor, masks: Tensor, part: Part) -> None:
    odd = ((masks >= part.classes) & (masks != IGNORED)).flatten(1).any(1).nonzero()
    if len(odd):
        place = int(odd[0])
        counts = torch.bincount(masks[place].flatten().long())
        found = ", ".join(f"{value} ({int(counts[value]):,} px)" for value in counts.nonzero().flatten().tolist()[:8])
        raise DataError(
            f"{part} item {origin(dataset, int(indices[place]))}: mask holds {found}; expected class indices from 0 to "
            f"{part.classes - 1}, and {IGNORED} for pixels that do not count"
        )


def _unchecked(dataset: Dataset[Any], plan: Plan, workers: int, part: Part) -> Iterator[tuple[Tensor, Tensor]]:
    if isinstance(dataset, Images | Masks):
        targets = dataset.labels if isinstance(dataset, Images) else dataset.masks
        for indices, _ in plan:
            yield dataset.images[indices], targets[indices]
        return
    keys = [[(int(i), derive("item", seed, position)) for position, i in enumerate(batch)] for batch, seed in plan]
    # DataLoader draws a base seed for its workers; from a generator of its own, for the global one must not move.
    loader = DataLoader(
        Seeded(dataset), batch_sampler=keys, num_workers=workers, collate_fn=_collate, generator=generator(0)
    )
    for batch in loader:
        if isinstance(batch, Failure):
            raise DataError(f"{part} item {batch.index}: {batch.problem}")
        yield batch


@dataclass(frozen=True)
class Failure:
    """Why an item cannot be used. It is returned, not raised: DataLoader would make a traceback the message."""

    index: int
    problem: str


Item = tuple[int, Tensor, int]
"""Index in the data set, image, label."""


class Seeded(Dataset[Item | Failure]):
    """A data set whose item (index, seed) depends on these two alone, in any process and after any other item.

    Covers what its transforms draw from torch's CPU generator and from `random`. An item that cannot be used is a
    Failure.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitem__(self, key: tuple[int, int]) -> Item | Failure:
        index, seed = key
        try:
            with seeded(seed):
                item = self.dataset[index]
            image, label = as_item(item)
        except MemoryError:  # the machine's fault, not the item's
            raise
        except (Exception, SystemExit) as error:  # a user's own code may raise anything
            return Failure(origin(self.dataset, index), problem(error))
        return origin(self.dataset, index), image, label


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


@contextmanager
def lost_loaders(name: str) -> Iterator[None]:
    """Turn what torch raises when a loader process dies, wherever it does, into a FailedError naming the data set."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        text = " ".join(str(error).split())
        raise FailedError(f"data set {name!r}: {text}. With loader_workers = 0 the item's own error shows") from error


def _collate(items: list[Item | Failure]) -> tuple[Tensor, Tensor] | Failure:
    good: list[Item] = []
    for item in items:
        if isinstance(item, Failure):
            return item
        good.append(item)
        first = good[0]
        if item[1].shape != first[1].shape or item[1].is_floating_point() != first[1].is_floating_point():
            return Failure(
                item[0], f"{_kind(item[1])}, unlike item {first[0]}: {_kind(first[1])}; expected images alike"
            )
    return torch.stack([image for _, image, _ in good]), torch.tensor([label for *_, label in good])


def _kind(image: Tensor) -> str:
    return f"a {str(image.dtype).removeprefix('torch.')} image of shape {tuple(image.shape)}"
