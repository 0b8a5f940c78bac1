"""The training loop, and evaluation.

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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast, gather_object
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import Dataset

from drbench import identity
from drbench.data.batches import Part, Plan, batches, in_order, lost_loaders
from drbench.data.preprocess import Prepare
from drbench.data.seeds import derive, generator
from drbench.data.splits import Splits
from drbench.errors import FailedError, InputError
from drbench.precision import full_float32
from drbench.records import Epoch, Event, Measurement, Outcomes, TrainSettings
from drbench.tasks import Batch, Classify, Predictions, Task
from drbench.training.checkpoint import Checkpoint, Progress
from drbench.training.presets import check_settings

CHECKPOINT = "checkpoint.safetensors"
EVAL_BATCH = 256
REPORT_SECONDS = 0.2
"""At most five progress events a second; the loss is looked at as often, for on a GPU each look waits for the queue."""

_PLACE = ("device", "threads", "loader_workers")
"""Settings that say where and how fast a training runs, not what it computes; a checkpoint may move between these."""


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
    `resume`, one that is there is gone on from. Events: "step" with done of total in the epoch, "epoch" with an Epoch.
    Under a launcher (torchrun, accelerate) every batch is divided between the processes, and the first one writes.
    The global random state is as before afterwards. FailedError if the loss is not finite or `workdir` not writable.
    InputError for settings out of range, a device that is not there, and a checkpoint that is damaged or of another
    training. KeyboardInterrupt passes through; the last checkpoint stays whole.
    """
    check_settings(settings)
    accelerator = make_accelerator(settings)
    with (
        _surroundings(settings, accelerator.device),
        lost_loaders(splits.name),
        _prepared(accelerator, model) as network,
    ):
        judge = task(splits, settings)
        criterion = judge.criterion().to(accelerator.device)
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

        while progress.epoch < settings.epochs:
            epoch = progress.epoch
            started = time.perf_counter() - progress.seconds
            reported, saved = -math.inf, time.perf_counter()
            plan = _plan(images, batch_size, seed, epoch, accelerator)[progress.step :]
            model.train()
            loaded = batches(
                splits.train, plan, prepare, splits.augment, settings.loader_workers, part=_part(splits, "train")
            )
            for (inputs, targets), (indices, _) in zip(loaded, plan, strict=True):
                step = progress.step
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(settings, epoch * steps + step, steps)
                torch.manual_seed(derive("layers", seed, epoch, step, accelerator.process_index))
                losses = judge.losses(network, criterion, Batch(inputs, targets, indices.tolist()))
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
            val_loss = val_score = None
            if splits.val is not None:
                judged = model if ema is None else ema.module
                val_loss, outcomes = _judge(
                    judged, splits.val, _part(splits, "validation"), judge, prepare, accelerator, settings
                )
                val_score = _figures(judge, outcomes)[task.figures.headline]
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
        _, outcomes = _judge(model, splits.test, _part(splits, "test"), judge, prepare, accelerator, settings)
        curve = tuple(progress.curve)
        measured = _measured(judge, outcomes, epoch=settings.epochs)
        context = {"device": accelerator.device.type, "precision": settings.precision, "batch_size": batch_size}
        return TrainResult(
            epochs=curve,
            measurements=(*measured, *_of_curve(curve, {**context, "threads": torch.get_num_threads()}, splits, task)),
            outcomes=outcomes,
        )


def evaluate(
    model: nn.Module, splits: Splits, settings: TrainSettings, task: type[Task] = Classify
) -> tuple[tuple[Measurement, ...], Outcomes]:
    """The task's figures of `model` on the test images, as it is, and the outcomes as in TrainResult.

    For saved weights open the data set with the preprocessing of their header: `open_data(..., preprocessing=...)`.
    """
    check_settings(settings)
    accelerator = make_accelerator(settings)
    with _surroundings(settings, accelerator.device), lost_loaders(splits.name):
        model.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        judge = task(splits, settings)
        prepare = Prepare(splits.preprocessing, accelerator.device)
        _, outcomes = _judge(model, splits.test, _part(splits, "test"), judge, prepare, accelerator, settings)
    return _measured(judge, outcomes), outcomes


def make_accelerator(settings: TrainSettings) -> Accelerator:
    """Device, precision and processes. InputError for a device that is not there, or cannot do the precision."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(settings.device, True):
        raise InputError(f"device {settings.device!r} is not available here: choose cpu, or auto for the best there is")
    # Accelerate keeps one state per process and refuses a second, different one; the next experiment may well want it.
    AcceleratorState._reset_state(reset_partial_state=True)
    precision = {"fp32": "no"}.get(settings.precision, settings.precision)
    try:
        accelerator = Accelerator(cpu=settings.device == "cpu", mixed_precision=precision)
    except ValueError as error:
        raise InputError(f"precision {settings.precision!r} does not work here: {error}; choose fp32") from error
    if settings.precision == "fp16" and accelerator.device.type == "cpu":  # accelerate would train in fp32, in silence
        raise InputError("precision 'fp16' needs a GPU: choose bf16 or fp32")
    if settings.device not in ("auto", accelerator.device.type):
        raise InputError(f"device {settings.device!r} is not what accelerate uses here ({accelerator.device.type})")
    return accelerator


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


def _part(splits: Splits, name: str) -> Part:
    return Part(splits.name, name, len(splits.classes))


def _judge(
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
    outcomes = task.judge([value for one in predictions for value in one.values])
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


def _total(losses: Mapping[str, Tensor]) -> Tensor:
    """The sum of the losses of a step. InputError unless they are scalars by name."""
    if not isinstance(losses, Mapping) or not losses or any(loss.dim() for loss in losses.values()):
        raise InputError(f"losses: got {type(losses).__name__}; expected a mapping of names to scalar tensors")
    return functools.reduce(operator.add, losses.values())


def _measured(task: Task, outcomes: Outcomes, epoch: int | None = None) -> tuple[Measurement, ...]:
    """The figures of the test part."""
    values = _figures(task, outcomes)
    context = {"split": "test", "samples": outcomes.count, **({"epoch": epoch} if epoch is not None else {})}
    figures = task.figures.figures
    return tuple(Measurement(f.name, values[f.name], f.unit, f.direction, context=context) for f in figures)


def _figures(task: Task, outcomes: Outcomes) -> Mapping[str, float]:
    """The task's figures by name. InputError where it measures others than it declares."""
    values, declared = task.measure(outcomes), task.figures
    if set(values) != set(declared.names):
        raise InputError(
            f"task {type(task).__name__}: measure: got {', '.join(values)}; expected the figures that it declares: "
            f"{', '.join(declared.names)}"
        )
    return values


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
    fields = {name: value for name, value in identity.table(settings).items() if name not in _PLACE}
    shapes = json.dumps(
        {name: list(value.shape) for name, value in model.state_dict().items() if hasattr(value, "shape")}
    )
    held = json.dumps([splits.val_indices, dict(splits.preprocessing)])
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


@contextmanager
def _surroundings(settings: TrainSettings, device: torch.device) -> Iterator[None]:
    """The asked-for number of threads, a random state of our own, float32 that is no TF32; as before afterwards."""
    threads = torch.get_num_threads()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []), full_float32():
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _prepared(accelerator: Accelerator, model: nn.Module) -> Iterator[nn.Module]:
    """`model` on its device, ready for mixed precision and several processes; without these wrappers afterwards."""
    had_forward = "forward" in vars(model)
    model.to(accelerator.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = accelerator.prepare_model(model)
    try:
        yield network
    finally:
        accelerator.unwrap_model(network, keep_fp32_wrapper=False)
        vars(model).pop("_is_accelerate_prepared", None)
        if not had_forward:  # accelerate puts the original back on the instance, where it hides the class's
            vars(model).pop("forward", None)
