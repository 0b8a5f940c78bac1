"""The network of a variant: the model that is named, converted, and made into what its task needs."""

from __future__ import annotations

from torch import nn

from drbench import models
from drbench.records import Variant
from drbench.tasks import task_named


def build(variant: Variant, seed: int) -> nn.Module:
    """The network that is counted, timed, trained and saved. Raises what `drbench.models.build` does."""
    return task_named(variant.task).network(models.build(variant, seed=seed), variant)
