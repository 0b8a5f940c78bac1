"""top-1: of given weights by the images, of trained networks by the seeds (see `drops`)."""

from __future__ import annotations

from collections.abc import Iterator

from drbench.check.drops import LEAST_SEEDS, POWER, Change, by_images, by_seeds
from drbench.check.facts import Accuracy, Seed
from drbench.check.rules import Rule
from drbench.check.verdicts import Verdict


def judge(before: Accuracy, now: Accuracy, rule: Rule) -> Iterator[Verdict]:
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
        yield _checkpoints(before.seeds[0], now.seeds[0], same, "")
        return
    for seed in [*old, *(seed for seed in new if seed not in old)]:
        figure = "" if seed is None else f"seed {seed}"
        if seed not in new:
            yield same.verdict("vanished", figure, "these weights are no longer there", before=old[seed].top1)
        elif seed not in old:
            yield same.verdict("new", figure, "these weights were not there before", now=new[seed].top1)
        else:
            yield _checkpoints(old[seed], new[seed], same, figure)


def _by_seed(found: Accuracy) -> dict[int | None, Seed]:
    return {one.seed: one for one in found.seeds}


def _checkpoints(old: Seed, new: Seed, rule: Rule, figure: str) -> Verdict:
    about = {"unit": "fraction", "before": old.top1, "now": new.top1, "effect": new.top1 - old.top1}
    if not old.correct or old.images != new.images:
        text = f"right and wrong of {new.images} images beside {old.images}: these cannot be paired"
        return rule.verdict("refused", figure, text, **about)
    found = by_images(old.answers, new.answers, limit=rule.bound, level=rule.level)
    about |= {"effect": found.effect, "interval": found.interval}
    return rule.verdict(found.outcome, figure, f"{_said(found)} ({new.images:,} images, {found.count} differ)", **about)


def _operator(before: Accuracy, now: Accuracy, rule: Rule) -> Verdict:
    """All seeds together; fewer than LEAST_SEEDS say nothing, unless every image is answered as before."""
    same = rule.compared("", {**before.conditions, **before.training}, {**now.conditions, **now.training})
    if isinstance(same, Verdict):
        return same
    old = {one.seed: one.top1 for one in before.seeds}
    new = {one.seed: one.top1 for one in now.seeds}
    means = {"unit": "fraction", "before": sum(old.values()) / len(old), "now": sum(new.values()) / len(new)}
    means["effect"] = means["now"] - means["before"]  # type: ignore[operator]
    if _by_seed(before) == _by_seed(now) and all(one.correct for one in now.seeds):
        return same.verdict("held", "", f"every image answered as before, {len(new)} seeds", **means)
    if min(len(old), len(new)) < LEAST_SEEDS:
        text = (
            f"{len(new)} and {len(old)} seeds: a claim about trained networks needs {LEAST_SEEDS} of each "
            "(--checkpoints judges just these weights)"
        )
        return same.verdict("unresolved", "", text, **means)
    found = by_seeds(old, new, limit=rule.bound, level=rule.level)
    means |= {"effect": found.effect, "interval": found.interval}
    return same.verdict(found.outcome, "", f"{_said(found)} ({found.count} seeds)", **means)


def _said(found: Change) -> str:
    """ "shows drops from 1.10 points on in 80% of cases" """
    start = "cannot resolve: " if found.outcome == "unresolved" else ""
    return f"{start}shows drops from {100 * found.sees:.2f} points on in {POWER:.0%} of cases"
