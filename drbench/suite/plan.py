"""A Suite -> its networks and its Experiments, in the order in which they are done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from drbench import bounds
from drbench.errors import InputError
from drbench.figures import BUILT_IN, as_table, declared
from drbench.identity import labels, variant_hash
from drbench.names import is_import, load, source_hashes
from drbench.records import PLAIN, DataSettings, Experiment, LatencySettings, TrainSettings, Variant
from drbench.stages import STAGES, Request
from drbench.suite.overrides import REGION_OPERATORS
from drbench.suite.tables import (
    OperatorTable,
    Suite,
)

SMALL_INPUT = 64
"""Inputs with a shorter side than this get a stem without strides (stated in every variant's `stem_stride`)."""

DEFAULT_REGIONS = 8
"""Of the region operators; always written out in the variant, so that equal is equal."""


def named(suite: Suite) -> tuple[str, ...]:
    """All names in the suite that may be code: package.module:callable, or a registry's."""
    names = [table.name for table in suite.architectures] + [table.operator for table in suite.operators]
    return (*names, suite.task, suite.data.name, *(suite.trust or ()))


def variants(suite: Suite) -> dict[str, tuple[tuple[Variant, str], ...]]:
    """All networks of the suite with their labels, by architecture, plain first; `only` and `exclude` not yet applied.

    A network that `match` widens still has width None: finding the width needs torch (see experiment.resolve).
    """
    _count(suite)
    declared(suite.task)  # InputError for a task that is unknown or none
    shape, classes = _input(suite)
    found: dict[str, tuple[tuple[Variant, str], ...]] = {}
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
        found[table.name] = (*found.get(table.name, ()), *zip(nets, named, strict=True))
    return found


def _count(suite: Suite) -> None:
    """InputError where the suite has more networks or work than is sensible: said before any of it is made."""
    networks = int(suite.plain)
    for table in suite.operators:
        matched = suite.match if table.match is None else table.match
        networks += len(table.regions or (None,)) * (1 + len(matched))
    networks *= len(suite.architectures)
    work = networks * sum(suite.seeds if STAGES[name].seeded else 1 for name in suite.stages)
    for number, most, what in ((networks, bounds.VARIANTS, "networks"), (work, bounds.WORK, "pieces of work")):
        if number > most:
            raise InputError(
                f"suite {suite.name!r} has {number:,} {what}; at most {most:,} are allowed: split it into several"
            )


def plan(suite: Suite) -> tuple[Experiment, ...]:
    """The work in order: cost of all; memory; latency, all variants of an architecture at once; training, seeds
    outermost. With `shard`, what falls to that one; it may be nothing.
    """
    chosen = {
        name: rows for name, rows in ((n, _chosen(suite, n, rows)) for n, rows in variants(suite).items()) if rows
    }
    if not chosen:
        known = [f"{name}/{label}" for name, rows in variants(suite).items() for _, label in rows]
        raise InputError(f"--only and --exclude leave nothing of suite {suite.name!r}. It holds: {', '.join(known)}")
    nets = [variant for group in chosen.values() for variant, _ in group]
    in_shard = {variant_hash(variant) for variant in nets} if suite.shard is None else shard(nets, *suite.shard)
    request = Request(
        groups=chosen,
        in_shard=in_shard,
        data=DataSettings(**dict(suite.data)),
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
    """Hashes of the variants that fall to part `part` (from 1) of `of`: every one to one part, whatever their order.

    A network matched to another goes where that one goes. The parts differ by at most one variant and its matched ones.
    """
    names = {variant_hash(variant) for variant in nets}
    homes = {
        variant_hash(variant): variant.matched_to if variant.matched_to in names else variant_hash(variant)
        for variant in nets
    }
    ours = set(sorted({str(home) for home in homes.values()})[part - 1 :: of])
    return {name for name, home in homes.items() if home in ours}


def train_settings(suite: Suite) -> TrainSettings:
    """The preset with the suite's own values over it."""
    from drbench.training.presets import preset

    return preset(suite.preset, {key: value for key, value in suite.train if value is not None})


def _converted(plain: Variant, table: OperatorTable) -> Iterator[tuple[Variant, str | None]]:
    """The variants of one operator table, one for each region count, with the label that the table gives."""
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
        many = table.label and len(counts) > 1
        yield variant, f"{table.label} m={count}" if many else table.label


def _chosen(suite: Suite, architecture: str, rows: Sequence[tuple[Variant, str]]) -> tuple[tuple[Variant, str], ...]:
    def hit(pattern: str, label: str) -> bool:
        return fnmatchcase(f"{architecture}/{label}", pattern) or fnmatchcase(architecture, pattern)

    return tuple(
        (variant, label)
        for variant, label in rows
        if (not suite.only or any(hit(pattern, label) for pattern in suite.only))
        and not any(hit(pattern, label) for pattern in suite.exclude)
    )


def _input(suite: Suite) -> tuple[tuple[int, int, int], int]:
    """The input's shape and the number of classes: the suite's own, else the data set's."""
    if suite.input_shape and suite.num_classes:
        return suite.input_shape, suite.num_classes
    from drbench.data.info import info

    known = info(DataSettings(**dict(suite.data)))
    classes = known.num_classes
    if suite.num_classes is None and suite.task not in BUILT_IN:
        classes = load("task", suite.task).outputs(classes)  # type: ignore[attr-defined]
    return suite.input_shape or known.input_shape, suite.num_classes or classes
