"""What a variant and a piece of work are called: content hashes for machines, short labels for people.

A hash is SHA-256 over canonical JSON (sorted keys, no spaces), so it depends on what is said and not on the order in
which it was said, nor on the Python that said it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from drbench.records import PLAIN, Experiment, Variant

HASH_DIGITS = 16
COUNTING = 2
"""The version of the convention by which multiply-adds are counted: costs of different versions are not compared.

2: without what runs once per call, on weights alone.
"""

_ELSEWHERE = ("root", "download")
"""Where a data set lies, not what it holds."""


def canonical(value: Any) -> str:
    """Canonical JSON of mappings, sequences and scalars; equal values give equal text.

    >>> canonical({"b": (1, 2), "a": None})
    '{"a":null,"b":[1,2]}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def digest(value: Any) -> str:
    """The first hex digits of the SHA-256 of `canonical(value)`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:HASH_DIGITS]


def variant_hash(variant: Variant) -> str:
    """The name of a network: changes with anything that defines it, the sources of a user's callables included."""
    return digest(asdict(variant))


def settings(experiment: Experiment) -> dict[str, Any]:
    """All that a result depends on beside the variant and the seed, as plain tables."""
    found: dict[str, Any] = {}
    if experiment.data is not None:
        found["data"] = {key: value for key, value in asdict(experiment.data).items() if key not in _ELSEWHERE}
    if experiment.train is not None:
        found["train"] = asdict(experiment.train)
    if experiment.latency is not None:
        found["latency"] = asdict(experiment.latency)
    if experiment.eval_weights is not None:
        found["eval_weights"] = experiment.eval_weights
    return found


def experiment_key(experiment: Experiment, variant: Variant) -> str:
    """The name of one piece of work: stage, variant, seed and settings. `--resume` skips the keys that are done."""
    return digest([experiment.stage, variant_hash(variant), experiment.seed, settings(experiment)])


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
    """Of each variant, the arguments in which the group is not of one mind: "experts=4 where=pointwise"."""
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
    """What JSON has no word for: mappings that are no dicts, sets."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no canonical form")
