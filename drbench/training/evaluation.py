"""Evaluation: the figures of a network on a part of a data set, as its task judges them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object
from torch import nn
from torch.utils.data import Dataset

from drbench.data.batches import Part, batches, in_order, lost_loaders
from drbench.data.preprocess import Prepare
from drbench.data.splits import Splits, labels_of
from drbench.errors import InputError
from drbench.records import Measurement, Outcomes, TrainSettings
from drbench.tasks import Batch, Classify, Predictions, Task
from drbench.training.accelerator import make_accelerator, surroundings
from drbench.training.presets import check_settings

EVAL_BATCH = 256


def evaluate(
    model: nn.Module, splits: Splits, settings: TrainSettings, task: type[Task] = Classify
) -> tuple[tuple[Measurement, ...], Outcomes]:
    """The task's figures of `model` on the test images, as it is, and the outcomes as in TrainResult.

    For saved weights open the data set with the preprocessing of their header: `open_data(..., preprocessing=...)`.
    """
    check_settings(settings)
    accelerator = make_accelerator(settings)
    with surroundings(settings, accelerator.device), lost_loaders(splits.name):
        model.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        judge = task(splits, settings)
        prepare = Prepare(splits.preprocessing, accelerator.device)
        _, outcomes = judge_part(model, splits.test, part_of(splits, "test"), judge, prepare, accelerator, settings)
    return measure(judge, outcomes), outcomes


def part_of(splits: Splits, name: str) -> Part:
    """What errors call a part of the data set: "train", "validation" or "test"."""
    dataset = {"train": splits.train, "validation": splits.val, "test": splits.test}[name]
    assert dataset is not None
    return Part(splits.name, name, labels_of(splits, dataset))


def judge_part(
    model: nn.Module,
    dataset: Dataset[Any],
    part: Part,
    task: Task,
    prepare: Prepare,
    accelerator: Accelerator,
    settings: TrainSettings,
) -> tuple[float | None, Outcomes]:
    """The mean loss, where the task has one, and what is kept of each image, in data set order, in evaluation mode.

    All processes return all of it.
    """
    if accelerator.num_processes > 1:
        broadcast(list(model.buffers()))  # running statistics differ between processes, each saw its own images
    size = min(EVAL_BATCH, 4 * settings.batch_size)  # where memory allows only small batches, it does so here
    numbered = list(enumerate(in_order(len(dataset), size)))  # type: ignore[arg-type]
    mine = numbered[accelerator.process_index :: accelerator.num_processes]
    plan = [batch for _, batch in mine]
    parts: list[tuple[int, Predictions]] = []
    was_training = model.training
    model.eval()
    with torch.no_grad(), accelerator.autocast():
        for (number, (indices, _)), (inputs, targets) in zip(
            mine, batches(dataset, plan, prepare, workers=settings.loader_workers, part=part), strict=True
        ):
            parts.append((number, _answers(task, model, Batch(inputs, targets, indices.tolist()))))
    model.train(was_training)
    predictions = [one for _, one in sorted(gather_object(parts), key=lambda part: part[0])]
    outcomes = task.judge([value for one in predictions for value in one.values], dataset)
    losses = [one.losses for one in predictions if one.losses is not None]
    return (float(torch.cat(losses).double().mean()) if losses else None), outcomes


def _answers(task: Task, model: nn.Module, batch: Batch) -> Predictions:
    """The task's predictions of a batch. InputError unless there is one for each image."""
    found = task.predict(model, batch)
    if not isinstance(found, Predictions) or len(found.values) != len(batch.keys):
        came = f"{len(found.values)} predictions" if isinstance(found, Predictions) else type(found).__name__
        raise InputError(
            f"task {type(task).__name__}: predict: got {came}; expected Predictions of {len(batch.keys)} images"
        )
    return found


def measure(task: Task, outcomes: Outcomes, epoch: int | None = None) -> tuple[Measurement, ...]:
    """The figures of the test part."""
    values, about = figures_of(task, outcomes), task.about(outcomes)
    context = {"split": "test", "samples": outcomes.count, **({"epoch": epoch} if epoch is not None else {})}
    return tuple(
        Measurement(f.name, values[f.name], f.unit, f.direction, context={**context, **about.get(f.name, {})})
        for f in task.figures.figures
        if f.name in values
    )


def figures_of(task: Task, outcomes: Outcomes) -> Mapping[str, float]:
    """The task's figures by name, the headline among them. InputError where it measures others than it declares."""
    values, declared = task.measure(outcomes), task.figures
    if not set(values) <= set(declared.names) or declared.headline not in values:
        raise InputError(
            f"task {type(task).__name__}: measure: got {', '.join(values)}; expected the figures that it declares: "
            f"{', '.join(declared.names)}"
        )
    return values
