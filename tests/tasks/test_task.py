"""What the loop asks of a task, and how it refuses one that does not keep to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from drbench.data import Splits, open_data
from drbench.errors import InputError
from drbench.figures import BUILT_IN, Figure, TaskFigures
from drbench.outcomes import decode
from drbench.records import DataSettings
from drbench.tasks import TASKS, Batch, Predictions, Task, task_named
from drbench.training.evaluation import evaluate
from drbench.training.loop import CHECKPOINT, fit
from drbench.training.presets import preset

SETTINGS = preset("quick", {"epochs": 2, "batch_size": 16, "device": "cpu", "threads": 1})


class Brightness(Task):
    """Predict the mean of an image through a learned scale, which belongs to the criterion."""

    figures = TaskFigures("here:Brightness", "gap", (Figure("gap", "levels", "lower"),))

    @classmethod
    def outputs(cls, classes: int) -> int:
        return 1

    def criterion(self, network: nn.Module) -> nn.Module:
        return nn.Linear(1, 1, bias=False)

    def losses(self, network: nn.Module, criterion: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        found = criterion(network(batch.inputs))[:, 0] - batch.inputs.mean((1, 2, 3))
        return {"squared": (found**2).mean(), "small": 0.0 * found.sum()}

    def predict(self, network: nn.Module, batch: Batch) -> Predictions:
        return Predictions((network(batch.inputs)[:, 0] - batch.inputs.mean((1, 2, 3))).abs().tolist())


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))


@pytest.fixture(scope="module")
def splits() -> Splits:
    return open_data(DataSettings("shapes", args={"train": 120, "test": 40, "size": 16}))


def test_the_registry_and_the_declarations_name_the_same_tasks() -> None:
    assert {name: task.figures for name, task in TASKS.items()} == dict(BUILT_IN)


def test_a_task_without_a_loss_on_validation_images(splits: Splits, tmp_path: Path) -> None:
    model = net()
    result = fit(model, splits, SETTINGS, task=Brightness, seed=0, workdir=tmp_path)
    assert [epoch.val_loss for epoch in result.epochs] == [None, None]
    assert result.outcomes.codec == "value-f64"
    assert result.outcomes.count == 40
    figures = {m.name: m for m in result.measurements}
    assert figures["gap"].value == pytest.approx(float(decode(result.outcomes).astype(float).mean()))
    assert (figures["gap"].unit, figures["gap"].direction) == ("levels", "lower")
    assert figures["val_gap"].value == result.epochs[-1].val_score
    assert evaluate(model, splits, SETTINGS, Brightness) == (
        (replace(figures["gap"], context={"split": "test", "samples": 40}),),
        result.outcomes,
    )


def test_the_criterion_is_trained_kept_in_checkpoints_and_no_part_of_the_network(
    splits: Splits, tmp_path: Path
) -> None:
    whole, model = net(), net()
    names = set(model.state_dict())
    fit(whole, splits, SETTINGS, task=Brightness, seed=0, workdir=tmp_path / "whole")

    def stop(event: Any) -> None:
        if event.kind == "epoch":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, splits, SETTINGS, task=Brightness, seed=0, workdir=tmp_path, on_event=stop)
    assert (tmp_path / CHECKPOINT).exists()
    model = net()
    fit(model, splits, SETTINGS, task=Brightness, seed=0, workdir=tmp_path)
    assert set(model.state_dict()) == names
    for name, value in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_a_checkpoint_of_another_task_is_refused(splits: Splits, tmp_path: Path) -> None:
    class Other(Brightness):
        pass

    fit(net(), splits, SETTINGS, task=Brightness, seed=0, workdir=tmp_path)
    with pytest.raises(InputError, match=r"another training \(task"):
        fit(net(), splits, SETTINGS, task=Other, seed=0, workdir=tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("losses", lambda *_: torch.zeros(3), "losses: got Tensor; expected a mapping"),
        ("losses", lambda *_: {"a": torch.zeros(3, requires_grad=True)}, "scalar tensors"),
        ("predict", lambda *_: [1.0], "predict: got list; expected Predictions of 12 images"),
        ("predict", lambda *_: Predictions([1.0]), "predict: got 1 predictions; expected Predictions of 12 images"),
        ("measure", lambda *_: {"mistake": 1.0}, "measure: got mistake; expected the figures that it declares: gap"),
        ("codec", "rank-u8", "values that rank-u8 cannot hold"),
    ],
)
def test_a_task_that_does_not_keep_to_the_interface(
    splits: Splits, tmp_path: Path, name: str, value: object, message: str
) -> None:
    wrong = type("Wrong", (Brightness,), {name: value})
    with pytest.raises(InputError, match=message):
        fit(net(), splits, replace(SETTINGS, epochs=1), task=wrong, seed=0, workdir=tmp_path)


class Unfinished(Task):
    figures = Brightness.figures

    def predict(self, network: nn.Module, batch: Batch) -> Predictions:
        return Predictions([])


def test_names() -> None:
    with pytest.raises(InputError, match="got a class without losses; expected losses and predict"):
        task_named(f"{__name__}:Unfinished")
    assert task_named("classify") is TASKS["classify"]
    with pytest.raises(InputError, match=r"unknown task 'clasify'.*did you mean 'classify'"):
        task_named("clasify")
    with pytest.raises(InputError, match=r"expected a subclass of drbench\.tasks\.Task"):
        task_named("collections:OrderedDict")
