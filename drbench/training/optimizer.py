"""Optimizer, learning rate and moving average, from the settings of a training."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from drbench.errors import InputError
from drbench.records import TrainSettings


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """SGD or AdamW; no weight decay on norms and biases. InputError if nothing is left to train."""
    decayed: list[nn.Parameter] = []
    bare: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            # One-dimensional parameters are the scales and offsets of norms, and biases.
            (bare if parameter.dim() <= 1 or name.endswith("bias") else decayed).append(parameter)
    if not decayed and not bare:
        raise InputError("the network has no parameters that require gradients: there is nothing to train")
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": bare, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # One call for all parameters; small networks on a CPU spend a few percent of a step here otherwise.
    fused = (decayed or bare)[0].device.type in ("cpu", "cuda")
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=fused)
    return torch.optim.SGD(
        groups, lr=settings.learning_rate, momentum=settings.momentum, nesterov=settings.nesterov, fused=fused
    )


def learning_rate(settings: TrainSettings, step: int, steps_per_epoch: int) -> float:
    """Rate of global step `step` from 0: a linear rise over the warm-up, then down to 0 at the end."""
    warmup, total = settings.warmup_epochs * steps_per_epoch, settings.epochs * steps_per_epoch
    if step < warmup:
        return settings.learning_rate * min((step + 1) / warmup, 1.0)
    gone = (step - warmup) / (total - warmup)
    factor = {"cosine": (1 + math.cos(math.pi * gone)) / 2, "linear": 1 - gone, "constant": 1.0}[settings.schedule]
    return settings.learning_rate * factor


def make_ema(model: nn.Module, settings: TrainSettings) -> AveragedModel | None:
    """The moving average of weights and buffers over steps; None if not asked for."""
    if settings.ema_decay is None:
        return None
    average = get_ema_multi_avg_fn(settings.ema_decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)
