from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from drbench.data import Splits, open_data
from drbench.data.seeds import derive, generator
from drbench.identity import table
from drbench.records import DataSettings, Event
from drbench.training.evaluation import evaluate
from drbench.training.loop import fit
from drbench.training.presets import PRESETS, preset

SETTINGS = preset("quick", {"epochs": 2, "batch_size": 16, "augment": "none", "device": "cpu", "threads": 1})
RECALIBRATED = replace(SETTINGS, recalibrate_batch_norm=True)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return open_data(DataSettings("shapes", args={"train": 120, "test": 40}), augment="none")


def net(dropout: float = 0.0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, bias=False),
            nn.BatchNorm2d(8, momentum=0.01),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(8, 16, 3, 2, bias=False),
            nn.BatchNorm2d(16, momentum=0.01),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(64, 10),
        )


def fitted(splits: Splits, workdir: Path, settings: Any = RECALIBRATED, dropout: float = 0.0, **more: Any) -> Any:
    model = net(dropout)
    return model, fit(model, splits, settings, seed=3, workdir=workdir, **more)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def statistics(model: nn.Sequential, splits: Splits) -> list[Tensor]:
    """Means and variances of both layers over the batches of the epoch after the last, averaged, in float64."""
    mean, std = (torch.tensor(splits.preprocessing[key]).view(3, 1, 1).double() for key in ("mean", "std"))
    images = (splits.train.images / 255 - mean) / std  # type: ignore[attr-defined]
    kernels = [model[0].weight.double(), model[4].weight.double()]  # type: ignore[union-attr, operator]
    scale, offset = (value.detach().double().view(8, 1, 1) for value in (model[1].weight, model[1].bias))  # type: ignore[union-attr, operator]
    order = torch.randperm(len(images), generator=generator(derive("order", 3, 2)))
    found: list[list[Tensor]] = [[], [], [], []]
    for step in range(len(images) // 16):
        first = functional.conv2d(images[order[16 * step : 16 * (step + 1)]], kernels[0], stride=2)
        centred = first - first.mean((0, 2, 3), keepdim=True)
        spread = (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()
        second = functional.conv2d((scale * centred / spread + offset).relu(), kernels[1], stride=2)
        for place, layer in ((0, first), (2, second)):
            found[place].append(layer.mean((0, 2, 3)))
            found[place + 1].append(layer.transpose(0, 1).flatten(1).var(1))
    return [torch.stack(values).mean(0).detach() for values in found]


@pytest.mark.parametrize("ema", [None, 0.9])
def test_statistics_are_those_of_the_last_weights(ema: float | None, splits: Splits, tmp_path: Path) -> None:
    model, result = fitted(splits, tmp_path / "new", replace(RECALIBRATED, ema_decay=ema))
    kept = [model[1].running_mean, model[1].running_var, model[5].running_mean, model[5].running_var]
    for ours, theirs in zip(kept, statistics(model, splits), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5)
    assert evaluate(model, splits, SETTINGS)[1] == result.outcomes
    assert model[1].momentum == 0.01

    before, former = fitted(splits, tmp_path / "old", replace(SETTINGS, ema_decay=ema))
    for name, value in weights(before).items():
        assert torch.equal(value, weights(model)[name]), name
    assert not torch.equal(before[1].running_var, model[1].running_var)
    assert former.epochs[0].val_loss == result.epochs[0].val_loss  # only after the last epoch
    assert former.epochs[1].train_loss == result.epochs[1].train_loss
    assert former.epochs[1].val_loss != result.epochs[1].val_loss


def test_the_validation_of_the_last_epoch_sees_the_new_statistics(splits: Splits, tmp_path: Path) -> None:
    model, result = fitted(splits, tmp_path)
    as_test = replace(splits, test=splits.val)
    found = {m.name: m.value for m in evaluate(model, as_test, SETTINGS)[0]}
    assert found["top1"] == result.epochs[-1].val_score


@pytest.mark.parametrize("call", [11, 12, 15, 18])
def test_a_resumed_training_has_the_same_statistics(call: int, splits: Splits, tmp_path: Path) -> None:
    """Interrupted in the last epoch or in the recalibration; an epoch has 6 steps, with a checkpoint after 3."""

    def interrupt(module: nn.Module, arguments: Any) -> None:
        nonlocal calls
        calls += module.training
        if calls == call:
            raise KeyboardInterrupt

    calls = 0
    whole, _ = fitted(splits, tmp_path / "whole", dropout=0.5)
    cut = net(dropout=0.5)
    cut.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(cut, splits, RECALIBRATED, seed=3, workdir=tmp_path / "cut", checkpoint_steps=3)
    resumed, _ = fitted(splits, tmp_path / "cut", dropout=0.5)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_training_resumed_after_its_last_epoch_has_the_same_statistics(splits: Splits, tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if event.kind == "epoch" and event.done == 2:
            raise KeyboardInterrupt

    whole, result = fitted(splits, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fitted(splits, tmp_path / "cut", on_event=interrupt)
    resumed, again = fitted(splits, tmp_path / "cut")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert again.outcomes == result.outcomes


def test_a_network_without_batch_normalisation(splits: Splits, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    fit(model, splits, RECALIBRATED, seed=3, workdir=tmp_path)


def test_only_a_recipe_that_recalibrates_has_another_name() -> None:
    assert "recalibrate_batch_norm" not in table(SETTINGS)
    assert table(RECALIBRATED)["recalibrate_batch_norm"] is True
    assert not any(settings.recalibrate_batch_norm for settings in PRESETS.values())
