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
    """Time what the suite holds now beside what it held at a commit. InputError and FailedError as `measure`."""

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
    about = {"metrics": ["latency"], "only": list(only), "commit": measured.commit, "seconds": round(measured.seconds)}
    return Checked(suite, "", f"commit {ref} ({measured.commit[:12]})", tuple(verdicts), measured.notes, about)


def _verdicts(measured: Measured, rules: Rules) -> Iterator[Verdict]:
    for one in measured.compared:
        yield _compared(one, rules)
    for variant, why in measured.failed.items():
        yield rules.rule("latency", variant).verdict("failed", "", why, unit="s")
    for variant, why in measured.new.items():
        yield rules.rule("latency", variant).verdict("new", "", why or "the commit has no such variant", unit="s")
    for variant in measured.vanished:
        yield rules.rule("latency", variant).verdict("vanished", "", "the commit had this variant", unit="s")


def _compared(one: Compared, rules: Rules) -> Verdict:
    found, floor = one.interval, one.floor_interval
    text = f"{len(one.log_ratios)} blocks, floor {floor.reach:.1%}, {one.resolution.text}"
    if one.decision == "unresolved":
        text = f"cannot resolve {one.limit:.1%}: {text}"
    return rules.rule("latency", one.variant).verdict(
        one.decision,
        f"b={one.batch_size}",
        text,
        unit="s",
        before=one.then,
        now=one.now,
        effect=found.estimate,
        interval=(found.low, found.high),
    )
