"""Finds the widths at which matched networks cost as much as their targets, before any measurement."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence, Set
from dataclasses import replace

from drbench.identity import variant_hash
from drbench.job import Job
from drbench.records import Event, Experiment, Record, Variant
from drbench.run.session import Counts
from drbench.stages import WorkContext, alone
from drbench.suite.plan import variants
from drbench.suite.tables import Suite


def find(
    work: Sequence[Experiment], suite: Suite, context: Callable[[str], WorkContext], lost: Set[str], counts: Counts
) -> Generator[Record, None, list[Experiment]]:
    """Return the work with every width set. Yield a failed Record for each width that cannot be found.

    A network without a width is left out of the work.

    Args:
        work: as planned: the width of a matched network is None.
        suite: the whole suite, because the target of a matched network may not be in `work`.
        context: returns the context of work, for the name of its folder.
        lost: keys of work that failed before; `counts` counts it.
    """
    resolved: dict[str, Variant | None] = {}
    targets = {variant_hash(variant): variant for rows in variants(suite).values() for variant, _ in rows}
    for experiment in work:
        for variant, label in zip(experiment.variants, experiment.labels, strict=True):
            name = variant_hash(variant)
            if variant.match is None or variant.matched_to is None or name in resolved:
                continue
            job = Job(replace(experiment, seed=None), variant, label)
            if job.key in lost:
                resolved[name] = None
                counts.lost += 1
                continue
            here = context(name)
            here.on_event(Event("note", f"{variant.architecture}: finding the width of {label}"))
            target = targets[variant.matched_to]
            ended = here.executor.run("drbench.experiment:resolve", variant, target, limits=here.limits)
            resolved[name] = ended.value if ended.status == "done" else None
            if ended.status != "done":
                yield alone.failed(job, ended, here)
    replaced = (_with(experiment, resolved) for experiment in work)
    return [experiment for experiment in replaced if experiment.variants]


def _with(experiment: Experiment, resolved: Mapping[str, Variant | None]) -> Experiment:
    """The experiment with the resolved variants, without those whose width was not found."""
    pairs = zip(experiment.variants, experiment.labels, strict=True)
    rows = [(resolved.get(variant_hash(variant), variant), label) for variant, label in pairs]
    kept = [(variant, label) for variant, label in rows if variant is not None]
    return replace(experiment, variants=tuple(v for v, _ in kept), labels=tuple(label for _, label in kept))
