"""Verdicts on costs, which are exact: any layer with other multiply-adds or parameters is a change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from drbench.check.facts import Costs, Layer
from drbench.check.rules import Rule
from drbench.check.verdicts import Verdict

FIGURES = {"madds": "multiply-adds", "params": "parameters"}
"""Figure -> unit."""


def judge(before: Costs, now: Costs, rule: Rule) -> Iterator[Verdict]:
    """One verdict for each of FIGURES. It names the first layer that changed."""
    same = rule.compared("", before.conditions, now.conditions)
    if isinstance(same, Verdict):
        yield same
        return
    for figure, unit in FIGURES.items():
        yield _judge(figure, unit, before.layers, now.layers, same)


def _judge(figure: str, unit: str, before: Sequence[Layer], now: Sequence[Layer], rule: Rule) -> Verdict:
    old, new = (sum(_value(layer, figure) for layer in layers) for layers in (before, now))
    values = {
        "unit": unit,
        "before": float(old),
        "now": float(new),
        "effect": new / old if old else None,
    }
    changes = list(_changes(figure, unit, before, now))
    if not changes and new == old:
        renamed = "" if _names(before) == _names(now) else ", some renamed"
        return rule.verdict("held", figure, f"{new:,} {unit} in {len(now)} layers{renamed}", **values)
    layer, text = changes[0] if changes else ("", "layers with the same name differ")
    more = f" (and {len(changes) - 1} more layers)" if len(changes) > 1 else ""
    total = "" if new != old else "the same total in other layers: "
    outcome = "improvement" if new < old else "held" if new <= old * (1 + rule.bound) and rule.bound else "regression"
    return rule.verdict(outcome, figure, f"{total}{text}{more}", layer=layer, **values)


def _value(layer: Layer, figure: str) -> int:
    return layer.work if figure == "madds" else layer.params


def _names(layers: Sequence[Layer]) -> list[str]:
    return [layer.layer for layer in layers]


def _changes(figure: str, unit: str, before: Sequence[Layer], now: Sequence[Layer]) -> Iterator[tuple[str, str]]:
    """(layer, its change) in the order of the network; nothing if only names of layers changed."""
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
            yield name, f"{name} ({layer.kind}) is missing; it had {_value(layer, figure):,}"
