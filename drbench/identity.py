"""Names of variants and of pieces of work: content hashes for machines, short labels for people.

A hash is SHA-256 over canonical JSON (sorted keys, no spaces), so it does not depend on the order of keys. A field that
a record gets later enters the hash only where it differs from its default, so that the names in existing databases,
baselines and checkpoints stay valid: see `table`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from typing import Any

from drbench.figures import DEFAULT, TASK
from drbench.records import PLAIN, Code, DataSettings, Experiment, LatencySettings, Machine, TrainSettings, Variant

HASH_DIGITS = 16


def _names(*lines: str) -> frozenset[str]:
    return frozenset(name for line in lines for name in line.split())


FIRST_FIELDS: Mapping[type, frozenset[str]] = {
    Variant: _names(
        "architecture operator operator_args where where_args init input_shape num_classes stem_stride",
        "architecture_args match matched_to width sources",
    ),
    DataSettings: _names("name root download val_fraction args"),
    TrainSettings: _names(
        "preset epochs batch_size optimizer learning_rate momentum weight_decay nesterov schedule warmup_epochs",
        "label_smoothing ema_decay grad_clip augment device precision threads loader_workers",
    ),
    LatencySettings: _names(
        "batch_sizes workers warmup_runs min_runs min_seconds max_seconds threads dtype device channels_last"
    ),
    Machine: _names(
        "hostname os cpu cores threads memory_bytes gpu gpu_memory_bytes driver python torch cpu_capability"
    ),
    Code: _names("drbench repository commit dirty"),
}
"""The fields that always enter a hash. Never change this table: it would rename what users have recorded."""

_ELSEWHERE = ("root", "download")
"""Fields that say where a data set is, not what it contains."""


def canonical(value: Any) -> str:
    """Canonical JSON of mappings, sequences and scalars; equal values give equal text.

    >>> canonical({"b": (1, 2), "a": None})
    '{"a":null,"b":[1,2]}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def digest(value: Any) -> str:
    """The first hex digits of the SHA-256 of `canonical(value)`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:HASH_DIGITS]


def table(record: Any) -> dict[str, Any]:
    """The fields that name a record: those of FIRST_FIELDS, and later ones that differ from their default.

    `record`: an instance of a type in FIRST_FIELDS, or of a subclass.
    """
    first = next(FIRST_FIELDS[kind] for kind in type(record).__mro__ if kind in FIRST_FIELDS)
    values = asdict(record)
    later = [field for field in fields(record) if field.name not in first]
    for field in later:
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if default is not MISSING and canonical(values[field.name]) == canonical(default):
            del values[field.name]
    return values


def variant_hash(variant: Variant) -> str:
    """The name of a network: changes with anything that defines it, the sources of a user's callables included."""
    return digest(table(variant))


def settings(experiment: Experiment) -> dict[str, Any]:
    """All that a result depends on, except the variant and the seed, as plain tables."""
    found: dict[str, Any] = {}
    if experiment.data is not None:
        found["data"] = {key: value for key, value in table(experiment.data).items() if key not in _ELSEWHERE}
    if experiment.train is not None:
        found["train"] = table(experiment.train)
    if experiment.latency is not None:
        found["latency"] = table(experiment.latency)
    if experiment.eval_weights is not None:
        found["eval_weights"] = experiment.eval_weights
    if experiment.variants and experiment.variants[0].task != DEFAULT:
        found[TASK] = experiment.variants[0].task
    return found


def experiment_key(experiment: Experiment, variant: Variant) -> str:
    """The name of one piece of work: stage, variant, seed and settings. `--resume` skips the keys that are done."""
    return digest([experiment.stage, variant_hash(variant), experiment.seed, settings(experiment)])


def is_plain(variant: Variant) -> bool:
    """Whether others are compared with it: not converted, and not widened to another's cost."""
    return variant.operator == PLAIN and variant.match is None


def label(variant: Variant) -> str:
    """What a person calls the variant, short: "conv", "drconv m=8"; for a matched plain one see `labels`."""
    regions = variant.operator_args.get("regions")
    return variant.operator if regions is None else f"{variant.operator} m={regions}"


def labels(variants: Sequence[Variant], given: Sequence[str | None] | None = None) -> tuple[str, ...]:
    """Labels in the order of `variants`, unique within each architecture; `given` ones are kept as they are.

    Where two would read the same, what differs between them is added, as in "drconv m=1 experts=8". A plain network
    widened to another's cost reads "conv =madds(drconv m=8)".
    """
    wanted = given or [None] * len(variants)
    short = {variant_hash(variant): name or label(variant) for variant, name in zip(variants, wanted, strict=True)}
    groups: dict[tuple[str, str], list[Variant]] = {}
    for variant in variants:
        if variant.match is None:
            groups.setdefault((variant.architecture, short[variant_hash(variant)]), []).append(variant)
    full = {
        variant_hash(variant): f"{text} {difference}".strip()
        for (_, text), group in groups.items()
        for variant, difference in zip(group, _differences(group), strict=True)
    }
    for variant in variants:
        if variant.match is not None:
            target = full.get(variant.matched_to or "", variant.matched_to)
            full[variant_hash(variant)] = f"{PLAIN} ={variant.match}({target})"
    return tuple(full[variant_hash(variant)] for variant in variants)


def _differences(group: Sequence[Variant]) -> list[str]:
    """For each variant, the arguments that differ within the group: "experts=4 where=pointwise"."""
    tables = [_arguments(variant) for variant in group]
    values: dict[str, set[str]] = {}
    for key in {key for table in tables for key in table}:
        values[key] = {canonical(table.get(key)) for table in tables}
    return [
        " ".join(
            f"{key}={table[key] if isinstance(table[key], str) else canonical(table[key])}"
            for key in sorted(table)
            if len(values[key]) > 1
        )
        for table in tables
    ]


def _arguments(variant: Variant) -> dict[str, Any]:
    return {
        **variant.operator_args,
        **{f"where.{key}": value for key, value in variant.where_args.items()},
        **{f"model.{key}": value for key, value in variant.architecture_args.items()},
        "where": ",".join(variant.where),
        "init": variant.init,
        **({} if variant.width is None else {"width": variant.width}),
    }


def _plain(value: object) -> object:
    """Convert what JSON cannot represent: mappings other than dict, and sets."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no canonical form")
