"""Absolute times of two commits (see `drbench.against`) -> Checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from drbench.against import Compared, Measured, measure
from drbench.check.rules import Rules
from drbench.check.verdicts import OUTCOMES, Checked, Verdict
from drbench.records import Event


def against_commit(
    suite: str,
    ref: str,
    rules: Rules,
    only: Sequence[str] = (),
    max_time: float = 120.0,
    python: str | None = None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Checked:
    """Compare the times of a suite's variants with those at a commit. Raises the errors of `measure`."""

    def limit_of(variant: str) -> float:
        return rules.rule("latency", variant).bound

    measured = measure(
        suite,
        ref,
        overrides={"only": list(only)},
        limit_of=limit_of,
        max_time=max_time,
        python=python,
        on_event=on_event,
    )
    verdicts = sorted(_verdicts(measured, rules), key=lambda verdict: OUTCOMES.index(verdict.outcome))
    facts = {"metrics": ["latency"], "only": list(only), "commit": measured.commit, "seconds": round(measured.seconds)}
    return Checked(suite, "", f"commit {ref} ({measured.commit[:12]})", tuple(verdicts), measured.notes, facts)


def _verdicts(measured: Measured, rules: Rules) -> Iterator[Verdict]:
    for compared in measured.compared:
        yield _compared(compared, rules)
    for variant, reason in measured.failed.items():
        yield rules.rule("latency", variant).verdict("failed", "", reason, unit="s")
    for variant, reason in measured.new.items():
        text = reason or "the commit does not have this variant"
        yield rules.rule("latency", variant).verdict("new", "", text, unit="s")
    for variant in measured.vanished:
        yield rules.rule("latency", variant).verdict("vanished", "", "only the commit has this variant", unit="s")


def _compared(compared: Compared, rules: Rules) -> Verdict:
    interval, floor = compared.interval, compared.floor_interval
    text = f"{len(compared.log_ratios)} blocks, floor {floor.reach:.1%}, {compared.resolution.text}"
    if compared.decision == "unresolved":
        text = f"cannot resolve {compared.limit:.1%}: {text}"
    return rules.rule("latency", compared.variant).verdict(
        compared.decision,
        f"b={compared.batch_size}",
        text,
        unit="s",
        before=compared.then,
        now=compared.now,
        effect=interval.estimate,
        interval=(interval.low, interval.high),
    )
