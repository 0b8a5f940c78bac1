"""Which images of a part of a data set are compared, in a data set of people: pairs, and probes among distractors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

FOLDS = 10
"""Of LFW's protocol."""
PAIR_SEED = 20180407
"""Which pairs are drawn where no list of pairs exists; a constant, so that every variant, seed and machine has them."""


@dataclass(frozen=True)
class Protocol:
    """What is asked about the images of a part. Images are numbered by their place in the part, people from 0.

    people: (images,) the person of each image.
    first, second, same, fold: (pairs,) the two images, whether they show one person, and the number of the fold.
    probes, mates: (probes,) an image, and another one of the same person.
    distractors: (distractors,) images among which each probe has to find its mate; none show a probe's person.
    """

    people: Numbers
    first: Numbers
    second: Numbers
    same: npt.NDArray[np.bool_]
    fold: Numbers
    probes: Numbers
    mates: Numbers
    distractors: Numbers

    @property
    def count(self) -> int:
        """Number of people."""
        return int(self.people.max()) + 1 if len(self.people) else 0

    def __str__(self) -> str:
        """Such as "1,000 pairs of 963 people in 10 folds, 586 probes among 1,215 distractors"."""
        paired = len(np.unique(self.people[np.concatenate((self.first, self.second))]))
        text = f"{len(self.first):,} pairs of {paired:,} people in {len(np.unique(self.fold))} folds"
        if len(self.distractors):
            text += f", {len(self.probes):,} probes among {len(self.distractors):,} distractors"
        return text


def protocol_of(dataset: Any) -> Protocol | None:
    """The protocol of a part, or None where its images have classes."""
    found = getattr(dataset, "protocol", None)
    return found if isinstance(found, Protocol) else None


def in_folds(same: npt.ArrayLike, folds: int = FOLDS) -> Numbers:
    """A fold for each of (pairs,) that have none: the same and the different ones are cut into equal runs each."""
    given = np.asarray(same, bool)
    fold = np.zeros(len(given), np.int64)
    for kind in (True, False):
        here = np.flatnonzero(given == kind)
        fold[here] = np.arange(len(here)) * folds // max(len(here), 1)
    return fold


def draw_pairs(people: Sequence[int] | Numbers, pairs: int, distractors: Numbers | None = None) -> Protocol:
    """A protocol for images without a list of pairs: about `pairs` pairs, half of them the same.

    No person occurs in two folds. A person's first image is the mate of the others. Depends on the arguments and on
    PAIR_SEED alone.

    Args:
        people: (images,) the person of each image, from 0.
        pairs: as many are drawn, if the people have so many different ones.
        distractors: images that take part in no pair.
    """
    owner = np.asarray(people, np.int64)
    apart = np.zeros(0, np.int64) if distractors is None else distractors
    usable = np.setdiff1d(np.arange(len(owner)), apart)
    random = np.random.Generator(np.random.PCG64(PAIR_SEED)).random
    known = np.unique(owner[usable])
    folds = int(np.clip(len(known) // 2, 1, FOLDS))
    rows: list[tuple[int, int, bool, int]] = []
    for fold in range(folds):
        here = usable[np.isin(owner[usable], known[fold::folds])]
        left, right = np.triu_indices(len(here), 1)
        alike = owner[here[left]] == owner[here[right]]
        for kind in (True, False):
            found = np.flatnonzero(alike == kind)
            share = pairs // 2 * (fold + 1) // folds - pairs // 2 * fold // folds
            drawn = np.sort(found[np.argsort(random(len(found)), kind="stable")[:share]])
            rows += [(int(here[left[one]]), int(here[right[one]]), kind, fold) for one in drawn]
    first, second, same, number = zip(*rows, strict=True) if rows else ((), (), (), ())
    probes, mates = mates_of(owner, usable)
    return Protocol(
        owner, _numbers(first), _numbers(second), np.array(same, bool), _numbers(number), probes, mates, apart
    )


def mates_of(people: Numbers, images: Numbers) -> tuple[Numbers, Numbers]:
    """Probes and mates among `images`: the first image of a person is the mate of all others."""
    firsts: dict[int, int] = {}
    probes, mates = [], []
    for image in images.tolist():
        mate = firsts.setdefault(int(people[image]), image)
        if mate != image:
            probes.append(image)
            mates.append(mate)
    return _numbers(probes), _numbers(mates)


def _numbers(values: Sequence[int]) -> Numbers:
    return np.array(values, np.int64)
