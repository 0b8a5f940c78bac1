"""`drbench models`: list the networks, or print the cost of one layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from drbench import catalog
from drbench.cli import options as o
from drbench.cli.output import say, write
from drbench.text import to_json

if TYPE_CHECKING:
    from drbench.measure.cost import Cost
    from drbench.records import Variant

app = typer.Typer(no_args_is_help=True, help="List networks, or print what one costs.")


@app.command("list")
def list_(as_json: o.Json = False) -> None:
    """List networks, recipes and operators."""
    from drbench.cli.tables import show, table

    if as_json:
        names = {
            "models": list(catalog.MODELS),
            "recipes": list(catalog.RECIPES),
            "operators": ["conv", *catalog.OPERATORS],
        }
        write(to_json(names))
        return
    rows = [(name, one.family, one.width, one.stem_stride) for name, one in catalog.MODELS.items()]
    show(table("Models", ("model", "family", "width", "stem stride"), rows, 2))
    show(table("Recipes (--where)", ("recipe", "what it replaces"), list(catalog.RECIPES.items()), 2))
    say(f"Operators (--operator): {', '.join(['conv', *catalog.OPERATORS])}")


@app.command("show")
@o.overriding(*o.OF_NETWORK)
def show_(
    name: Annotated[str, typer.Argument(help="A model, or package.module:callable.")],
    given: dict[str, Any],
    as_json: o.Json = False,
) -> None:
    """Print the cost of a network layer by layer: plain, or converted with --regions or --operator."""
    from drbench import models
    from drbench.experiment import check
    from drbench.measure import cost
    from drbench.names import is_import
    from drbench.records import Experiment
    from drbench.suite.plan import variants
    from drbench.suite.read import of_model

    num_classes = given["num_classes"]
    known = _standard(name)
    shape = given["input"] or ",".join(map(str, known.input_shape))
    given = {**given, "input": shape, "num_classes": num_classes or known.outputs}
    suite = of_model(name, o.as_overrides(given), stages=["cost"])
    rows = variants(suite)[name]
    chosen = rows[1:] or rows
    check([Experiment("cost", (variant,)) for variant, _ in chosen])
    found = []
    for variant, label in chosen:
        model = models.build(variant, seed=0)
        if num_classes is not None and is_import(name):
            models.check_output(model, variant)
        conversion: Any = getattr(model, "conversion", None)
        notes = conversion.notes() if conversion else ()
        found.append((variant, label, cost.count(model, variant.input_shape), notes))
    if as_json:
        tables = [_as_json(*one) for one in found]
        write(to_json(tables[0] if len(tables) == 1 else tables))
        return
    for one in found:
        _print(*one)


def _standard(name: str) -> catalog.Model:
    """What is known of a network; of a user's own, what holds for most."""
    return catalog.MODELS.get(name) or catalog.Model(name, name, 1.0)


def _beside(variant: Variant, found: Cost) -> list[dict[str, Any]]:
    """Published rows of the same network, with how far ours is from them."""
    from drbench.published import deviates, deviation, published

    rows = []
    for row in published(variant.architecture):
        comparable = row.operator == variant.operator and variant.input_shape == (3, row.input_px, row.input_px)
        if (
            not comparable
            or variant.num_classes != catalog.MODELS[variant.architecture].outputs
            or not (row.madds_m or row.params_m)
        ):
            continue
        madds = None if found.madds is None else deviation(found.madds / 1e6, row.madds_m)
        params = deviation(found.params / 1e6, row.params_m)
        off = deviates((found.madds or 0) / 1e6, row.madds_m) or deviates(found.params / 1e6, row.params_m)
        rows.append({**asdict(row), "madds_deviation": madds, "params_deviation": params, "over_2_percent": off})
    return rows


def _as_json(variant: Variant, label: str, found: Cost, notes: Sequence[str]) -> dict[str, Any]:
    table = {"variant": asdict(variant), "label": label, **asdict(found), "notes": list(notes)}
    return {**table, "published": _beside(variant, found)}


def _print(variant: Variant, label: str, found: Cost, notes: Sequence[str]) -> None:
    from drbench.cli.tables import millions, show, table

    shape = "x".join(map(str, variant.input_shape))
    layers = [
        (
            layer.name,
            layer.kind,
            "x".join(map(str, layer.output_shape[1:])),
            "not declared" if layer.madds is None else f"{layer.madds:,}",
            f"{layer.executed:,}",
            f"{layer.params:,}",
        )
        for layer in found.layers
        if layer.executed
    ]
    still = [layer for layer in found.layers if not layer.executed]
    if still:
        layers.append((f"{len(still)} without multiply-adds", "", "", "0", "0", f"{sum(x.params for x in still):,}"))
    noun = "classes" if catalog.Model.outputs == _standard(variant.architecture).outputs else "outputs"
    title = f"{variant.architecture} {label} at {shape}, {variant.num_classes} {noun}"
    show(table(title, ("layer", "kind", "output", "multiply-adds", "executed", "params"), layers, 3))
    for part, value in sorted(found.parts.items()):
        say(f"{part:>16}  {millions(value):>10} M multiply-adds")
    total = "convention not declared" if found.madds is None else f"{millions(found.madds)} M"
    say(f"{'multiply-adds':>16}  {total:>10}")
    say(f"{'executed':>16}  {millions(found.executed):>10} M")
    say(f"{'parameters':>16}  {millions(found.params):>10} M")
    say(f"{'activations':>16}  {millions(found.activations):>10} M")
    for name in found.uncounted:
        say(f"not counted: {name}")
    if found.data_dependent:
        say("the cost depends on the images: others may cost more or less")
    for note in notes:
        say(f"note: {note}")
    for row in _beside(variant, found):
        figures = [
            f"{row[key]} M {word} ({100 * row[off]:+.1f}%)"
            for key, off, word in (
                ("madds_m", "madds_deviation", "multiply-adds"),
                ("params_m", "params_deviation", "parameters"),
            )
            if row[key] is not None and row[off] is not None
        ]
        flag = "  over 2%: see docs/published.md" if row["over_2_percent"] else ""
        say(f"published: {', '.join(figures)} [{row['source']}]{flag}")
