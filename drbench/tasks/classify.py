"""Image classification: cross-entropy, top-1 and top-5."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from drbench.errors import InputError
from drbench.figures import CLASSIFY
from drbench.outcomes.ranks import top
from drbench.records import Outcomes
from drbench.tasks.task import Batch, Predictions, Task

LAST_RANK = 255
"""Ranks are kept in a byte each; from here on they are not told apart. Also the rank where a logit is NaN."""


class Classify(Task):
    """One label per image. Label smoothing applies to training only."""

    figures = CLASSIFY
    codec = "rank-u8"

    def losses(self, network: nn.Module, criterion: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Mean cross-entropy with smoothed labels."""
        logits, smoothing = self.check(network(batch.inputs)), self.settings.label_smoothing
        return {"cross_entropy": functional.cross_entropy(logits, batch.targets, label_smoothing=smoothing)}

    def predict(self, network: nn.Module, batch: Batch) -> Predictions:
        """The rank of the true class, and the plain cross-entropy, of each image."""
        logits = self.check(network(batch.inputs)).float()
        losses = functional.cross_entropy(logits, batch.targets, reduction="none")
        return Predictions(ranks(logits, batch.targets).tolist(), losses.cpu())

    def measure(self, outcomes: Outcomes) -> Mapping[str, float]:
        """Shares of images with the true class first (top1), and among the first five (top5; of all if fewer)."""
        classes = len(self.splits.classes)
        return {name: top(outcomes, min(k, classes)) for name, k in (("top1", 1), ("top5", 5))}

    def check(self, logits: Tensor) -> Tensor:
        """`logits`, or InputError unless they are (N, classes)."""
        classes = len(self.splits.classes)
        if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[1] != classes:
            came = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise InputError(
                f"the network's output: got {came}; expected a tensor (images, classes) with {classes} classes. Check "
                "num_classes"
            )
        return logits


def ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """For every image the number of other classes that are rated as high as the true one or higher: (N,) uint8.

    0 is top-1 right. Ties count against the network, so that equal logits everywhere are wrong and not right. Capped at
    255, which is also the rank of an image with a NaN among its logits.

    Args:
        logits: (N, classes).
        labels: (N,) int64.
    """
    true = logits.gather(1, labels[:, None])
    found = (logits >= true).sum(1) - 1  # the true class is as high as itself
    found = found.masked_fill(logits.isnan().any(1), LAST_RANK)
    return found.clamp(max=LAST_RANK).to(torch.uint8)
