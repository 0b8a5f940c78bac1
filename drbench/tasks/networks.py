"""The network of a variant: the model that is named, converted, and made into what its task needs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from drbench import models
from drbench.data.seeds import derive
from drbench.models.conversion import Conversion
from drbench.records import Variant
from drbench.tasks import task_named


def build(variant: Variant, seed: int) -> nn.Module:
    """The network that is counted, timed, trained and saved. Raises what `drbench.models.build` does.

    What the task adds to the model is drawn from a seed of its own, so that it is equal for all variants.
    """
    return around(models.build(variant, seed=seed), variant, seed)


def around(model: nn.Module, variant: Variant, seed: int = 0) -> nn.Module:
    """The task's network around a model that `variant` describes. It has the model's `variant` and `conversion`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive("head", seed))
        network = task_named(variant.task).network(model, variant)
    if network is not model:
        network.variant = variant  # type: ignore[assignment]
        conversion: Any = getattr(model, "conversion", None)
        if conversion is not None:
            network.conversion = _renamed(conversion, model, network)  # type: ignore[assignment]
    return network


def load_model(path: str | Path, *, device: torch.device | str | None = None, trust: Collection[str] = ()) -> nn.Module:
    """As `drbench.models.load_model`, for a network of any task."""
    return models.load_model(path, device=device, trust=trust, make=build)


def _renamed(conversion: Conversion, model: nn.Module, network: nn.Module) -> Conversion:
    """The conversion with the names of its layers in the task's network, without those that it does not have."""
    places = {id(module): name for name, module in network.named_modules()}
    names = {name: places[id(module)] for name, module in model.named_modules() if id(module) in places}
    return replace(
        conversion,
        replacements=tuple(replace(row, name=names[row.name]) for row in conversion.replacements if row.name in names),
        guides=tuple(replace(row, name=names[row.name]) for row in conversion.guides if row.name in names),
        skipped=tuple(replace(row, name=names[row.name]) for row in conversion.skipped if row.name in names),
        before=None if conversion.before is None else _renamed(conversion.before, model, network),
    )
