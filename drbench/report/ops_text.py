"""Tables of the operator benchmark as text: one per batch and pass, with shapes as rows and ways as columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

from drbench.report.layout import Cells
from drbench.report.ops import OURS, REFERENCES, Case, Figures, Mean, OpsTable, Shape, mean

SHORT = {OURS: "ours", "expert_region_conv2d": "experts"}
ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
MEANINGS = (
    "figures are times divided by that of conv, paired round by round in one process, median [quartiles]; DRConv2d's "
    "is divided by nn.Conv2d's; the last row has geometric means (and the number of shapes)",
    "ours: region_conv2d with given filters, packing included; experts: expert_region_conv2d with a bank of K experts; "
    "sort-gemm: positions sorted, one GEMM per region; all-and-pick: all filters at every position, then a selection; "
    "bmm: one filter per sample, no regions",
    "limit: the larger of multiply-adds divided by the rate of a GEMM and bytes divided by that of a copy, divided by "
    "conv's time; share: the limit divided by the time of ours",
    "extra: peak memory of a call of ours in addition to its inputs, output and gradients included, MiB; and divided "
    "by the bytes of filters and output together (last row: the largest)",
    "skipped cases are excluded from the means, so means over different numbers of shapes are not comparable",
)
Text = Callable[[Shape], str]


def title(table: OpsTable) -> list[str]:
    """Lines above the tables of a run: its settings, machine and rates."""
    s, run, machine = table.settings, table.run, table.run.machine
    device = f"{machine.gpu or s['device']}" if s["device"] != "cpu" else f"cpu, {s['threads']} threads"
    graphs = ", CUDA graphs" if s["graph"] else ""
    flushed = ", L2 flushed" if s["flush_l2"] else ""
    copies = [rate / 1e9 for rate in table.rates["copy_bytes_per_second"].values()]
    state = "" if run.status == "done" else f" ({run.status})"
    return [
        f"operators, run {run.id}{state}: {s['dtype']} on {device}, {s['memory_format']}, {s['masks']} masks, "
        f"m={s['regions']}, K={s['experts']}",
        f"machine: {machine.hostname}, {machine.cpu} {machine.cpu_capability}, torch {machine.torch}; "
        f"drbench {run.code.drbench}, kernels {table.kernels}",
        f"GEMM {table.rates['gemm_multiply_adds_per_second'] / 1e9:,.0f} G multiply-adds/s, copy {min(copies):,.0f} to "
        f"{max(copies):,.0f} GB/s by size; times by {table.clock}{graphs}{flushed}",
    ]


def heading(case: Case) -> str:
    """The heading of the table of one batch and pass."""
    return f"batch {case[0]}, {case[1]}"


def cells(table: OpsTable, case: Case, *, all_quartiles: bool) -> tuple[Cells, list[Cells]]:
    """The first column and the other columns of the table of one batch and pass. The last row has the means.

    `all_quartiles`: whether all ratios have quartiles, or only those of `region_conv2d` and the layer.
    """
    shapes = table.shapes
    first = Cells(("shape", ""), (*(shape.name for shape in shapes), "geometric mean"), left=True)
    columns = [_column("conv ms", shapes, lambda shape: _milliseconds(_at(shape, "conv", case)))]
    for way in table.ways:
        if way not in REFERENCES:
            quartiles = all_quartiles or way not in ("bmm", "all-and-pick", "sort-gemm", "expert_region_conv2d")
            columns.append(_ratios(way, shapes, case, quartiles))
    if OURS in table.ways:
        columns += _limit_and_memory(table, case)
    return first, [column for column in columns if any(text not in ("", "-") for text in column.cells)]


def _limit_and_memory(table: OpsTable, case: Case) -> list[Cells]:
    shapes = table.shapes
    figures = [_at(shape, OURS, case) for shape in shapes]
    sizes = [_filters_and_output(table, shape, case) for shape in shapes]
    extra = [
        None if own is None or own.extra_memory is None else own.extra_memory / size
        for own, size in zip(figures, sizes, strict=True)
    ]
    largest = max((value for value in extra if value is not None), default=None)
    return [
        _numbers("limit", [None if own is None else own.limit_ratio for own in figures]),
        _numbers("share", [None if own is None else own.share for own in figures]),
        _column("extra MiB", shapes, lambda shape: _mebibytes(_at(shape, OURS, case))),
        Cells(("extra/(f+o)", ""), (*(_two(value) for value in extra), _two(largest)), heading(case)),
        _column("path", shapes, lambda shape: _path(_at(shape, OURS, case)), left=True),
    ]


def notes(table: OpsTable) -> Iterator[str]:
    """Lines below the tables of a run: skipped and failed cases with reasons, and other runs."""
    skipped: Counter[tuple[str, str]] = Counter()
    for note in chain.from_iterable(shape.notes for shape in table.shapes):
        match = re.fullmatch(r"(.+?): (?:batch .+?): skipped: (over memory|over time)?.*", note)
        if match and match[2]:
            skipped[match[1], match[2]] += 1
    for (label, reason), count in skipped.items():
        yield f"{label}: {count} case{'' if count == 1 else 's'} skipped, {reason}"
    others: dict[str, int] = {}
    for shape in table.shapes:
        for note in shape.notes:
            if "skipped: over " not in note:
                others.setdefault(note, 0)
                others[note] += 1
    for note, count in others.items():
        yield note + (f" ({count} shapes)" if count > 1 else "")
    if table.others:
        yield f"{len(table.others)} more runs with the same settings on the same machine: {', '.join(table.others)}"


def _at(shape: Shape, way: str, case: Case) -> Figures | None:
    return shape.ways.get(way, {}).get(case)


def _filters_and_output(table: OpsTable, shape: Shape, case: Case) -> int:
    channels, outputs, height, width, kernel, stride = shape.size
    positions = -(-height // stride) * -(-width // stride)
    regions: int = table.settings["regions"]
    elements = regions * outputs * channels * kernel**2 + outputs * positions
    return case[0] * elements * ITEM_BYTES[table.settings["dtype"]]


def _column(name: str, shapes: Sequence[Shape], text: Text, *, left: bool = False) -> Cells:
    return Cells((name, ""), (*map(text, shapes), ""), name, left)


def _ratios(way: str, shapes: Sequence[Shape], case: Case, quartiles: bool) -> Cells:
    figures = [_at(shape, way, case) for shape in shapes]
    texts = [_ratio(entry, quartiles) for entry in figures]
    return Cells(
        (SHORT.get(way, way), ""), (*texts, _mean(mean(entry.ratio for entry in figures if entry is not None))), way
    )


def _numbers(name: str, values: Sequence[float | None]) -> Cells:
    return Cells((name, ""), (*map(_two, values), _mean(mean(values))), name)


def _ratio(figures: Figures | None, quartiles: bool) -> str:
    if figures is None or figures.ratio is None:
        return "-"
    text = _two(figures.ratio)
    return f"{text} [{_two(figures.ratio_p25)} {_two(figures.ratio_p75)}]" if quartiles else text


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _mean(value: Mean | None) -> str:
    return "-" if value is None else f"{_two(value.value)} ({value.count})"


def _milliseconds(figures: Figures | None) -> str:
    if figures is None:
        return "-"
    shown = figures.latency * 1e3
    return f"{shown:.1f}" if shown >= 100 else f"{shown:.2f}" if shown >= 1 else f"{shown:.3f}"


def _mebibytes(figures: Figures | None) -> str:
    return "-" if figures is None or figures.extra_memory is None else f"{figures.extra_memory / 2**20:.2f}"


def _path(figures: Figures | None) -> str:
    return "" if figures is None else figures.path
