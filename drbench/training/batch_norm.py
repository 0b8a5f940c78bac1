"""Statistics of batch normalisation, measured again with the weights that are evaluated."""

from __future__ import annotations

from collections.abc import Iterable

from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn


def recalibrate(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], accelerator: Accelerator) -> None:
    """Set the running mean and variance of every batch normalisation to the average over `batches`.

    During training they are moving averages. With a small momentum (0.01 in MobileNetV3) and few steps they still hold
    their initial values in part, and the network fails in evaluation mode. The weights do not change.
    """
    with accelerator.autocast():
        update_bn(batches, model)
