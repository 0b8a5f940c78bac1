"""A whole check: what a run says beside a baseline or another run -> Checked. Reads the store, measures nothing."""

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
    """What the run's own suite says about checks. NothingError for a run that no suite made."""
    document = parse(run.suite_text, run.id)
    if set(document) == {OPS}:
        raise NothingError(f"run {run.id} is of the operator benchmark, which no check knows; drbench report shows it")
    return validate(document, run.id).check


def task_of(store: Store, *runs: Run) -> TaskFigures:
    """The figures of the task of these runs, by the records of the first that knows them; nothing is imported."""
    named = parse(runs[0].suite_text, runs[0].id).get(figures.TASK, "")
    if named in figures.BUILT_IN:
        return figures.BUILT_IN[named]
    for run in runs:
        for record in store.records(run.id, stage="train", samples=False):
            if figures.is_declared(found := figures.of_settings(record.settings)):
                return found
    return figures.of_settings({figures.TASK: named})


def facts_of(store: Store, run: Run, metrics: Iterable[str], *, strict: bool = True) -> dict[str, VariantFacts]:
    """What a run says about these metrics. NothingError where it has nothing to say at all.

    DamagedError, which names the first, where records of the run are damaged; unless `strict`, they are left out.
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
        raise NothingError(f"run {run.id} has no records of {', '.join(stages)}: there is nothing to compare")
    return gather(run, records, wanted)


def known(path: Path, suite: str) -> dict[str, VariantFacts]:
    """What a baseline file says about a suite. NothingError where it has never heard of it."""
    baseline = files.read(path)
    if suite not in baseline.suites:
        holds = ", ".join(sorted(baseline.suites)) or "nothing"
        raise NothingError(
            f"baseline {path} knows nothing of suite {suite!r} (it holds: {holds}); "
            "drbench baseline save adds what a run of it found"
        )
    return baseline.variants(suite)


def against_file(store: Store, run: Run, path: Path, rules: Rules, only: Sequence[str] = ()) -> Checked:
    """A run beside a baseline file. NothingError where the file knows nothing of the run's suite."""
    before = known(path, run.suite)
    rules = rules.of_task(task_of(store, run))
    found = _checked(run, str(path), before, facts_of(store, run, rules.metrics), rules, only)
    return replace(found, notes=(*found.notes, *_advice(found, path)))


def against_run(
    store: Store, run: Run, other: Run, rules: Rules, only: Sequence[str] = (), *, strict: bool = True
) -> Checked:
    """A run beside an earlier one; `strict` as of `facts_of`."""
    rules = rules.of_task(task_of(store, run, other))
    before, now = (facts_of(store, one, rules.metrics, strict=strict) for one in (other, run))
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
        what = f"--only {' '.join(only)} leaves nothing" if only else f"neither has {', '.join(rules.metrics)}"
        raise NothingError(f"run {run.id} beside {reference}: {what} to compare")
    about = {
        "metrics": list(rules.metrics),
        "only": list(only),
        "machine": run.machine.cpu,
        "drbench": run.code.drbench or __version__,
        "commit": run.code.commit,
    }
    measured = dict.fromkeys(note for name, facts in now.items() if chosen(name, only) for note in facts.notes)
    return Checked(run.suite, run.id, reference, verdicts, (*notes, *measured), about)


def _advice(found: Checked, path: Path) -> Iterator[str]:
    """What to do where the file says something else than the run, and that is as it should be."""
    words = {"improvement": "baseline is stale", "regression": "if that is intended"}
    for outcome, start in words.items():
        for metric in found.about["metrics"]:
            names = {v.variant: None for v in found.verdicts if (v.outcome, v.metric) == (outcome, metric)}
            if names:
                only = " ".join(f"--only {shlex.quote(name)}" for name in names)
                where = "" if str(path) == files.DEFAULT else f" --baseline {shlex.quote(str(path))}"
                yield f"{start}: drbench baseline accept --run {found.run} --metric {metric} {only}{where} --reason WHY"


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
    """The baseline with the run's figures of one metric for the variants that the globs name, and why.

    NothingError where no variant is named, or all say what they said before.
    """
    before = baseline.variants(run.suite, only)
    after = {name: facts for name, facts in now.items() if name in before}
    found: list[Accepted] = []
    rules = Rules((metric,)).of_task(task)
    verdicts, _ = judge({name: before[name] for name in after}, after, rules)
    changed = files.saved(baseline, run, after, (metric,))
    for name in sorted(after):
        if changed.suites[run.suite][name] == baseline.suites[run.suite][name]:
            continue
        mine = [verdict for verdict in verdicts if verdict.variant == name]
        text = "; ".join(_change(verdict) for verdict in mine if verdict.before != verdict.now) or "other layers"
        found.append(
            Accepted(
                date=date.today().isoformat(), suite=run.suite, variant=name, metric=metric, change=text, reason=reason
            )
        )
    if not found:
        what = "says the same as the baseline" if after else f"and the baseline share no variant of {' '.join(only)}"
        raise NothingError(f"run {run.id} {what} ({metric} of suite {run.suite!r}): nothing to accept")
    return changed.model_copy(update={"accepted": (*changed.accepted, *found)}), tuple(found)


def _change(verdict: Verdict) -> str:
    """ "madds 10900000 -> 11000000 multiply-adds" """
    ends = ["?" if end is None else f"{end:.12g}" for end in (verdict.before, verdict.now)]
    return f"{verdict.figure} {' -> '.join(ends)} {verdict.unit}".strip()
