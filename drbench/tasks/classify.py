"""Image classification: cross-entropy, top-1 and top-5."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from drbench.errors import InputError
from drbench.outcomes.ranks import top
from drbench.records import Measurement, Outcomes

LAST_RANK = 255
"""Ranks are kept in a byte each; from here on they are not told apart. Also the rank where a logit is NaN."""


class Classify:
    """One label per image out of `classes`; `label_smoothing` in [0, 1) applies to training only."""

    def __init__(self, classes: int, label_smoothing: float = 0.0) -> None:
        self.classes = classes
        self.label_smoothing = label_smoothing

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Training loss: mean cross-entropy with smoothed labels. logits (N, classes), labels (N,) int64 -> ()."""
        return functional.cross_entropy(self.check(logits), labels, label_smoothing=self.label_smoothing)

    def losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Plain cross-entropy of every image: (N,)."""
        return functional.cross_entropy(self.check(logits), labels, reduction="none")

    def ranks(self, logits: Tensor, labels: Tensor) -> Tensor:
        """For every image the number of other classes that are rated as high as the true one or higher: (N,) uint8.

        0 is top-1 right. Ties count against the network, so that equal logits everywhere are wrong and not right.
        Capped at 255, which is also the rank of an image with a NaN among its logits.
        """
        logits = self.check(logits)
        true = logits.gather(1, labels[:, None])
        ranks = (logits >= true).sum(1) - 1  # the true class is as high as itself
        ranks = ranks.masked_fill(logits.isnan().any(1), LAST_RANK)
        return ranks.clamp(max=LAST_RANK).to(torch.uint8)

    def measurements(
        self, outcomes: Outcomes, *, split: str = "test", epoch: int | None = None
    ) -> tuple[Measurement, ...]:
        """Fractions of images with the true class first (top1), and among the first five (top5; of all if fewer)."""
        context = {"split": split, "samples": outcomes.count, **({"epoch": epoch} if epoch is not None else {})}
        return tuple(
            Measurement(name, top(outcomes, min(k, self.classes)), "fraction", "higher", context=context)
            for name, k in (("top1", 1), ("top5", 5))
        )

    def check(self, logits: Tensor) -> Tensor:
        """`logits`, or InputError unless they are (N, classes)."""
        if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[1] != self.classes:
            came = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise InputError(
                f"the network's output is {came}: classification needs a tensor (images, classes) with {self.classes} "
                "classes; check num_classes"
            )
        return logits
