"""A chart of one run of the operator benchmark: ratio to the plain convolution against shape, as SVG.

    python benchmarks/chart.py results.json chart.svg [--batch 32] [--pass forward]

results.json is a file of `python -m drbench_kernels.bench --json`. Shapes are in the order of the file, large maps
first; the ratio is on a logarithmic axis, each way has a mark of its own and the limit is a line. Readable on light and
on dark backgrounds; the standard library is all it needs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from html import escape
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

Row = dict[str, Any]
WAYS = ("bmm", "all-and-pick", "sort-gemm", "region_conv2d", "expert_region_conv2d", "DRConv2d")
# Okabe and Ito's colours, told apart by colour-blind readers and seen on white and on near-black; ours is the strongest
COLORS = ("#999999", "#cc79a7", "#e69f00", "#d55e00", "#009e73", "#0072b2")
DARK_COLORS = ("#aaaaaa", "#e39ac4", "#f0b840", "#ff7f2a", "#2fc99c", "#56b4e9")
NAMES = {
    "bmm": "one filter a sample (bmm)",
    "all-and-pick": "all filters, then pick",
    "sort-gemm": "sort + GEMM",
    "region_conv2d": "region_conv2d (ours)",
    "expert_region_conv2d": "expert_region_conv2d (ours)",
    "DRConv2d": "DRConv2d over nn.Conv2d",
}
LEFT, RIGHT, TOP, BOTTOM, STEP, HEIGHT = 62, 16, 96, 128, 21, 330
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f; } .title { font-size: 15px; font-weight: 600; }
.minor { font-size: 10.5px; } .grid { stroke: #24292f; stroke-opacity: .15; }
.one { stroke: #24292f; stroke-opacity: .7; }
.limit { stroke: #24292f; stroke-width: 1.6; stroke-dasharray: 4 3; fill: none; } .bar { stroke-opacity: .55; }
"""
DARK = "text { fill: #e6edf3; } .grid, .one, .limit { stroke: #e6edf3; }"


def mark(way: str, x: float, y: float) -> str:
    """Each way's own form, so that colour is not all that tells them apart."""
    forms: dict[str, Callable[[], str]] = {
        "bmm": lambda: f"M{x - 4},{y}h8M{x},{y - 4}v8",
        "all-and-pick": lambda: f"M{x - 3.5},{y - 3.5}l7,7m0,-7l-7,7",
        "sort-gemm": lambda: f"M{x - 4},{y + 3.5}h8l-4,-7.5z",
        "region_conv2d": lambda: f"M{x - 4.5},{y}a4.5,4.5 0 1 0 9,0a4.5,4.5 0 1 0 -9,0z",
        "expert_region_conv2d": lambda: f"M{x - 4},{y - 4}h8v8h-8z",
        "DRConv2d": lambda: f"M{x - 4.5},{y}l4.5,-4.5l4.5,4.5l-4.5,4.5z",
    }
    return forms[way]()


def chart(document: dict[str, Any], batch: int, name: str) -> str:
    """The SVG of one batch and pass. ValueError where the document has no such results."""
    rows = [row for row in document["results"] if row["batch"] == batch and row["pass"] == name]
    ways = [way for way in WAYS if any("ratio" in row["ways"].get(way, {}) for row in rows)]
    if not ways:
        raise ValueError(f"no results for batch {batch}, {name}")
    values = [
        row["ways"][way]["ratio"]["median"] for row in rows for way in ways if "ratio" in row["ways"].get(way, {})
    ]
    values += [row["limit"]["ratio"] for row in rows if row["limit"]["ratio"]]
    low, high = floor(log10(min(*values, 0.5)) * 3) / 3, ceil(log10(max(*values, 2)) * 3) / 3
    width = LEFT + STEP * len(rows) + RIGHT
    width = max(width, 760)
    step = (width - LEFT - RIGHT) / len(rows)

    def x(number: float) -> float:
        return round(LEFT + step * (number + 0.5), 1)

    def y(ratio: float) -> float:
        return round(TOP + HEIGHT * (high - log10(ratio)) / (high - low), 1)

    parts = [*_frame(document, rows[0], width), *_axes(low, high, y, width), *_legend(ways, width)]
    for number, row in enumerate(rows):
        parts.append(_shape(row["shape"]["name"], x(number)))
        for index, way in enumerate(ways):
            found = row["ways"].get(way, {}).get("ratio")
            if found:
                at = x(number) + (index - (len(ways) - 1) / 2) * min(2.2, step / 10)
                spread = f"{found['median']:.2f} [{found['p25']:.2f} {found['p75']:.2f}]"
                title = f"{row['shape']['name']}: {NAMES[way]} {spread}"
                bar = f'<path class="bar w{WAYS.index(way)}" d="M{at:.1f},{y(found["p25"])}V{y(found["p75"])}"/>'
                form = f'<path class="w{WAYS.index(way)}" d="{mark(way, round(at, 1), y(found["median"]))}">'
                parts.append(f"{bar}{form}<title>{escape(title)}</title></path>")
    line = " ".join(
        f"M{x(n) - step * 0.42:.1f},{y(row['limit']['ratio'])}h{step * 0.84:.1f}"
        for n, row in enumerate(rows)
        if row["limit"]["ratio"]
    )
    parts.append(f'<path class="limit" d="{line}"/>')
    height = TOP + HEIGHT + BOTTOM
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    return "\n".join([svg, f"<style>{_style()}</style>", *parts, "</svg>"]) + "\n"


def _style() -> str:
    def colors(palette: Sequence[str]) -> str:
        filled = ("region_conv2d", "DRConv2d")
        return "".join(
            f".w{n} {{ stroke: {color}; stroke-width: 1.6; fill: {color if way in filled else 'none'}; }} "
            for n, (way, color) in enumerate(zip(WAYS, palette, strict=True))
        )

    return f"{STYLE}{colors(COLORS)}\n@media (prefers-color-scheme: dark) {{ {DARK} {colors(DARK_COLORS)} }}"


def _frame(document: dict[str, Any], row: Row, width: float) -> list[str]:
    settings, session = document["settings"], document["sessions"][row["session"]]
    machine = session["machine"]
    where = machine["gpu"] if settings["device"] != "cpu" else f"{machine['cpu']}, {settings['threads']} threads"
    about = (
        f"{where}, {settings['dtype']}, {settings['memory_format']}, m={settings['regions']}, "
        f"{settings['masks']} masks, torch {machine['torch']}; median and quartiles of paired ratios"
    )
    title = f"Time over the plain convolution: batch {row['batch']}, {row['pass']}"
    return [
        f'<text class="title" x="{LEFT}" y="22">{title}</text>',
        f'<text class="minor" x="{LEFT}" y="40">{escape(about)}</text>',
    ]


def _axes(low: float, high: float, y: Callable[[float], float], width: float) -> list[str]:
    parts = []
    for decade in range(floor(low), ceil(high) + 1):
        for digit in (1, 2, 5):
            ratio = digit * 10.0**decade
            if low - 1e-9 <= log10(ratio) <= high + 1e-9:
                kind = "one" if ratio == 1 else "grid"
                parts.append(f'<path class="{kind}" d="M{LEFT},{y(ratio)}H{width - RIGHT}"/>')
                parts.append(f'<text x="{LEFT - 8}" y="{y(ratio) + 4}" text-anchor="end">{ratio:g}</text>')
    return parts


def _legend(ways: Sequence[str], width: float) -> list[str]:
    parts, left, top = [], float(LEFT), 60.0
    for way in [*ways, "limit"]:
        text = NAMES.get(way, "limit of the machine")
        room = 30 + 7.4 * len(text)
        if left + room > width - RIGHT:
            left, top = float(LEFT), top + 18
        if way == "limit":
            parts.append(f'<path class="limit" d="M{left - 2},{top - 4}h14"/>')
        else:
            parts.append(f'<path class="w{WAYS.index(way)}" d="{mark(way, left + 5, top - 4)}"/>')
        parts.append(f'<text x="{left + 16}" y="{top}">{escape(text)}</text>')
        left += room
    return parts


def _shape(name: str, x: float) -> str:
    place = f'x="{x + 4}" y="{TOP + HEIGHT + 12}" transform="rotate(-60 {x + 4} {TOP + HEIGHT + 12})"'
    return f'<text class="minor" text-anchor="end" {place}>{escape(name.replace("-", "→").replace("→", " ", 1))}</text>'


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("svg", type=Path)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--pass", dest="name", default="forward", choices=("forward", "forward+backward"))
    given = parser.parse_args(argv)
    try:
        document = json.loads(given.results.read_text(encoding="utf-8"))
        batch = given.batch or document["settings"]["batch_sizes"][0]
        given.svg.write_text(chart(document, batch, given.name), encoding="utf-8")
    except (OSError, ValueError, KeyError) as error:
        print(f"chart.py: error: {given.results}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
