"""Costs are exact: every layer has the multiply-adds and parameters that it had, or the first that has not is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drbench.check.facts import Costs, Layer
from drbench.check.rules import Rule
from drbench.check.verdicts import Verdict

FIGURES = {"madds": "multiply-adds", "params": "parameters"}
"""Figure -> its unit."""


def judge(before: Costs, now: Costs, rule: Rule) -> Iterator[Verdict]:
    """A verdict for each of FIGURES."""
    same = rule.compared("", before.conditions, now.conditions)
    if isinstance(same, Verdict):
        yield same
        return
    for figure, unit in FIGURES.items():
        yield _judge(figure, unit, before.layers, now.layers, same)


def _judge(figure: str, unit: str, before: Sequence[Layer], now: Sequence[Layer], rule: Rule) -> Verdict:
    was, found = (sum(_value(layer, figure) for layer in layers) for layers in (before, now))
    about = {
        "unit": unit,
        "before": float(was),
        "now": float(found),
        "effect": found / was if was else None,
    }
    changes = list(_changes(figure, unit, before, now))
    if not changes and found == was:
        renamed = "" if _names(before) == _names(now) else ", some under other names"
        return rule.verdict("held", figure, f"{found:,} {unit} in {len(now)} layers{renamed}", **about)
    layer, text = changes[0] if changes else ("", "layers of one name differ")
    more = f" (and {len(changes) - 1} more layers)" if len(changes) > 1 else ""
    total = "" if found != was else "the same total in other layers: "
    outcome = (
        "improvement" if found < was else "held" if found <= was * (1 + rule.bound) and rule.bound else "regression"
    )
    return rule.verdict(outcome, figure, f"{total}{text}{more}", layer=layer, **about)


def _value(layer: Layer, figure: str) -> int:
    return layer.work if figure == "madds" else layer.params


def _names(layers: Sequence[Layer]) -> list[str]:
    return [layer.layer for layer in layers]


def _changes(figure: str, unit: str, before: Sequence[Layer], now: Sequence[Layer]) -> Iterator[tuple[str, str]]:
    """(layer, what became of it) in the network's order; nothing where layers have only other names."""
    if [(x.kind, _value(x, figure)) for x in before] == [(x.kind, _value(x, figure)) for x in now]:
        return
    old = {layer.layer: layer for layer in before}
    new = {layer.layer: layer for layer in now}
    for name, layer in new.items():
        value = _value(layer, figure)
        if name not in old:
            if value:
                yield name, f"{name} ({layer.kind}) is new, {value:,}"
        elif _value(old[name], figure) != value:
            yield name, f"{name} ({layer.kind}) {_value(old[name], figure):,} -> {value:,}"
    for name, layer in old.items():
        if name not in new and _value(layer, figure):
            yield name, f"{name} ({layer.kind}) is gone, it had {_value(layer, figure):,}"
