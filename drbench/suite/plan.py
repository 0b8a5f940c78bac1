"""A Suite -> its networks and its Experiments, in the order of execution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from drbench import bounds
from drbench.catalog import DATA, OUTPUTS
from drbench.errors import InputError
from drbench.figures import BUILT_IN, as_table, declared
from drbench.identity import labels, variant_hash
from drbench.names import is_import, load
from drbench.records import PLAIN, DataSettings, Experiment, LatencySettings, TrainSettings, Variant
from drbench.sources import source_hashes
from drbench.stages import STAGES, Request
from drbench.suite.overrides import REGION_OPERATORS
from drbench.suite.tables import OperatorTable, Suite

SMALL_INPUT = 64
"""Inputs with a side shorter than this (pixels) get a stem of stride 1, as stated in the variant's `stem_stride`."""

DEFAULT_REGIONS = 8
"""Default number of regions. It is always written into the variant, so that equal variants have equal hashes."""


def named(suite: Suite) -> tuple[str, ...]:
    """All names in the suite that may refer to code: package.module:callable, or a name in a registry."""
    names = [table.name for table in suite.architectures] + [table.operator for table in suite.operators]
    return (*names, suite.task, data_settings(suite).name, *(suite.trust or ()))


def variants(suite: Suite) -> dict[str, tuple[tuple[Variant, str], ...]]:
    """All networks of the suite with their labels, by architecture, the plain network first.

    `only` and `exclude` are not applied. The width of a matched network is still None: finding it needs torch (see
    experiment.resolve). InputError for an unknown task, or too many networks.
    """
    _count(suite)
    declared(suite.task)
    shape, classes = _input(suite)
    by_architecture: dict[str, tuple[tuple[Variant, str], ...]] = {}
    for operator in suite.operators:
        if is_import(operator.operator):
            load("operator", operator.operator)
    for table in suite.architectures:
        if is_import(table.name):
            load("model", table.name)
        own = is_import(table.name)
        small = min(shape[1:]) < SMALL_INPUT and not own
        plain = Variant(
            architecture=table.name,
            architecture_args=table.args,
            width=table.width,
            input_shape=shape,
            num_classes=classes,
            stem_stride=suite.stem_stride or (1 if small else None),
            sources=source_hashes([table.name, suite.task]),
            task=suite.task,
        )
        rows: dict[str, tuple[Variant, str | None]] = {variant_hash(plain): (plain, None)} if suite.plain else {}
        for operator in suite.operators:
            for variant, name in _converted(plain, operator):
                rows.setdefault(variant_hash(variant), (variant, name))
                for by in suite.match if operator.match is None else operator.match:
                    matched = replace(plain, match=by, matched_to=variant_hash(variant))
                    rows.setdefault(variant_hash(matched), (matched, None))
        nets = [variant for variant, _ in rows.values()]
        named = labels(nets, [name for _, name in rows.values()])
        by_architecture[table.name] = (*by_architecture.get(table.name, ()), *zip(nets, named, strict=True))
    return by_architecture


def _count(suite: Suite) -> None:
    """InputError if the suite has too many networks or too much work; checked before any of it is created."""
    networks = int(suite.plain)
    for table in suite.operators:
        matched = suite.match if table.match is None else table.match
        networks += len(table.regions or (None,)) * (1 + len(matched))
    networks *= len(suite.architectures)
    work = networks * sum(suite.seeds if STAGES[name].seeded else 1 for name in suite.stages)
    for number, limit, noun in ((networks, bounds.VARIANTS, "networks"), (work, bounds.WORK, "pieces of work")):
        if number > limit:
            raise InputError(
                f"suite {suite.name!r}: got {number:,} {noun}; expected at most {limit:,}. Split it into several suites"
            )


def plan(suite: Suite) -> tuple[Experiment, ...]:
    """The Experiments in order: cost, memory, latency (one per architecture), training (all networks per seed).

    With `shard`: those of that shard, which may be none. InputError if `only` and `exclude` leave no network.
    """
    chosen = {
        name: rows for name, rows in ((n, _chosen(suite, n, rows)) for n, rows in variants(suite).items()) if rows
    }
    if not chosen:
        known = [f"{name}/{label}" for name, rows in variants(suite).items() for _, label in rows]
        raise InputError(f"--only and --exclude leave no network of suite {suite.name!r}. It has: {', '.join(known)}")
    nets = [variant for group in chosen.values() for variant, _ in group]
    in_shard = {variant_hash(variant) for variant in nets} if suite.shard is None else shard(nets, *suite.shard)
    request = Request(
        groups=chosen,
        in_shard=in_shard,
        data=data_settings(suite),
        train=train_settings(suite),
        latency=LatencySettings(**dict(suite.latency)),
        seeds=suite.seeds,
        eval_weights=suite.eval_weights,
    )
    work = [experiment for name, stage in STAGES.items() if name in suite.stages for experiment in stage.plan(request)]
    if suite.task not in BUILT_IN:
        figures = as_table(declared(suite.task))
        work = [replace(experiment, figures=figures) for experiment in work]
    return tuple(work)


def shard(nets: Sequence[Variant], part: int, of: int) -> set[str]:
    """Hashes of the variants in shard `part` (from 1) of `of`. Each variant is in one shard, whatever their order.

    A matched network is in the shard of its target. Shards differ in size by at most one variant and its matched ones.
    """
    names = {variant_hash(variant) for variant in nets}
    homes = {
        variant_hash(variant): variant.matched_to if variant.matched_to in names else variant_hash(variant)
        for variant in nets
    }
    chosen = set(sorted({str(home) for home in homes.values()})[part - 1 :: of])
    return {name for name, home in homes.items() if home in chosen}


def data_settings(suite: Suite) -> DataSettings:
    """The record of the suite's table `data`; without a name, the embedded data set of the task."""
    table = dict(suite.data)
    if "name" not in suite.data.model_fields_set:
        table["name"] = DATA.get(suite.task, table["name"])
    return DataSettings(**table)


def train_settings(suite: Suite) -> TrainSettings:
    """The settings of the preset, overridden by the suite's own values."""
    from drbench.training.presets import preset

    return preset(suite.preset, {key: value for key, value in suite.train if value is not None}, suite.task)


def _converted(plain: Variant, table: OperatorTable) -> Iterator[tuple[Variant, str | None]]:
    """The variants of one operator table, one per region count, each with the table's label or None."""
    if table.operator == PLAIN:
        return
    counts: Sequence[int | None] = table.regions or (None,)
    if table.regions is None and table.operator in REGION_OPERATORS and "regions" not in table.operator_args:
        counts = (DEFAULT_REGIONS,)
    for count in counts:
        variant = replace(
            plain,
            operator=table.operator,
            operator_args=table.operator_args if count is None else {**table.operator_args, "regions": count},
            where=table.where,
            where_args=table.where_args,
            init=table.init,
            sources=source_hashes([plain.architecture, plain.task, table.operator]),
        )
        needs_count = table.label and len(counts) > 1
        yield variant, f"{table.label} m={count}" if needs_count else table.label


def _chosen(suite: Suite, architecture: str, rows: Sequence[tuple[Variant, str]]) -> tuple[tuple[Variant, str], ...]:
    """The rows that `only` and `exclude` leave."""

    def matches(pattern: str, label: str) -> bool:
        return fnmatchcase(f"{architecture}/{label}", pattern) or fnmatchcase(architecture, pattern)

    return tuple(
        (variant, label)
        for variant, label in rows
        if (not suite.only or any(matches(pattern, label) for pattern in suite.only))
        and not any(matches(pattern, label) for pattern in suite.exclude)
    )


def _input(suite: Suite) -> tuple[tuple[int, int, int], int]:
    """The input shape and the number of classes: the suite's, else the data set's."""
    if suite.input_shape and suite.num_classes:
        return suite.input_shape, suite.num_classes
    from drbench.data.info import info

    data_info = info(data_settings(suite))
    classes = OUTPUTS.get(suite.task, data_info.num_classes)
    if suite.num_classes is None and suite.task not in BUILT_IN:
        classes = load("task", suite.task).outputs(classes)  # type: ignore[attr-defined]
    return suite.input_shape or data_info.input_shape, suite.num_classes or classes
