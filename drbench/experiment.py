"""Experiment -> Records: the one module that knows models, data, training and measuring together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from drbench import identity, models
from drbench.data import Splits, open_data
from drbench.errors import InputError
from drbench.jobs import Job
from drbench.measure import cost, kernels, latency
from drbench.models.files import variant_of
from drbench.names import is_import
from drbench.names import resolve as resolve_name
from drbench.operators import OPERATORS, DRConv2d
from drbench.published import published
from drbench.records import PLAIN, DataSettings, Event, Experiment, LatencySettings, Measurement, Record, Variant
from drbench.statistics import paired_ratios
from drbench.train import evaluate, fit

OnEvent = Callable[[Event], None]
STANDARD_INPUT, STANDARD_CLASSES = (3, 224, 224), 1000
"""What published multiply-adds and parameters are for."""
AUTOCAST = {"bf16": "bfloat16", "fp16": "float16"}
"""Training precision -> dtype of the convolutions; else float32."""


def run(
    experiment: Experiment, *, workdir: Path, resume: bool = True, on_event: OnEvent = lambda event: None
) -> Iterator[Record]:
    """Do the work and yield a Record for each of its variants as soon as it is known.

    A variant that fails yields a Record with the reason in one line, and its traceback in a file under `workdir`; it
    never raises. Only what is no fault of a variant (an interrupt, a full disk) comes out of here.
    """
    labels = experiment.labels or identity.labels(experiment.variants)
    jobs = [Job(experiment, variant, name) for variant, name in zip(experiment.variants, labels, strict=True)]
    if experiment.stage == "latency":
        yield from _latency(jobs, workdir)
        return
    for job in jobs:
        try:
            if experiment.stage == "cost":
                yield _cost(job)
            elif experiment.eval_weights is not None:
                yield _evaluate(job)
            else:
                yield _train(job, workdir, resume, on_event)
        except Exception as error:
            yield job.failed(error, workdir)


def check(experiments: Sequence[Experiment]) -> None:
    """InputError for any name that does not exist, or data that cannot be opened, before any work is done."""
    for variant in {identity.variant_hash(v): v for experiment in experiments for v in experiment.variants}.values():
        resolve_name("model", variant.architecture, models.ARCHITECTURES)
        if variant.operator != PLAIN:
            resolve_name("operator", variant.operator, OPERATORS)
            (first, *others) = variant.where
            pattern = bool(set(first) & set("*?[.")) or is_import(variant.architecture) or others
            if not pattern:  # a bare word could be a module's name, but in a known network hardly is
                resolve_name("recipe", first, models.RECIPES)
    for experiment in experiments:
        if experiment.stage == "train":
            splits, variant = _opened(experiment), experiment.variants[0]
            if splits.input_shape != variant.input_shape or len(splits.classes) != variant.num_classes:
                name = experiment.data.name if experiment.data else ""
                raise InputError(
                    f"data set {name!r} has inputs {splits.input_shape} and {len(splits.classes)} classes, the suite "
                    f"wants {variant.input_shape} and {variant.num_classes}: leave input_shape and num_classes out"
                )


def build_kernels(experiments: Iterable[Experiment], say: Callable[[str], object]) -> None:
    """Build the native kernels where one of these will time or train region operators on the CPU; `say` gets a line."""
    for experiment in experiments:
        if experiment.stage != "cost" and any(map(_of_regions, experiment.variants)):
            with suppress(InputError):  # no such device here: that is for its records to say
                kernels.build_first(_device_of(experiment), say)


def _of_regions(variant: Variant) -> bool:
    if variant.operator == PLAIN:
        return False
    found = resolve_name("operator", variant.operator, OPERATORS)
    return isinstance(found, type) and issubclass(found, DRConv2d)


def _device_of(experiment: Experiment) -> torch.device:
    asked = experiment.latency or experiment.train
    return latency.device_of(LatencySettings(device=asked.device if asked else "auto"))


def _kernels(model: nn.Module, device: torch.device, dtype: str) -> dict[str, str]:
    """What computed the region convolutions, for the record; nothing where the network has none."""
    if not any(isinstance(module, DRConv2d) for module in model.modules()):
        return {}
    return {"kernels": kernels.in_words(device, getattr(torch, dtype))}


def of_weights(experiment: Experiment, weights: str) -> Experiment:
    """The experiment on the network that a model file holds. InputError where that is another architecture."""
    header = models.read_header(weights)
    variant = variant_of(header)
    wanted = experiment.variants[0].architecture
    if variant.architecture != wanted:
        raise InputError(f"--weights {weights!r} holds {variant.architecture!r}, not {wanted!r}")
    extra = header.get("extra", {})
    label = extra.get("label") or identity.label(variant)
    seed = extra.get("seed", experiment.seed)  # of its training: results of two files are those of two seeds
    path = str(Path(weights).resolve())
    return replace(experiment, variants=(variant,), seed=seed, labels=(label,), eval_weights=path)


def resolve(variant: Variant, target: Variant) -> Variant:
    """The matched plain variant with the width at which it costs what `target` costs, within 1%."""
    assert variant.match is not None
    wanted = _figure(cost.count(models.build(target, seed=0), target.input_shape), variant.match)

    def measure(model: nn.Module) -> int:
        return _figure(cost.count(model, variant.input_shape), variant.match)

    return replace(variant, width=models.match_width(variant, wanted, variant.match, measure))


def _figure(found: cost.Cost, by: str | None) -> int:
    """What two networks are made equal in; the executed multiply-adds where the convention is not declared."""
    if by == "params":
        return found.params
    return found.executed if found.madds is None else found.madds


def _cost(job: Job) -> Record:
    variant = job.variant
    found = cost.count(models.build(variant, seed=0), variant.input_shape)
    measurements = [
        Measurement("executed", found.executed, "multiply-adds", "lower"),
        Measurement("params", found.params, "parameters", "lower"),
        Measurement("activations", found.activations, "elements", "lower"),
    ]
    notes = [f"not counted: {name}" for name in found.uncounted]
    if variant.match is not None:
        notes.append(f"width {variant.width:g}, of equal {variant.match}")
    if found.madds is None:
        notes.append(f"convention not declared: {', '.join(found.undeclared)}")
    else:
        measurements.insert(0, Measurement("madds", found.madds, "multiply-adds", "lower"))
        measurements += [Measurement("madds", n, "multiply-adds", "lower", part) for part, n in found.parts.items()]
    measurements += _reference(variant)
    return job.record(measurements=tuple(measurements), layers=found.layers, notes=tuple(notes))


def _reference(variant: Variant) -> list[Measurement]:
    """Cost of the same network as published networks are counted: 224 px, 1000 classes, the published stem."""
    if variant.operator not in (PLAIN, "drconv") or variant.match or not published(variant.architecture):
        return []
    standard = replace(variant, input_shape=STANDARD_INPUT, num_classes=STANDARD_CLASSES, stem_stride=None)
    found = cost.count(models.build(standard, seed=0), STANDARD_INPUT)
    both = (("reference_madds", found.madds, "multiply-adds"), ("reference_params", found.params, "parameters"))
    return [Measurement(name, value, unit, "lower") for name, value, unit in both if value is not None]


def _latency(jobs: Sequence[Job], workdir: Path) -> Iterator[Record]:
    """All variants in alternation in this process; their plain network is what the ratios are paired to."""
    settings = jobs[0].experiment.latency or LatencySettings()
    device = latency.device_of(settings)
    ready: dict[str, tuple[Job, nn.Module]] = {}
    with latency.settings_context(settings) as context:
        for job in jobs:
            try:
                model = _placed(models.build(job.variant, seed=0), settings, device)
                _call(model, _input(job.variant, max(settings.batch_sizes), settings, device))()
                ready[identity.variant_hash(job.variant)] = (job, model)
            except Exception as error:
                yield job.failed(error, workdir)
        try:
            found = _timed(ready, settings, device, context)
        except Exception as error:  # nothing to be paired with: none of them has a time
            yield from (job.failed(error, workdir) for job, _ in ready.values())
            return
    for key, (job, _) in ready.items():
        yield job.record(measurements=tuple(found[key]))


def _timed(
    ready: Mapping[str, tuple[Job, nn.Module]], settings: LatencySettings, device: torch.device, context: dict[str, Any]
) -> dict[str, list[Measurement]]:
    """Times, and ratios to each one's own plain network, for every batch size; by hash of the variant."""
    found: dict[str, list[Measurement]] = {key: [] for key in ready}
    bases = {_network(job.variant, job.experiment): key for key, (job, _) in ready.items() if _is_plain(job.variant)}
    for size in settings.batch_sizes if ready else ():
        calls = {key: _call(model, _input(job.variant, size, settings, device)) for key, (job, model) in ready.items()}
        times = latency.measure(calls, settings)
        for key, samples in times.items():
            job, model = ready[key]
            about = {**context, "batch_size": size, **_kernels(model, device, settings.dtype)}
            found[key].append(Measurement("latency", median(samples), "s", "lower", "", samples, about))
            plain = bases.get(_network(job.variant, job.experiment))
            if plain is not None and key != plain:
                ratios = paired_ratios(samples, times[plain])
                found[key].append(Measurement("latency_ratio", median(ratios), "ratio", "lower", "", ratios, about))
    return found


def _is_plain(variant: Variant) -> bool:
    return variant.operator == PLAIN and variant.match is None


def _network(variant: Variant, experiment: Experiment) -> tuple[Any, ...]:
    """What a variant shares with its plain network: an architecture may be there at several widths or arguments."""
    origin = next((v for v in experiment.variants if identity.variant_hash(v) == variant.matched_to), variant)
    width = None if origin.match is not None else origin.width  # one whose target is left out: it was found, not given
    return origin.architecture, width, identity.canonical(origin.architecture_args), origin.stem_stride


def _placed(model: nn.Module, settings: LatencySettings, device: torch.device) -> nn.Module:
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    model.eval().to(device=device, dtype=getattr(torch, settings.dtype))
    return model.to(memory_format=layout)


def _input(variant: Variant, size: int, settings: LatencySettings, device: torch.device) -> torch.Tensor:
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    images = torch.randn(size, *variant.input_shape, generator=torch.Generator().manual_seed(0))
    return images.to(device=device, dtype=getattr(torch, settings.dtype), memory_format=layout)


def _call(model: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    def forward() -> object:
        with torch.inference_mode():
            return model(images)

    return forward


def _train(job: Job, workdir: Path, resume: bool, on_event: OnEvent) -> Record:
    experiment, splits = job.experiment, _opened(job.experiment)
    assert experiment.train is not None
    assert experiment.seed is not None
    about = {"data_digest": splits.digest, "synthetic": splits.synthetic, "classes": len(splits.classes)}
    workdir.mkdir(parents=True, exist_ok=True)
    model = models.build(job.variant, seed=experiment.seed)
    result = fit(
        model, splits, experiment.train, seed=experiment.seed, workdir=workdir, resume=resume, on_event=on_event
    )
    weights = workdir / "weights.safetensors"
    extra = {"label": job.label, "seed": experiment.seed, "train": asdict(experiment.train), **about}
    models.save_model(
        weights, model, job.variant, classes=splits.classes, preprocessing=splits.preprocessing, extra=extra
    )
    dtype = AUTOCAST.get(experiment.train.precision, "float32")
    return job.record(
        settings={**about, **_kernels(model, _device_of(experiment), dtype)},
        measurements=result.measurements,
        epochs=result.epochs,
        ranks=result.ranks,
        files={"weights": str(weights)},
    )


def _evaluate(job: Job) -> Record:
    """The test set through saved weights, prepared as the weights' own header says."""
    experiment, splits = job.experiment, _opened(job.experiment)
    assert experiment.eval_weights is not None
    assert experiment.train is not None
    model = models.load_model(experiment.eval_weights)
    measurements, ranks = evaluate(model, splits, experiment.train)
    about: dict[str, Any] = {
        "data_digest": splits.digest,
        "synthetic": splits.synthetic,
        "classes": len(splits.classes),
        **_kernels(model, _device_of(experiment), AUTOCAST.get(experiment.train.precision, "float32")),
    }
    extra = models.read_header(experiment.eval_weights).get("extra", {})
    about["trained"] = {**extra.get("train", {}), "data_digest": extra.get("data_digest")}
    return job.record(
        settings=about, measurements=measurements, ranks=ranks, files={"weights": experiment.eval_weights}
    )


def _opened(experiment: Experiment) -> Splits:
    """The data set of a training experiment, brought to the size of its inputs."""
    assert experiment.data is not None
    assert experiment.train is not None
    prepared = models.read_header(experiment.eval_weights)["preprocessing"] if experiment.eval_weights else None
    data, shape = asdict(experiment.data), experiment.variants[0].input_shape
    return _splits(identity.canonical(data), shape[-1], experiment.train.augment, identity.canonical(prepared))


@lru_cache(maxsize=1)
def _splits(data: str, size: int, augment: str, preprocessing: str) -> Splits:
    """Kept open, since a suite trains all its variants on the same one. DataSettings and preprocessing are JSON."""
    settings = DataSettings(**json.loads(data))
    return open_data(settings, input_size=size, augment=augment, preprocessing=json.loads(preprocessing))
