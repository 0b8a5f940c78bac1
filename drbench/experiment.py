"""What workers do: Experiment -> Result. The one module that knows models, data, training and measuring together.

A stage names the function of its work (drbench.stages); the process that runs the suite makes the Record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from drbench import identity, models
from drbench.data import Splits, open_data
from drbench.data.checks import check_data
from drbench.data.splits import Images, array_digest
from drbench.devices import device_of
from drbench.errors import InputError, unknown
from drbench.executor import OnEvent, ignore
from drbench.figures import DEFAULT
from drbench.job import Result
from drbench.latency import timer
from drbench.latency.block import prepared
from drbench.measure import cost, kernels, memory
from drbench.measure.machine import machine
from drbench.models.model_file import allow, variant_of
from drbench.names import is_import
from drbench.names import resolve as resolve_name
from drbench.operators import OPERATORS
from drbench.published import published
from drbench.records import (
    PLAIN,
    DataSettings,
    Event,
    Experiment,
    LatencySettings,
    Machine,
    Measurement,
    Variant,
)
from drbench.tasks import networks, task_named
from drbench.training.evaluation import evaluate
from drbench.training.loop import fit

STANDARD_INPUT, STANDARD_CLASSES = (3, 224, 224), 1000
"""What published multiply-adds and parameters are for."""
AUTOCAST = {"bf16": "bfloat16", "fp16": "float16"}
"""Training precision -> dtype of the convolutions; else float32."""


def here(*, say: OnEvent = ignore) -> Machine:
    """This machine as a process that has torch sees it."""
    return machine()


def prepare(
    experiments: Sequence[Experiment], weights: str | None, trust: Collection[str] = (), *, say: OnEvent = ignore
) -> tuple[Experiment, ...]:
    """The experiments (with `weights`: the one, on the network of that model file), checked as `check` does.

    `trust`: the names of code that may be imported because the model file names them. `say` hears of the data set,
    once: classes, images of each part, range of values.
    """
    work = tuple(experiments) if weights is None else (of_weights(experiments[0], weights, trust),)
    check(work, say=say)
    return work


def check(experiments: Sequence[Experiment], *, say: OnEvent = ignore) -> None:
    """InputError for any name that does not exist, and data that cannot be trained on, before any work is done."""
    for variant in {identity.variant_hash(v): v for experiment in experiments for v in experiment.variants}.values():
        resolve_name("model", variant.architecture, models.ARCHITECTURES)
        task_named(variant.task)
        if variant.operator != PLAIN:
            resolve_name("operator", variant.operator, OPERATORS)
            (first, *others) = variant.where
            pattern = bool(set(first) & set("*?[.")) or is_import(variant.architecture) or others
            # a bare word could be a module's name, but in a known network hardly is
            if not pattern and first not in models.RECIPES:
                raise unknown("recipe", first, models.RECIPES)
    checked: list[Splits] = []
    for experiment in experiments:
        if experiment.data is not None:
            splits, variant = _opened(experiment, say), experiment.variants[0]
            _check_fit(splits, variant, experiment)
            if not any(splits is other for other in checked):  # the same for all variants and seeds
                assert experiment.train is not None
                check_data(splits, _text(say), experiment.train.loader_workers)
                for note in _other_classes(experiment, splits):
                    say(Event("note", note))
                checked.append(splits)


def _check_fit(splits: Splits, variant: Variant, experiment: Experiment) -> None:
    """InputError unless the network is for the images and classes of the data set."""
    if splits.input_shape != variant.input_shape:
        raise InputError(
            f"data set {splits.name!r} has images of shape {splits.input_shape}, the network is for "
            f"{variant.input_shape}. Leave input_shape (--input) out, or give (C, H, W) with H = W"
        )
    if task_named(variant.task).outputs(len(splits.classes)) != variant.num_classes:
        hint = "as the weights have" if experiment.eval_weights else "(suite, --num-classes). Leave it out"
        raise InputError(
            f"data set {splits.name!r} has {len(splits.classes)} classes, got num_classes {variant.num_classes} {hint}"
        )


def _other_classes(experiment: Experiment, splits: Splits) -> tuple[str, ...]:
    """A note if the weights' classes have other names than the data set's: labels may mean something else."""
    if experiment.eval_weights is None:
        return ()
    known = tuple(models.read_header(experiment.eval_weights).get("classes", ()))
    odd = [(number, pair) for number, pair in enumerate(zip(known, splits.classes, strict=False)) if pair[0] != pair[1]]
    if not odd:
        return ()
    number, (theirs, ours) = odd[0]
    return (
        f"class {number} is {theirs!r} for the weights and {ours!r} in data set {splits.name!r} "
        f"({len(odd)} of {len(splits.classes)} names differ): top-1 is right only if both number the classes alike",
    )


def build_kernels(experiments: Iterable[Experiment], *, say: OnEvent = ignore) -> None:
    """Build the kernels of the operators that one of these will time or train; `say` gets notes."""
    for experiment in experiments:
        if experiment.latency or experiment.train:
            with suppress(InputError):  # no such device here: that is for its records to say
                kernels.build_first(_operators(experiment), _device_of(experiment), _text(say))


def _operators(experiment: Experiment) -> list[Any]:
    converted = (variant.operator for variant in experiment.variants if variant.operator != PLAIN)
    return [resolve_name("operator", name, OPERATORS) for name in dict.fromkeys(converted)]


def _device_of(experiment: Experiment) -> torch.device:
    asked = experiment.latency or experiment.train
    return device_of(asked.device if asked else "auto")


def _kernels(model: nn.Module, experiment: Experiment) -> dict[str, Any]:
    """The kernels of a network that is trained or evaluated, for the record."""
    assert experiment.train is not None
    dtype = getattr(torch, AUTOCAST.get(experiment.train.precision, "float32"))
    return kernels.of_model(model, _device_of(experiment), dtype)


def of_weights(experiment: Experiment, weights: str, trust: Collection[str] = ()) -> Experiment:
    """The experiment on the network that a model file holds. InputError where that is another architecture.

    The architecture was named by the user too; any other code that the file names needs `trust`.
    """
    header = models.read_header(weights)
    variant = variant_of(header, weights)
    wanted = experiment.variants[0].architecture
    if variant.architecture != wanted:
        raise InputError(f"--weights {weights!r} holds {variant.architecture!r}, not {wanted!r}")
    task = experiment.variants[0].task
    if variant.task != task:
        raise InputError(f"--weights {weights!r}: got task {variant.task!r}; expected {task!r}. See --task")
    allow(variant, {wanted, task, *trust}, weights, "--trust NAME")
    extra = header.get("extra", {})
    label = extra.get("label") or identity.label(variant)
    seed = extra.get("seed", experiment.seed)  # of its training: results of two files are those of two seeds
    path = str(Path(weights).resolve())
    return replace(experiment, variants=(variant,), seed=seed, labels=(label,), eval_weights=path)


def resolve(variant: Variant, target: Variant, *, say: OnEvent = ignore) -> Variant:
    """The matched plain variant with the width at which it costs what `target` costs, within 1%."""
    assert variant.match is not None
    kernels.refresh()
    wanted = _figure(cost.count(networks.build(target, seed=0), target.input_shape), variant.match)

    def measure(model: nn.Module) -> int:
        return _figure(cost.count(model, variant.input_shape), variant.match)

    return replace(variant, width=models.match_width(variant, wanted, variant.match, measure))


def _figure(found: cost.Cost, by: str | None) -> int:
    """What two networks are made equal in; the executed multiply-adds where the convention is not declared."""
    if by == "params":
        return found.params
    return found.executed if found.madds is None else found.madds


def count_cost(experiment: Experiment, workdir: Path, *, say: OnEvent = ignore) -> Result:
    """Multiply-adds and parameters of the one network."""
    (variant,) = experiment.variants
    kernels.refresh()
    model = networks.build(variant, seed=0)
    found = cost.count(model, variant.input_shape)
    measurements = [
        Measurement("executed", found.executed, "multiply-adds", "lower"),
        Measurement("params", found.params, "parameters", "lower"),
        Measurement("activations", found.activations, "elements", "lower"),
    ]
    notes = [f"not counted: {name}" for name in found.uncounted]
    conversion: Any = getattr(model, "conversion", None)
    if conversion is not None:
        notes += conversion.notes()
    if found.data_dependent:
        notes.append("the network looks at its data: other images may cost more or less")
    notes += _other_output(variant)
    if variant.match is not None:
        notes.append(f"width {variant.width:g}, of equal {variant.match}")
    if found.madds is None:
        notes.append(f"convention not declared: {', '.join(found.undeclared)}")
    else:
        measurements.insert(0, Measurement("madds", found.madds, "multiply-adds", "lower"))
        measurements += [Measurement("madds", n, "multiply-adds", "lower", part) for part, n in found.parts.items()]
    measurements += _reference(variant)
    settings = {"counting": identity.COUNTING}
    return Result(settings=settings, measurements=tuple(measurements), layers=found.layers, notes=tuple(notes))


def _other_output(variant: Variant) -> list[str]:
    """Why a user's network cannot be trained for this many classes, if so; what it costs may be of interest still."""
    if not is_import(variant.architecture) or variant.task != DEFAULT:
        return []
    try:
        models.check_output(models.build(variant, seed=0), variant)
    except InputError as error:
        return [str(error)]
    return []


def measure_memory(experiment: Experiment, workdir: Path, *, say: OnEvent = ignore) -> Result:
    """PeakMemory memory of inference at the largest batch size."""
    (variant,) = experiment.variants
    kernels.refresh()
    settings = experiment.latency or LatencySettings()
    device, size = device_of(settings.device), max(settings.batch_sizes)
    with timer.settings_context(settings) as context:
        found = memory.inference(lambda size: prepared(variant, settings).call(size), size, device)
    return Result(measurements=_peak(found, {**context, "batch_size": size, "phase": "inference"}))


def _peak(found: memory.PeakMemory, context: Mapping[str, Any]) -> tuple[Measurement, ...]:
    both = (("host", found.host), ("device", found.device))
    return tuple(
        Measurement("peak_memory", value, "bytes", "lower", part, (), context)
        for part, value in both
        if value is not None
    )


def _reference(variant: Variant) -> list[Measurement]:
    """Cost of the same network as published networks are counted: 224 px, 1000 classes, the published stem."""
    if variant.operator not in (PLAIN, "drconv") or variant.match or not published(variant.architecture):
        return []
    standard = replace(variant, input_shape=STANDARD_INPUT, num_classes=STANDARD_CLASSES, stem_stride=None)
    found = cost.count(models.build(standard, seed=0), STANDARD_INPUT)
    both = (("reference_madds", found.madds, "multiply-adds"), ("reference_params", found.params, "parameters"))
    return [Measurement(name, value, unit, "lower") for name, value, unit in both if value is not None]


def train(experiment: Experiment, workdir: Path, resume: bool = True, *, say: OnEvent = ignore) -> Result:
    """Train the one network and evaluate it; `workdir` gets checkpoints and weights.

    resume: go on from a checkpoint that is there.
    """
    (variant,) = experiment.variants
    (label,) = experiment.labels or identity.labels(experiment.variants)
    kernels.refresh()
    splits = _opened(experiment)
    assert experiment.train is not None
    assert experiment.seed is not None
    about = _about(splits)
    workdir.mkdir(parents=True, exist_ok=True)
    with memory.peak(_device_of(experiment)) as held:
        model = networks.build(variant, seed=experiment.seed)
        if is_import(variant.architecture) and variant.task == DEFAULT:
            models.check_output(model, variant)
        result = fit(
            model,
            splits,
            experiment.train,
            task=task_named(variant.task),
            seed=experiment.seed,
            workdir=workdir,
            resume=resume,
            on_event=say,
        )
    weights = workdir / "weights.safetensors"
    extra = {"label": label, "seed": experiment.seed, "train": asdict(experiment.train), **about}
    models.save_model(weights, model, variant, classes=splits.classes, preprocessing=splits.preprocessing, extra=extra)
    dtype = AUTOCAST.get(experiment.train.precision, "float32")
    return Result(
        settings={**about, **_kernels(model, experiment)},
        measurements=(*result.measurements, *_peak(held, _while_training(experiment, dtype))),
        epochs=result.epochs,
        outcomes=result.outcomes,
        files={"weights": str(weights)},
    )


def _while_training(experiment: Experiment, dtype: str) -> dict[str, Any]:
    assert experiment.train is not None
    device = str(_device_of(experiment))
    threads = experiment.train.threads or torch.get_num_threads()
    batch = experiment.train.batch_size
    return {"phase": "train", "batch_size": batch, "threads": threads, "dtype": dtype, "device": device}


def _about(splits: Splits) -> dict[str, Any]:
    """Of the data, for the record of a training or an evaluation."""
    about = {
        "data_digest": splits.digest,
        "preprocessing": dict(splits.preprocessing),
        "synthetic": splits.synthetic,
        "classes": len(splits.classes),
        "images": {
            name: len(part)  # type: ignore[arg-type]
            for name, part in (("train", splits.train), ("validation", splits.val), ("test", splits.test))
            if part is not None
        },
    }
    if isinstance(splits.test, Images):  # else the digest of all is what is known
        about["test_digest"] = array_digest(splits.test.images.numpy(), splits.test.labels.numpy())
    return about


def evaluate_weights(experiment: Experiment, workdir: Path, *, say: OnEvent = ignore) -> Result:
    """The test set through saved weights, prepared as the weights' own header says."""
    (variant,) = experiment.variants
    kernels.refresh()
    splits = _opened(experiment)
    assert experiment.eval_weights is not None
    assert experiment.train is not None
    # `prepare` asked for trust; the file may have been changed since, so only what it named then
    named = (variant.architecture, variant.operator, variant.task)
    model = models.load_model(experiment.eval_weights, trust=named)
    measurements, outcomes = evaluate(model, splits, experiment.train, task_named(variant.task))
    about = {**_about(splits), **_kernels(model, experiment)}
    extra = models.read_header(experiment.eval_weights).get("extra", {})
    about["trained"] = {**extra.get("train", {}), "data_digest": extra.get("data_digest")}
    return Result(
        settings=about,
        measurements=measurements,
        outcomes=outcomes,
        notes=_other_classes(experiment, splits),
        files={"weights": experiment.eval_weights},
    )


def _opened(experiment: Experiment, say: OnEvent = ignore) -> Splits:
    """The data set of a training experiment, brought to the size of its inputs."""
    assert experiment.data is not None
    assert experiment.train is not None
    prepared = models.read_header(experiment.eval_weights)["preprocessing"] if experiment.eval_weights else None
    data, shape = asdict(experiment.data), experiment.variants[0].input_shape
    size = shape[-1] if shape[-1] == shape[-2] else None  # images are only ever resized to squares
    return _splits(identity.canonical(data), size, experiment.train.augment, identity.canonical(prepared), say)


@lru_cache(maxsize=1)
def _splits(data: str, size: int | None, augment: str, preprocessing: str, say: OnEvent) -> Splits:
    """Kept open, since a suite trains all its variants on the same one. DataSettings and preprocessing are JSON."""
    settings, given = DataSettings(**json.loads(data)), json.loads(preprocessing)
    return open_data(settings, input_size=size, augment=augment, preprocessing=given, say=_text(say))


def _text(say: OnEvent) -> Callable[[str], None]:
    return lambda text: say(Event("note", text))
