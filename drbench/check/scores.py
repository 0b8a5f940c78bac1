"""Figures of a task: of given weights unit by unit, of trained networks seed by seed (see statistics.accuracy)."""

from __future__ import annotations

from collections.abc import Iterator

from drbench.check.facts import Scores, Seed
from drbench.check.rules import Rule
from drbench.check.verdicts import Verdict
from drbench.figures import Figure
from drbench.statistics.accuracy import POWER, Change, by_images, by_seeds
from drbench.statistics.samples import LEAST_SEEDS


def judge(before: Scores, now: Scores, rule: Rule) -> Iterator[Verdict]:
    """Weights that were given, or `rule.checkpoints`: a verdict for each seed. Else one for all seeds."""
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
            yield same.verdict("vanished", figure, "these weights are no longer there", before=old[seed].value)
        elif seed not in old:
            yield same.verdict("new", figure, "these weights were not there before", now=new[seed].value)
        else:
            yield _checkpoints(old[seed], new[seed], now, same, figure)


def _by_seed(found: Scores) -> dict[int | None, Seed]:
    return {one.seed: one for one in found.seeds}


def _checkpoints(old: Seed, new: Seed, scores: Scores, rule: Rule, figure: str) -> Verdict:
    of, unit = scores.declared, scores.unit
    about = {"unit": of.unit, "before": old.value, "now": new.value, "effect": new.value - old.value}
    if not of.per_unit:
        if old == new:
            return rule.verdict("held", figure, "the same figure as before", **about)
        text = f"cannot resolve: one set of weights has no interval of {of.called}; {LEAST_SEEDS} seeds have one"
        return rule.verdict("unresolved", figure, text, **about)
    if not old.correct or old.count != new.count:
        text = f"right and wrong of {new.count} {unit}s beside {old.count}: these cannot be paired"
        return rule.verdict("refused", figure, text, **about)
    found = by_images(old.answers, new.answers, limit=rule.bound, level=rule.level, tolerance=of.tolerance)
    about |= {"effect": found.effect, "interval": found.interval}
    text = f"{_said(found, of)} ({new.count:,} {unit}s, {found.count} differ)"
    return rule.verdict(found.outcome, figure, text, **about)


def _operator(before: Scores, now: Scores, rule: Rule) -> Verdict:
    """All seeds together; fewer than LEAST_SEEDS say nothing, unless all is as it was before."""
    of = now.declared
    same = rule.compared("", {**before.conditions, **before.training}, {**now.conditions, **now.training})
    if isinstance(same, Verdict):
        return same
    old = {one.seed: one.value for one in before.seeds}
    new = {one.seed: one.value for one in now.seeds}
    means = {"unit": of.unit, "before": sum(old.values()) / len(old), "now": sum(new.values()) / len(new)}
    means["effect"] = means["now"] - means["before"]  # type: ignore[operator]
    if _by_seed(before) == _by_seed(now) and all(one.correct or not of.per_unit for one in now.seeds):
        what = f"every {now.unit} answered as before" if of.per_unit else "the same figures as before"
        return same.verdict("held", "", f"{what}, {len(new)} seeds", **means)
    if min(len(old), len(new)) < LEAST_SEEDS:
        text = (
            f"{len(new)} and {len(old)} seeds: a claim about trained networks needs {LEAST_SEEDS} of each "
            "(--checkpoints judges just these weights)"
        )
        return same.verdict("unresolved", "", text, **means)
    found = by_seeds(old, new, limit=rule.bound, level=rule.level, sign=of.sign, tolerance=of.tolerance)
    means |= {"effect": found.effect, "interval": found.interval}
    return same.verdict(found.outcome, "", f"{_said(found, of)} ({found.count} seeds)", **means)


def _said(found: Change, of: Figure) -> str:
    """ "shows drops from 1.10 points on in 80% of cases" """
    start = "cannot resolve: " if found.outcome == "unresolved" else ""
    what = "drops" if of.sign > 0 else "rises"
    unit = "points" if of.is_fraction else of.unit
    return f"{start}shows {what} from {of.number(found.sees)} {unit} on in {POWER:.0%} of cases"
