"""Verdicts on figures of a task: by image for given weights, by seed for trained networks (statistics.significance)."""

from __future__ import annotations

from collections.abc import Iterator

from drbench.check.facts import Scores, Seed
from drbench.check.rules import Rule
from drbench.check.verdicts import Verdict
from drbench.figures import Figure
from drbench.statistics.samples import LEAST_SEEDS
from drbench.statistics.significance import POWER, Change, by_images, by_seeds


def judge(before: Scores, now: Scores, rule: Rule) -> Iterator[Verdict]:
    """One verdict per seed for given weights or with `rule.checkpoints`, else one for all seeds."""
    trained = bool(before.training and now.training)
    if trained and not rule.checkpoints:
        yield _operator(before, now, rule)
        return
    same = rule.compared("", before.conditions, now.conditions)
    if isinstance(same, Verdict):
        yield same
        return
    old, new = _by_seed(before), _by_seed(now)
    if len(old) == len(new) == 1:
        yield _checkpoints(before.seeds[0], now.seeds[0], now, same, "")
        return
    for seed in [*old, *(seed for seed in new if seed not in old)]:
        figure = "" if seed is None else f"seed {seed}"
        if seed not in new:
            yield same.verdict("vanished", figure, "the run does not have these weights", before=old[seed].value)
        elif seed not in old:
            yield same.verdict("new", figure, "the reference does not have these weights", now=new[seed].value)
        else:
            yield _checkpoints(old[seed], new[seed], now, same, figure)


def _by_seed(scores: Scores) -> dict[int | None, Seed]:
    return {entry.seed: entry for entry in scores.seeds}


def _checkpoints(old: Seed, new: Seed, scores: Scores, rule: Rule, figure: str) -> Verdict:
    declared, unit = scores.declared, scores.unit
    values = {"unit": declared.unit, "before": old.value, "now": new.value, "effect": new.value - old.value}
    if not declared.per_unit:
        if old == new:
            return rule.verdict("held", figure, "the same figure as before", **values)
        text = f"cannot resolve: an interval of {declared.called} needs {LEAST_SEEDS} seeds"
        return rule.verdict("unresolved", figure, text, **values)
    if not old.correct or old.count != new.count:
        text = f"answers on {old.count} and {new.count} {unit}s cannot be paired"
        return rule.verdict("refused", figure, text, **values)
    change = by_images(old.answers, new.answers, limit=rule.bound, level=rule.level, tolerance=declared.tolerance)
    values |= {"effect": change.effect, "interval": change.interval}
    text = f"{_sensitivity(change, declared)} ({new.count:,} {unit}s, {change.count} differ)"
    return rule.verdict(change.outcome, figure, text, **values)


def _operator(before: Scores, now: Scores, rule: Rule) -> Verdict:
    """The verdict over all seeds. It is unresolved with fewer than LEAST_SEEDS, unless all answers are unchanged."""
    declared = now.declared
    same = rule.compared("", {**before.conditions, **before.training}, {**now.conditions, **now.training})
    if isinstance(same, Verdict):
        return same
    old = {entry.seed: entry.value for entry in before.seeds}
    new = {entry.seed: entry.value for entry in now.seeds}
    means = {"unit": declared.unit, "before": sum(old.values()) / len(old), "now": sum(new.values()) / len(new)}
    means["effect"] = means["now"] - means["before"]  # type: ignore[operator]
    if _by_seed(before) == _by_seed(now) and all(entry.correct or not declared.per_unit for entry in now.seeds):
        text = f"the same answer for every {now.unit}" if declared.per_unit else "the same figures as before"
        return same.verdict("held", "", f"{text}, {len(new)} seeds", **means)
    if min(len(old), len(new)) < LEAST_SEEDS:
        text = (
            f"{len(old)} and {len(new)} seeds: a claim about trained networks needs {LEAST_SEEDS} of each "
            "(--checkpoints compares the weights)"
        )
        return same.verdict("unresolved", "", text, **means)
    change = by_seeds(old, new, limit=rule.bound, level=rule.level, sign=declared.sign, tolerance=declared.tolerance)
    means |= {"effect": change.effect, "interval": change.interval}
    return same.verdict(change.outcome, "", f"{_sensitivity(change, declared)} ({change.count} seeds)", **means)


def _sensitivity(change: Change, figure: Figure) -> str:
    """Such as "detects drops of at least 1.10 points in 80% of cases"."""
    start = "cannot resolve: " if change.outcome == "unresolved" else ""
    noun = "drops" if figure.sign > 0 else "rises"
    unit = "points" if figure.is_fraction else figure.unit
    return f"{start}detects {noun} of at least {figure.number(change.sees)} {unit} in {POWER:.0%} of cases"
