"""What a task is: which network it needs, what it is trained to minimize, how its answers are judged.

The training loop, the experiment and the reports know this interface alone. A task of one's own is a subclass, named
"package.module:callable" (docs/your-own.md).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.utils.data import Dataset

from drbench.data.splits import Splits
from drbench.figures import TaskFigures
from drbench.outcomes import decode, encode, right, share
from drbench.records import Outcomes, TrainSettings, Variant


@dataclass(frozen=True)
class Batch:
    """Images on their way through the network.

    inputs: (N, C, H, W) float32, on the device.
    targets: what the data set says of each image; of a data set with classes (N,) int64, on the device.
    keys: the position of each image in its part of the data set.
    progress: the share of the training that is done, from 0 to below 1.
    """

    inputs: Tensor
    targets: Any
    keys: Sequence[int]
    progress: float = 0.0


@dataclass(frozen=True)
class Predictions:
    """Answers to a batch: a value per image, on the CPU, for `Task.judge`; and (N,) losses, if the task has them."""

    values: Sequence[Any]
    losses: Tensor | None = None


class Task(ABC):
    """A task, made for one data set and one training. Subclasses declare `figures` and define `losses` and `predict`.

    figures: what is reported; the headline figure is also the validation score.
    codec: how `judge` packs one number per image (drbench.outcomes.CODECS).
    targets: what the labels of a data set for this task are, as in `Splits.targets`.
    """

    figures: ClassVar[TaskFigures]
    codec: ClassVar[str] = "value-f64"
    targets: ClassVar[str] = "classes"

    def __init__(self, splits: Splits, settings: TrainSettings) -> None:
        self.splits = splits
        self.settings = settings

    @classmethod
    def outputs(cls, classes: int) -> int:
        """The number of outputs that the network needs for a data set of so many classes."""
        return classes

    @classmethod
    def accepts(cls, outputs: int, classes: int) -> bool:
        """Whether a network with so many outputs is for a data set of so many classes."""
        return outputs == cls.outputs(classes)

    @classmethod
    def network(cls, model: nn.Module, variant: Variant) -> nn.Module:
        """The network that is counted, timed, trained and saved: the model, or a module around it."""
        return model

    def criterion(self, network: nn.Module) -> nn.Module:
        """What `losses` needs in addition to `network`. Its parameters are trained and kept in checkpoints.

        They are not counted as parameters of the network, and not saved with it. What is drawn may come from torch's
        generator, which is seeded before.
        """
        return nn.Module()

    @abstractmethod
    def losses(self, network: nn.Module, criterion: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """The losses of a training step, each (): they are added up. What is drawn may come from torch's generator,
        which is seeded for each step.
        """

    @abstractmethod
    def predict(self, network: nn.Module, batch: Batch) -> Predictions:
        """The network's answers to a batch, in evaluation mode. An answer must not depend on the rest of the batch."""

    def judge(self, predictions: Sequence[Any], dataset: Dataset[Any]) -> Outcomes:
        """What is kept of a part of the data set; by default the number that `predict` gave for each image.

        predictions: the values that `predict` gave for all images of `dataset`, in order.
        """
        return encode(self.figures.unit, self.codec, predictions)

    def measure(self, outcomes: Outcomes) -> Mapping[str, float]:
        """The figures, by name; by default the headline: the share of right answers, or the mean.

        A figure that does not exist for this part is left out; the headline always exists.
        """
        main = self.figures.main
        return {main.name: share(right(outcomes) if main.per_unit else decode(outcomes))}

    def about(self, outcomes: Outcomes) -> Mapping[str, Mapping[str, Any]]:
        """What else is recorded with a figure, by its name: its standard error, its own number of samples."""
        return {}
