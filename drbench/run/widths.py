"""Matched networks: the widths at which they cost what their targets cost, found before anything is measured."""

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
    """The work with every width found. A network whose width cannot be found is left out: its failed Record is yielded.

    Args:
        work: as planned: the width of a matched network is None.
        suite: all of it, because the target of a matched network may not be in `work`.
        context: a folder's name -> where work is done.
        lost: keys of work that failed before; `counts` counts it.
    """
    found: dict[str, Variant | None] = {}
    targets = {variant_hash(variant): variant for rows in variants(suite).values() for variant, _ in rows}
    for one in work:
        for variant, label in zip(one.variants, one.labels, strict=True):
            name = variant_hash(variant)
            if variant.match is None or variant.matched_to is None or name in found:
                continue
            job = Job(replace(one, seed=None), variant, label)
            if job.key in lost:
                found[name] = None
                counts.lost += 1
                continue
            here = context(name)
            here.on_event(Event("note", f"{variant.architecture}: finding the width of {label}"))
            target = targets[variant.matched_to]
            ended = here.executor.run("drbench.experiment:resolve", variant, target, limits=here.limits)
            found[name] = ended.value if ended.status == "done" else None
            if ended.status != "done":
                yield alone.failed(job, ended, here)
    return [one for one in (_with(one, found) for one in work) if one.variants]


def _with(one: Experiment, found: Mapping[str, Variant | None]) -> Experiment:
    """The experiment on the networks whose widths were found; without those whose were not."""
    rows = [(found.get(variant_hash(v), v), label) for v, label in zip(one.variants, one.labels, strict=True)]
    kept = [(variant, label) for variant, label in rows if variant is not None]
    return replace(one, variants=tuple(v for v, _ in kept), labels=tuple(label for _, label in kept))
