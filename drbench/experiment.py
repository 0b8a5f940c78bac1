"""The work of workers: Experiment -> Result. The only module that uses models, data, training and measuring together.

Each stage (drbench.stages) calls a function of this module; the process that runs the suite makes the Record.
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
from drbench.catalog import DATA, MODELS
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
from drbench.models.arguments import check_operators
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

AUTOCAST = {"bf16": "bfloat16", "fp16": "float16"}
"""Training precision -> dtype of the convolutions; float32 for others."""


def here(devices: Iterable[str] = (), *, say: OnEvent = ignore) -> Machine:
    """This machine, as a process with torch loaded sees it. InputError if it does not have one of the devices."""
    for name in devices:
        device_of(name)
    return machine()


def prepare(
    experiments: Sequence[Experiment], weights: str | None, trust: Collection[str] = (), *, say: OnEvent = ignore
) -> tuple[Experiment, ...]:
    """Check the experiments (see `check`) and return them. With `weights`: one experiment, on that file's network.

    `trust`: names of code in the model file that may be imported. `say` gets notes on the data set: classes, images of
    each part, range of values.
    """
    work = tuple(experiments) if weights is None else (of_weights(experiments[0], weights, trust),)
    check(work, say=say)
    return work


def check(experiments: Sequence[Experiment], *, say: OnEvent = ignore) -> None:
    """InputError for any unknown name and for data that is unusable for training, before any work is done."""
    for variant in {identity.variant_hash(v): v for experiment in experiments for v in experiment.variants}.values():
        resolve_name("model", variant.architecture, models.ARCHITECTURES)
        task_named(variant.task)
        if variant.operator != PLAIN:
            operator = resolve_name("operator", variant.operator, OPERATORS)
            check_operators(variant.operator, operator, variant.operator_args)
            (first, *others) = variant.where
            pattern = bool(set(first) & set("*?[.")) or is_import(variant.architecture) or others
            # a plain word could be the name of a module, but hardly in a known network
            if not pattern and first not in models.RECIPES:
                raise unknown("recipe", first, models.RECIPES)
    checked: list[Splits] = []
    for experiment in experiments:
        if experiment.data is not None:
            splits, variant = _opened(experiment, say), experiment.variants[0]
            _check_fit(splits, variant, experiment)
            if not any(splits is other for other in checked):  # variants and seeds share one data set
                assert experiment.train is not None
                check_data(splits, _text(say), experiment.train.loader_workers)
                for note in _other_classes(experiment, splits):
                    say(Event("note", note))
                checked.append(splits)


def _check_fit(splits: Splits, variant: Variant, experiment: Experiment) -> None:
    """InputError unless the network is for the images and classes of the data set."""
    if splits.input_shape != variant.input_shape:
        raise InputError(
            f"input_shape: got {variant.input_shape}; expected {splits.input_shape}, the shape of images in data set "
            f"{splits.name!r}. Leave input_shape (--input) out, or give (C, H, W) with H = W"
        )
    task = task_named(variant.task)
    if task.targets != splits.targets:
        raise InputError(
            f"data set {splits.name!r}: got labels that are {splits.targets}; expected {task.targets}, for task "
            f"{variant.task!r}. Its own data set is {DATA.get(variant.task, 'shapes')!r}"
        )
    expected = task.outputs(len(splits.classes))
    if not task.accepts(variant.num_classes, len(splits.classes)):
        hint = (
            "The number is that of the weights" if experiment.eval_weights else "Leave num_classes (--num-classes) out"
        )
        raise InputError(
            f"num_classes: got {variant.num_classes}; expected {expected} for the {len(splits.classes)} classes of "
            f"data set {splits.name!r}. {hint}"
        )


def _other_classes(experiment: Experiment, splits: Splits) -> tuple[str, ...]:
    """A note if class names of the weights and the data set differ: the labels may then have different meanings."""
    if experiment.eval_weights is None:
        return ()
    trained = tuple(models.read_header(experiment.eval_weights).get("classes", ()))
    pairs = enumerate(zip(trained, splits.classes, strict=False))
    different = [(number, pair) for number, pair in pairs if pair[0] != pair[1]]
    if not different:
        return ()
    number, (of_weights, of_data) = different[0]
    return (
        f"class {number} is {of_weights!r} in the weights and {of_data!r} in data set {splits.name!r} "
        f"({len(different)} of {len(splits.classes)} names differ): top-1 is valid only if both have the same order",
    )


def build_kernels(experiments: Iterable[Experiment], *, say: OnEvent = ignore) -> None:
    """Build the kernels of all operators that an experiment will time or train. `say` gets notes."""
    for experiment in experiments:
        if experiment.latency or experiment.train:
            with suppress(InputError):  # the device does not exist: its records will have that failure
                kernels.build_first(_operators(experiment), _device_of(experiment), _text(say))


def _operators(experiment: Experiment) -> list[Any]:
    converted = (variant.operator for variant in experiment.variants if variant.operator != PLAIN)
    return [resolve_name("operator", name, OPERATORS) for name in dict.fromkeys(converted)]


def _device_of(experiment: Experiment) -> torch.device:
    settings = experiment.latency or experiment.train
    return device_of(settings.device if settings else "auto")


def _kernels(model: nn.Module, experiment: Experiment) -> dict[str, Any]:
    """The kernels of a network in training or evaluation, for the record."""
    assert experiment.train is not None
    dtype = getattr(torch, AUTOCAST.get(experiment.train.precision, "float32"))
    return kernels.of_model(model, _device_of(experiment), dtype)


def of_weights(experiment: Experiment, weights: str, trust: Collection[str] = ()) -> Experiment:
    """The experiment with the network of a model file. InputError if that has another architecture or task.

    The user has named architecture and task; any other code that the file names must be in `trust`.
    """
    header = models.read_header(weights)
    variant = variant_of(header, weights)
    wanted = experiment.variants[0].architecture
    if variant.architecture != wanted:
        raise InputError(f"--weights {weights!r}: got architecture {variant.architecture!r}; expected {wanted!r}")
    task = experiment.variants[0].task
    if variant.task != task:
        raise InputError(f"--weights {weights!r}: got task {variant.task!r}; expected {task!r}. See --task")
    allow(variant, {wanted, task, *trust}, weights, "--trust NAME")
    extra = header.get("extra", {})
    label = extra.get("label") or identity.label(variant)
    seed = extra.get("seed", experiment.seed)  # the seed of the training: two files count as two seeds
    path = str(Path(weights).resolve())
    return replace(experiment, variants=(variant,), seed=seed, labels=(label,), eval_weights=path)


def resolve(variant: Variant, target: Variant, *, say: OnEvent = ignore) -> Variant:
    """The matched variant, with the width at which its cost equals that of `target` within 1%."""
    assert variant.match is not None
    kernels.refresh()
    wanted = _figure(cost.count(networks.build(target, seed=0), target.input_shape), variant.match)

    def measure(model: nn.Module) -> int:
        return _figure(cost.count(networks.around(model, variant), variant.input_shape), variant.match)

    return replace(variant, width=models.match_width(variant, wanted, variant.match, measure))


def _figure(costs: cost.Cost, by: str | None) -> int:
    """The figure for matching: parameters, multiply-adds, or executed ones if an operator declares no cost."""
    if by == "params":
        return costs.params
    return costs.executed if costs.madds is None else costs.madds


def count_cost(experiment: Experiment, workdir: Path, *, say: OnEvent = ignore) -> Result:
    """Multiply-adds, parameters and activations of the one network."""
    (variant,) = experiment.variants
    kernels.refresh()
    model = networks.build(variant, seed=0)
    costs = cost.count(model, variant.input_shape)
    measurements = [
        Measurement("executed", costs.executed, "multiply-adds", "lower"),
        Measurement("params", costs.params, "parameters", "lower"),
        Measurement("activations", costs.activations, "elements", "lower"),
    ]
    notes = [f"not counted: {name}" for name in costs.uncounted]
    conversion: Any = getattr(model, "conversion", None)
    if conversion is not None:
        notes += conversion.notes()
    if costs.data_dependent:
        notes.append("the cost depends on the values of the input: other images may cost more or less")
    notes += _other_output(variant)
    if variant.match is not None:
        notes.append(f"width {variant.width:g}, of equal {variant.match}")
    if costs.madds is None:
        notes.append(f"convention not declared: {', '.join(costs.undeclared)}")
    else:
        measurements.insert(0, Measurement("madds", costs.madds, "multiply-adds", "lower"))
        measurements += [Measurement("madds", n, "multiply-adds", "lower", part) for part, n in costs.parts.items()]
    measurements += _reference(variant)
    return Result(measurements=tuple(measurements), layers=costs.layers, notes=tuple(notes))


def _other_output(variant: Variant) -> list[str]:
    """Why a user's network cannot be trained for this number of classes (if so); its cost is still counted."""
    if not is_import(variant.architecture) or variant.task != DEFAULT:
        return []
    try:
        models.check_output(models.build(variant, seed=0), variant)
    except InputError as error:
        return [str(error)]
    return []


def measure_memory(experiment: Experiment, workdir: Path, *, say: OnEvent = ignore) -> Result:
    """Peak memory of inference at the largest batch size."""
    (variant,) = experiment.variants
    kernels.refresh()
    settings = experiment.latency or LatencySettings()
    device, size = device_of(settings.device), max(settings.batch_sizes)
    with timer.settings_context(settings) as context:
        peak = memory.inference(lambda size: prepared(variant, settings).call(size), size, device)
    return Result(measurements=_peak(peak, {**context, "batch_size": size, "phase": "inference"}))


def _peak(peak: memory.PeakMemory, context: Mapping[str, Any]) -> tuple[Measurement, ...]:
    parts = (("host", peak.host), ("device", peak.device))
    return tuple(
        Measurement("peak_memory", value, "bytes", "lower", part, (), context)
        for part, value in parts
        if value is not None
    )


def _reference(variant: Variant) -> list[Measurement]:
    """Cost of the same network under the conditions of published counts: input, outputs and stem as published."""
    if variant.operator not in (PLAIN, "drconv") or variant.match or not published(variant.architecture):
        return []
    known = MODELS[variant.architecture]
    standard = replace(variant, input_shape=known.input_shape, num_classes=known.outputs, stem_stride=None)
    costs = cost.count(models.build(standard, seed=0), known.input_shape)
    figures = (("reference_madds", costs.madds, "multiply-adds"), ("reference_params", costs.params, "parameters"))
    return [Measurement(name, value, unit, "lower") for name, value, unit in figures if value is not None]


def train(experiment: Experiment, workdir: Path, resume: bool = True, *, say: OnEvent = ignore) -> Result:
    """Train the one network and evaluate it. Checkpoints and weights go to `workdir`.

    resume: whether to resume from a checkpoint in `workdir`.
    """
    (variant,) = experiment.variants
    (label,) = experiment.labels or identity.labels(experiment.variants)
    kernels.refresh()
    splits = _opened(experiment)
    assert experiment.train is not None
    assert experiment.seed is not None
    data_facts = _data_facts(splits)
    workdir.mkdir(parents=True, exist_ok=True)
    with memory.peak(_device_of(experiment)) as peak:
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
    extra = {"label": label, "seed": experiment.seed, "train": asdict(experiment.train), **data_facts}
    models.save_model(weights, model, variant, classes=splits.classes, preprocessing=splits.preprocessing, extra=extra)
    dtype = AUTOCAST.get(experiment.train.precision, "float32")
    return Result(
        settings={**data_facts, **_kernels(model, experiment)},
        measurements=(*result.measurements, *_peak(peak, _training_context(experiment, dtype))),
        epochs=result.epochs,
        outcomes=result.outcomes,
        files={"weights": str(weights)},
    )


def _training_context(experiment: Experiment, dtype: str) -> dict[str, Any]:
    assert experiment.train is not None
    device = str(_device_of(experiment))
    threads = experiment.train.threads or torch.get_num_threads()
    batch = experiment.train.batch_size
    return {"phase": "train", "batch_size": batch, "threads": threads, "dtype": dtype, "device": device}


def _data_facts(splits: Splits) -> dict[str, Any]:
    """Facts of the data set for the record of a training or an evaluation."""
    facts = {
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
    if isinstance(splits.test, Images):  # others have only the digest of the whole data set
        facts["test_digest"] = array_digest(splits.test.images.numpy(), splits.test.labels.numpy())
    return facts


def evaluate_weights(experiment: Experiment, workdir: Path, *, say: OnEvent = ignore) -> Result:
    """Evaluate saved weights on the test part, with the preprocessing in the header of the weights."""
    (variant,) = experiment.variants
    kernels.refresh()
    splits = _opened(experiment)
    assert experiment.eval_weights is not None
    assert experiment.train is not None
    # `prepare` checked trust; the file may have changed since, so trust only the names that it had then
    named = (variant.architecture, variant.operator, variant.task)
    model = networks.load_model(experiment.eval_weights, trust=named)
    measurements, outcomes = evaluate(model, splits, experiment.train, task_named(variant.task))
    settings = {**_data_facts(splits), **_kernels(model, experiment)}
    extra = models.read_header(experiment.eval_weights).get("extra", {})
    settings["trained"] = {**extra.get("train", {}), "data_digest": extra.get("data_digest")}
    return Result(
        settings=settings,
        measurements=measurements,
        outcomes=outcomes,
        notes=_other_classes(experiment, splits),
        files={"weights": experiment.eval_weights},
    )


def _opened(experiment: Experiment, say: OnEvent = ignore) -> Splits:
    """The data set of a training experiment, with images resized to its input size."""
    assert experiment.data is not None
    assert experiment.train is not None
    preprocessing = models.read_header(experiment.eval_weights)["preprocessing"] if experiment.eval_weights else None
    data, shape = asdict(experiment.data), experiment.variants[0].input_shape
    size = shape[-1] if shape[-1] == shape[-2] else None  # images are resized to squares only
    return _splits(identity.canonical(data), size, experiment.train.augment, identity.canonical(preprocessing), say)


@lru_cache(maxsize=1)
def _splits(data: str, size: int | None, augment: str, preprocessing: str, say: OnEvent) -> Splits:
    """Cached, because a suite trains all its variants on one data set. `data` and `preprocessing` are JSON."""
    settings, prepared = DataSettings(**json.loads(data)), json.loads(preprocessing)
    return open_data(settings, input_size=size, augment=augment, preprocessing=prepared, say=_text(say))


def _text(say: OnEvent) -> Callable[[str], None]:
    return lambda text: say(Event("note", text))
