"""Semantic segmentation: the class of each pixel; mean IoU and pixel accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from drbench.data.masks import IGNORED
from drbench.errors import InputError
from drbench.figures import SEGMENT
from drbench.models.segmenter import LRASPP
from drbench.models.taps import backbone
from drbench.outcomes import confusion, decode, encode, rest
from drbench.records import Outcomes, Variant
from drbench.tasks.task import Batch, Predictions, Task


class Segment(Task):
    """A class per pixel; pixels of the class IGNORED do not count. Label smoothing applies to training only."""

    figures = SEGMENT
    codec = "confusion-1"
    targets = "masks"

    @classmethod
    def network(cls, model: nn.Module, variant: Variant) -> nn.Module:
        """LR-ASPP on the taps of the model."""
        return LRASPP(backbone(model, variant.input_shape, architecture=variant.architecture), variant.num_classes)

    def losses(self, network: nn.Module, criterion: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Mean cross-entropy over the pixels that count."""
        scores = self.scores(network, batch)
        smoothing = self.settings.label_smoothing
        total = functional.cross_entropy(
            scores, batch.targets.long(), ignore_index=IGNORED, label_smoothing=smoothing, reduction="sum"
        )
        return {"cross_entropy": total / (batch.targets != IGNORED).sum().clamp(min=1)}

    def predict(self, network: nn.Module, batch: Batch) -> Predictions:
        """The cells of each image's confusion matrix, and its cross-entropy."""
        scores, masks = self.scores(network, batch), batch.targets
        losses = functional.cross_entropy(scores, masks.long(), ignore_index=IGNORED, reduction="none")
        counted = (masks != IGNORED).sum((1, 2)).clamp(min=1)
        answers = scores.argmax(1).masked_fill(scores.isnan().any(1), -1).cpu().numpy()
        cells = [
            confusion.cells_of(truth, answer, len(self.splits.classes), IGNORED)
            for truth, answer in zip(masks.cpu().numpy(), answers, strict=True)
        ]
        return Predictions(cells, (losses.sum((1, 2)) / counted).cpu())

    def judge(self, predictions: Sequence[Any], dataset: Dataset[Any]) -> Outcomes:
        """The cells of all images."""
        images = np.zeros(len(predictions), confusion.IMAGE)
        images["cells"] = [len(cells) for cells in predictions]
        rows = np.concatenate([np.zeros(0, confusion.CELL), *predictions])
        return encode(self.figures.unit, self.codec, images, rows)

    def measure(self, outcomes: Outcomes) -> Mapping[str, float]:
        """Mean IoU and pixel accuracy of one confusion matrix over all images."""
        found = self._matrix(outcomes)
        return {"miou": confusion.mean_iou(found), "pixel_accuracy": confusion.pixel_accuracy(found)}

    def about(self, outcomes: Outcomes) -> Mapping[str, Mapping[str, Any]]:
        """Of the mean IoU, the IoU of each class and the number of classes that occur."""
        values = confusion.intersection_over_union(self._matrix(outcomes))
        by_class = {
            name: float(value) for name, value in zip(self.splits.classes, values, strict=True) if not np.isnan(value)
        }
        return {"miou": {"classes": len(by_class), "iou": by_class}}

    def scores(self, network: nn.Module, batch: Batch) -> Tensor:
        """(N, classes, H, W) float32 at the size of the masks, which is that of the images before they were resized.

        InputError if the network gives something else than scores for each class and pixel.
        """
        scores, size = network(batch.inputs), batch.targets.shape[-2:]
        wanted = (len(batch.inputs), len(self.splits.classes), *batch.inputs.shape[2:])
        if not isinstance(scores, Tensor) or tuple(scores.shape) != wanted:
            came = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
            raise InputError(f"the network's output: got {came}; expected scores of shape {wanted}. Check num_classes")
        scores = scores.float()
        return scores if scores.shape[-2:] == size else functional.interpolate(scores, size, mode="bilinear")

    def _matrix(self, outcomes: Outcomes) -> Any:
        return confusion.matrix(decode(outcomes), rest(outcomes), len(self.splits.classes))
