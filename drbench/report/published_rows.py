"""Published figures, with drbench's counts of the same networks at the published input size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from drbench.catalog import MODELS
from drbench.published import Published, deviation, published
from drbench.report.model import Row, Table, Value


def published_rows(tables: Iterable[Table]) -> tuple[Row, ...]:
    """A row for each published figure of the architectures in `tables` and each variant that it applies to."""
    counted: dict[str, dict[tuple[str, str], Row]] = {}
    for table in tables:
        for row in table.rows:
            architecture = str(row.values["architecture"])
            counted.setdefault(architecture, {})
            if (
                row.kind != "matched"
                and row.values.get("width") is None
                and ("reference_madds" in row.values or "reference_params" in row.values)
            ):
                counted[architecture].setdefault((str(row.values["operator"]), row.label), row)
    return tuple(row for architecture in counted for row in _of(architecture, counted[architecture]))


def _of(architecture: str, counted: dict[tuple[str, str], Row]) -> Iterator[Row]:
    for figure in published(architecture):
        same: list[Row | None] = [row for (operator, _), row in counted.items() if operator == figure.operator]
        for row in same or [None]:
            yield Row("published", architecture, figure.operator, _values(figure, row))


def _values(figure: Published, row: Row | None) -> dict[str, Value]:
    values: dict[str, Value] = {
        "operator": figure.operator,
        "published_madds": None if figure.madds_m is None else figure.madds_m * 1e6,
        "published_params": None if figure.params_m is None else figure.params_m * 1e6,
        "published_top1": None if figure.top1_pct is None else figure.top1_pct / 100,
        "published_data": f"{figure.dataset} {figure.input_px} px",
        "source": figure.source,
        "note": figure.note,
    }
    if row is not None:
        values["counted"] = row.label
        for name in ("madds", "params"):
            value, original = row.values.get(f"reference_{name}"), values[f"published_{name}"]
            # multiply-adds published for another input size are not compared
            comparable = name == "params" or figure.input_px == MODELS[figure.model].input_shape[1]
            if isinstance(value, int | float) and comparable:
                values[f"counted_{name}"] = value
                values[f"{name}_deviation"] = deviation(value, original if isinstance(original, float) else None)
    return {name: value for name, value in values.items() if value not in (None, "")}
