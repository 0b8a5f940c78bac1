"""Results in words: one line a shape while it runs, and the means at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import exp, log
from typing import Any

from drbench_kernels.bench.ways import OURS

Row = dict[str, Any]
SHORT = {"forward": "fwd", "forward+backward": "f+b"}


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive values, at least one."""
    return exp(sum(map(log, values)) / len(values))


def shape_line(rows: Iterable[Row]) -> str:
    """What ours costs over the plain convolution: 'b1 fwd 0.93 f+b 4.10, b32 ...'."""
    parts = []
    for row in rows:
        found = row["ways"].get(OURS, {})
        figure = f"{found['ratio']['median']:.2f}" if "ratio" in found else "failed" if "failed" in found else "-"
        parts.append(f"b{row['batch']} {SHORT[row['pass']]} {figure}")
    return ", ".join(parts)


def means(rows: Sequence[Row]) -> Iterator[str]:
    """Lines of a table: the geometric mean over the shapes of every way's ratio, by batch and pass."""
    columns = list(dict.fromkeys((row["batch"], row["pass"]) for row in rows))
    ways = list(dict.fromkeys(name for row in rows for name, found in row["ways"].items() if "ratio" in found))
    if not ways:
        return
    yield "geometric mean of the ratio to the plain convolution (of how many shapes)"
    yield f"{'':22}" + "".join(f"{f'b{batch} {SHORT[name]}':>16}" for batch, name in columns)
    for way in [*ways, "limit"]:
        cells = []
        for batch, name in columns:
            found = [row for row in rows if (row["batch"], row["pass"]) == (batch, name)]
            values = [value for row in found if (value := _value(row, way)) is not None]
            cells.append(f"{geometric_mean(values):.2f} ({len(values)})" if values else "-")
        yield f"{way:22}" + "".join(f"{cell:>16}" for cell in cells)


def _value(row: Row, way: str) -> float | None:
    if way == "limit":
        ratio: float | None = row["limit"]["ratio"]
        return ratio
    found = row["ways"].get(way, {}).get("ratio")
    return None if found is None else float(found["median"])
