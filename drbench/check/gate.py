"""A check: a run compared with a baseline or another run -> Checked. Reads the store and measures nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from drbench import __version__, figures
from drbench.check import baseline as files
from drbench.check import metrics as known_metrics
from drbench.check.baseline import Accepted, Baseline, chosen
from drbench.check.facts import VariantFacts, gather
from drbench.check.judge import judge
from drbench.check.rules import Rules
from drbench.check.verdicts import Checked, Verdict
from drbench.errors import NothingError
from drbench.figures import TaskFigures
from drbench.records import OPS, Run
from drbench.suite.read import parse, validate
from drbench.suite.tables import CheckTable

if TYPE_CHECKING:
    from drbench_db import Store


def table_of(run: Run) -> CheckTable:
    """The [check] table of the run's suite. NothingError for a run without a suite."""
    document = parse(run.suite_text, run.id)
    if set(document) == {OPS}:
        raise NothingError(f"run {run.id} is an operator benchmark, which has no check. See drbench report")
    return validate(document, run.id).check


def task_of(store: Store, *runs: Run) -> TaskFigures:
    """The figures of the task of these runs, from the first run whose records declare them. Imports no user code."""
    named = parse(runs[0].suite_text, runs[0].id).get(figures.TASK, "")
    if named in figures.BUILT_IN:
        return figures.BUILT_IN[named]
    for run in runs:
        for record in store.records(run.id, stage="train", samples=False):
            if figures.is_declared(declared := figures.of_settings(record.settings)):
                return declared
    return figures.of_settings({figures.TASK: named})


def facts_of(store: Store, run: Run, metrics: Iterable[str], *, strict: bool = True) -> dict[str, VariantFacts]:
    """The facts of a run for these metrics. Damaged records are left out unless `strict`.

    Raises:
        NothingError: the run has no records of these metrics.
        DamagedError: with `strict`, if records of the run are damaged; names the first.
    """
    wanted = tuple(metrics)
    stages = list(dict.fromkeys(map(known_metrics.stage, wanted)))
    with_samples = known_metrics.stage("memory")
    records = [
        record for stage in stages for record in store.records(run.id, stage=stage, samples=stage == with_samples)
    ]
    if strict:
        store.damages.refuse(run.id)
    if not records:
        raise NothingError(f"run {run.id} has no records of {', '.join(stages)} to compare")
    return gather(run, records, wanted)


def known(path: Path, suite: str) -> dict[str, VariantFacts]:
    """The facts of a suite in a baseline file. NothingError if the file does not have the suite."""
    baseline = files.read(path)
    if suite not in baseline.suites:
        present = ", ".join(sorted(baseline.suites)) or "none"
        raise NothingError(
            f"baseline {path} does not have suite {suite!r} (its suites: {present}). "
            "Add a run of it with drbench baseline save"
        )
    return baseline.variants(suite)


def against_file(store: Store, run: Run, path: Path, rules: Rules, only: Sequence[str] = ()) -> Checked:
    """Compare a run with a baseline file. NothingError if the file does not have the run's suite."""
    before = known(path, run.suite)
    rules = rules.of_task(task_of(store, run))
    checked = _checked(run, str(path), before, facts_of(store, run, rules.metrics), rules, only)
    return replace(checked, notes=(*checked.notes, *_advice(checked, path)))


def against_run(
    store: Store, run: Run, other: Run, rules: Rules, only: Sequence[str] = (), *, strict: bool = True
) -> Checked:
    """Compare a run with an earlier one; `strict` as in `facts_of`."""
    rules = rules.of_task(task_of(store, run, other))
    before, now = (facts_of(store, side, rules.metrics, strict=strict) for side in (other, run))
    return _checked(run, other.id, before, now, rules, only)


def _checked(
    run: Run,
    reference: str,
    before: Mapping[str, VariantFacts],
    now: Mapping[str, VariantFacts],
    rules: Rules,
    only: Sequence[str],
) -> Checked:
    verdicts, notes = judge(_chosen(before, only), _chosen(now, only), rules)
    if not verdicts:
        reason = f"--only {' '.join(only)} selects no variant" if only else f"neither has {', '.join(rules.metrics)}"
        raise NothingError(f"run {run.id} and {reference}: nothing to compare, {reason}")
    facts = {
        "metrics": list(rules.metrics),
        "only": list(only),
        "machine": run.machine.cpu,
        "drbench": run.code.drbench or __version__,
        "commit": run.code.commit,
    }
    measured = dict.fromkeys(note for name, known in now.items() if chosen(name, only) for note in known.notes)
    return Checked(run.suite, run.id, reference, verdicts, (*notes, *measured), facts)


def _advice(checked: Checked, path: Path) -> Iterator[str]:
    """Commands that accept the changes, if they are intended."""
    starts = {"improvement": "baseline is stale", "regression": "if that is intended"}
    for outcome, start in starts.items():
        for metric in checked.about["metrics"]:
            names = {v.variant: None for v in checked.verdicts if (v.outcome, v.metric) == (outcome, metric)}
            if names:
                only = " ".join(f"--only {shlex.quote(name)}" for name in names)
                where = "" if str(path) == files.DEFAULT else f" --baseline {shlex.quote(str(path))}"
                options = f"--run {checked.run} --metric {metric} {only}{where} --reason WHY"
                yield f"{start}: drbench baseline accept {options}"


def _chosen(side: Mapping[str, VariantFacts], only: Sequence[str]) -> dict[str, VariantFacts]:
    return {name: facts for name, facts in side.items() if chosen(name, only)}


def accept(
    baseline: Baseline,
    run: Run,
    now: Mapping[str, VariantFacts],
    metric: str,
    reason: str,
    only: Sequence[str],
    task: TaskFigures = figures.CLASSIFY,
) -> tuple[Baseline, tuple[Accepted, ...]]:
    """The baseline with the run's figures of one metric, for the variants that the globs select; and the changes.

    NothingError if no variant is selected, or none has changed.
    """
    before = baseline.variants(run.suite, only)
    after = {name: facts for name, facts in now.items() if name in before}
    accepted: list[Accepted] = []
    rules = Rules((metric,)).of_task(task)
    verdicts, _ = judge({name: before[name] for name in after}, after, rules)
    changed = files.saved(baseline, run, after, (metric,))
    for name in sorted(after):
        if changed.suites[run.suite][name] == baseline.suites[run.suite][name]:
            continue
        own = [verdict for verdict in verdicts if verdict.variant == name]
        text = "; ".join(_change(verdict) for verdict in own if verdict.before != verdict.now) or "other layers"
        accepted.append(
            Accepted(
                date=date.today().isoformat(), suite=run.suite, variant=name, metric=metric, change=text, reason=reason
            )
        )
    if not accepted:
        reason = "equals the baseline" if after else f"and the baseline share no variant of {' '.join(only)}"
        raise NothingError(f"run {run.id} {reason} ({metric} of suite {run.suite!r}): nothing to accept")
    return changed.model_copy(update={"accepted": (*changed.accepted, *accepted)}), tuple(accepted)


def _change(verdict: Verdict) -> str:
    """Such as "madds 10900000 -> 11000000 multiply-adds"."""
    ends = ["?" if end is None else f"{end:.12g}" for end in (verdict.before, verdict.now)]
    return f"{verdict.figure} {' -> '.join(ends)} {verdict.unit}".strip()
