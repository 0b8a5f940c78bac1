"""The training loop.

What happens in a step is a function of (seed, epoch, step) and the weights before it: the images and their order, their
augmentation, what the network's layers draw. So variants of equal seed see the same images, and a training that was
killed goes on from its checkpoint to the same weights, bit for bit on a CPU.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import operator
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from drbench import identity, protocol_versions
from drbench.conditions import of_recipe
from drbench.data.batches import Plan, batches, lost_loaders
from drbench.data.preprocess import Prepare
from drbench.data.seeds import derive, generator
from drbench.data.splits import Splits
from drbench.errors import FailedError, InputError
from drbench.records import Epoch, Event, Measurement, Outcomes, TrainSettings
from drbench.tasks import Batch, Classify, Task
from drbench.training.accelerator import make_accelerator, prepared, surroundings
from drbench.training.batch_norm import recalibrate
from drbench.training.checkpoint import Checkpoint, Progress
from drbench.training.evaluation import figures_of, judge_part, measure, part_of
from drbench.training.optimizer import learning_rate, make_ema, make_optimizer
from drbench.training.presets import check_settings

CHECKPOINT = "checkpoint.safetensors"
REPORT_SECONDS = 0.2
"""At most five progress events a second; the loss is looked at as often, for on a GPU each look waits for the queue."""


@dataclass(frozen=True)
class TrainResult:
    """Of a finished training: its curve, and figures and outcomes of the test set, after the last epoch.

    `outcomes`: what the task kept of each test image (`drbench.outcomes`).
    """

    epochs: tuple[Epoch, ...]
    measurements: tuple[Measurement, ...]
    outcomes: Outcomes


def fit(
    model: nn.Module,
    splits: Splits,
    settings: TrainSettings,
    *,
    task: type[Task] = Classify,
    seed: int,
    workdir: Path,
    resume: bool = True,
    on_event: Callable[[Event], None] = lambda event: None,
    checkpoint_minutes: float | None = 10.0,
    checkpoint_steps: int | None = None,
) -> TrainResult:
    """Train `model` in place and leave it holding the last epoch's weights (their moving average, with `ema_decay`).

    A checkpoint is written to `workdir` after every epoch, and within an epoch after so many minutes or steps; with
    `resume`, training continues from an existing one. Events: "step" with done of total in the epoch, "epoch" with an
    Epoch. With `recalibrate_batch_norm`, the statistics of batch normalisation are measured again after the last epoch.
    Under a launcher (torchrun, accelerate) every batch is divided between the processes, and the first one
    writes. The global random state is as before afterwards. FailedError if the loss is not finite or `workdir` not
    writable. InputError for settings out of range, a device that is not there, and a checkpoint that is damaged or of
    another training. KeyboardInterrupt passes through; the last checkpoint stays whole.
    """
    check_settings(settings)
    accelerator = make_accelerator(settings)
    with (
        surroundings(settings, accelerator.device),
        lost_loaders(splits.name),
        prepared(accelerator, model) as network,
    ):
        judge = task(splits, settings)
        torch.manual_seed(derive("criterion", seed))
        criterion = judge.criterion(model).to(accelerator.device)
        prepare = Prepare(splits.preprocessing, accelerator.device)
        ema = make_ema(model, settings)
        optimizer = accelerator.prepare_optimizer(make_optimizer(nn.ModuleList([model, criterion]), settings))

        images = len(splits.train)  # type: ignore[arg-type]
        batch_size = min(settings.batch_size, images)
        steps = images // batch_size  # what is left over for a last, smaller batch takes its turn in another epoch
        progress = Progress(losses=torch.zeros(steps, device=accelerator.device))
        name = _identity(model, splits, settings, seed, task)
        checkpoint = Checkpoint(workdir / CHECKPOINT, name, model, optimizer, ema, accelerator.scaler, criterion)
        if resume and checkpoint.path.exists():
            progress = checkpoint.load(progress)

        def training_batches(plan: Plan) -> Iterator[tuple[Tensor, Tensor]]:
            part = part_of(splits, "train")
            return batches(splits.train, plan, prepare, splits.augment, settings.loader_workers, part=part)

        while progress.epoch < settings.epochs:
            epoch = progress.epoch
            started = time.perf_counter() - progress.seconds
            reported, saved = -math.inf, time.perf_counter()
            plan = _plan(images, batch_size, seed, epoch, accelerator)[progress.step :]
            model.train()
            for (inputs, targets), (indices, _) in zip(training_batches(plan), plan, strict=True):
                step = progress.step
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(settings, epoch * steps + step, steps)
                torch.manual_seed(derive("layers", seed, epoch, step, accelerator.process_index))
                done = (epoch * steps + step) / (settings.epochs * steps)
                losses = judge.losses(network, criterion, Batch(inputs, targets, indices.tolist(), done))
                loss = _total(losses)
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(loss)
                if settings.grad_clip is not None:
                    accelerator.clip_grad_norm_([*model.parameters(), *criterion.parameters()], settings.grad_clip)
                optimizer.step()
                if ema is not None:
                    ema.update_parameters(model)
                progress.losses[step] = loss.detach()
                progress.step = step + 1

                now = time.perf_counter()
                if now - reported >= REPORT_SECONDS:
                    reported = now
                    text = f"epoch {epoch + 1} of {settings.epochs}, loss {_mean_loss(progress):.3f}"
                    on_event(Event("step", text, progress.step, steps))
                due = (checkpoint_minutes is not None and now - saved >= 60 * checkpoint_minutes) or (
                    checkpoint_steps is not None and progress.step % checkpoint_steps == 0
                )
                if due and progress.step < steps:
                    _mean_loss(progress)  # raises rather than keeping weights that are lost
                    progress.seconds = now - started
                    _save(checkpoint, progress, accelerator)
                    saved = time.perf_counter()

            progress.losses = accelerator.reduce(progress.losses, "mean")
            train_loss = _mean_loss(progress)
            seconds = time.perf_counter() - started
            judged = model if ema is None else ema.module
            if settings.recalibrate_batch_norm and epoch + 1 == settings.epochs:
                # One more pass over the training images, as in an epoch of its own, but without steps.
                torch.manual_seed(derive("layers", seed, settings.epochs, 0, accelerator.process_index))
                plan = _plan(images, batch_size, seed, settings.epochs, accelerator)
                recalibrate(judged, training_batches(plan), accelerator)
            val_loss = val_score = None
            if splits.val is not None:
                val_loss, outcomes = judge_part(
                    judged, splits.val, part_of(splits, "validation"), judge, prepare, accelerator, settings
                )
                val_score = figures_of(judge, outcomes)[task.figures.headline]
            finished = Epoch(
                number=epoch + 1,
                train_loss=train_loss,
                val_loss=val_loss,
                val_score=val_score,
                learning_rate=optimizer.param_groups[0]["lr"],
                images_per_second=steps * batch_size / seconds,
                seconds=seconds,
            )
            progress.losses.zero_()
            progress = Progress(progress.losses, epoch=epoch + 1, curve=[*progress.curve, finished])
            _save(checkpoint, progress, accelerator)
            on_event(Event("epoch", f"epoch {epoch + 1} of {settings.epochs}", epoch + 1, settings.epochs, finished))

        if ema is not None:
            model.load_state_dict(ema.module.state_dict())
        _, outcomes = judge_part(model, splits.test, part_of(splits, "test"), judge, prepare, accelerator, settings)
        curve = tuple(progress.curve)
        measured = measure(judge, outcomes, epoch=settings.epochs)
        context = {"device": accelerator.device.type, "precision": settings.precision, "batch_size": batch_size}
        return TrainResult(
            epochs=curve,
            measurements=(*measured, *_of_curve(curve, {**context, "threads": torch.get_num_threads()}, splits, task)),
            outcomes=outcomes,
        )


def _total(losses: Mapping[str, Tensor]) -> Tensor:
    """The sum of the losses of a step. InputError unless they are scalars by name."""
    if not isinstance(losses, Mapping) or not losses or any(loss.dim() for loss in losses.values()):
        raise InputError(f"losses: got {type(losses).__name__}; expected a mapping of names to scalar tensors")
    return functools.reduce(operator.add, losses.values())


def _plan(images: int, batch_size: int, seed: int, epoch: int, accelerator: Accelerator) -> Plan:
    """The whole batches of one epoch, or this process's part of each, and a seed for the draws of each."""
    order = torch.randperm(images, generator=generator(derive("order", seed, epoch)))
    process, processes = accelerator.process_index, accelerator.num_processes
    return [
        (batch[process::processes], derive("augment", seed, epoch, step, process))
        for step, batch in enumerate(torch.split(order, batch_size))
        if len(batch) == batch_size
    ]


def _mean_loss(progress: Progress) -> float:
    """Over the steps of the running epoch so far. FailedError names the first one that was not finite."""
    losses = progress.losses[: progress.step].cpu()
    lost = (~losses.isfinite()).nonzero()
    if len(lost):
        step = int(lost[0])
        raise FailedError(
            f"training loss became {float(losses[step])} in epoch {progress.epoch + 1}, step {step + 1} of "
            f"{len(progress.losses)}: try a lower learning rate, a longer warm-up, or grad_clip"
        )
    return float(losses.double().mean())


def _of_curve(
    curve: tuple[Epoch, ...], context: dict[str, Any], splits: Splits, task: type[Task]
) -> Iterator[Measurement]:
    if splits.val is not None and curve[-1].val_score is not None:
        about = {"split": "val", "samples": len(splits.val_indices), "epoch": curve[-1].number}
        main = task.figures.main
        yield Measurement(task.figures.validation, curve[-1].val_score, main.unit, main.direction, context=about)
    speeds, seconds = tuple(e.images_per_second for e in curve), tuple(e.seconds for e in curve)
    overall = sum(e.images_per_second * e.seconds for e in curve) / sum(seconds)
    yield Measurement("train_images_per_second", overall, "images/s", "higher", samples=speeds, context=context)
    yield Measurement("train_seconds", sum(seconds), "s", "lower", samples=seconds, context=context)


def _identity(model: nn.Module, splits: Splits, settings: TrainSettings, seed: int, task: type[Task]) -> dict[str, Any]:
    """What two runs must share to be the same training."""
    fields = of_recipe(identity.table(settings))
    shapes = json.dumps(
        {name: list(value.shape) for name, value in model.state_dict().items() if hasattr(value, "shape")}
    )
    held = json.dumps([splits.val_indices, dict(splits.preprocessing)])
    if protocol_versions.TRAINING != 1:  # checkpoints that were written before there were versions do not say
        fields["protocol"] = protocol_versions.TRAINING
    of_task = {} if task is Classify else {"task": f"{task.__module__}:{task.__qualname__}"}
    return {
        **fields,
        **of_task,
        "seed": seed,
        "data": splits.digest[:16],
        "split": hashlib.sha256(held.encode()).hexdigest()[:16],
        "network": hashlib.sha256(shapes.encode()).hexdigest()[:16],
    }


def _save(checkpoint: Checkpoint, progress: Progress, accelerator: Accelerator) -> None:
    # No barrier: processes need not agree on when minutes are up, and all wait for the first in their next step anyway.
    if accelerator.is_main_process:
        checkpoint.save(progress)
