"""Tables of the operator benchmark for people: for each batch and pass, shapes as rows, ways as columns, then means."""

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
    "figures are times over that of conv, paired round by round in one process, median [quartiles]; DRConv2d's is over "
    "nn.Conv2d's; the last row is their geometric mean (over so many shapes)",
    "ours: region_conv2d, its filters given, packing included; experts: expert_region_conv2d, from a bank of K; "
    "sort-gemm: positions sorted, a GEMM a region; all-and-pick: every filter at every position, then one of them; "
    "bmm: one filter a sample, no regions",
    "limit: the larger of multiply-adds over the rate of a GEMM and bytes over that of a copy, over conv's time; "
    "share: the limit over the time of ours",
    "extra: the most memory that a call of ours holds beside its inputs, output and gradients included, MiB; and over "
    "the bytes of filters and output together (last row: the largest)",
    "skipped cases are left out of the means, so means over unlike numbers of shapes are not comparable",
)
Text = Callable[[Shape], str]


def title(table: OpsTable) -> list[str]:
    """Lines above: what was run, on which machine, with which rates."""
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
    """What one of its tables is of."""
    return f"batch {case[0]}, {case[1]}"


def cells(table: OpsTable, case: Case, *, all_quartiles: bool) -> tuple[Cells, list[Cells]]:
    """(first column, the others) of the table of one batch and pass; the last row holds the means.

    Quartiles stand beside every ratio, or only beside those of ours and of the layer.
    """
    shapes = table.shapes
    first = Cells(("shape", ""), (*(shape.name for shape in shapes), "geometric mean"), left=True)
    columns = [_column("conv ms", shapes, lambda shape: _milliseconds(_at(shape, "conv", case)))]
    for way in table.ways:
        if way not in REFERENCES:
            quartiles = all_quartiles or way not in ("bmm", "all-and-pick", "sort-gemm", "expert_region_conv2d")
            columns.append(_ratios(way, shapes, case, quartiles))
    if OURS in table.ways:
        columns += _about_ours(table, case)
    return first, [column for column in columns if any(text not in ("", "-") for text in column.cells)]


def _about_ours(table: OpsTable, case: Case) -> list[Cells]:
    shapes = table.shapes
    ours = [_at(shape, OURS, case) for shape in shapes]
    allowed = [_filters_and_output(table, shape, case) for shape in shapes]
    extra = [
        None if one is None or one.extra_memory is None else one.extra_memory / bytes_
        for one, bytes_ in zip(ours, allowed, strict=True)
    ]
    largest = max((value for value in extra if value is not None), default=None)
    return [
        _numbers("limit", [None if one is None else one.limit_ratio for one in ours]),
        _numbers("share", [None if one is None else one.share for one in ours]),
        _column("extra MiB", shapes, lambda shape: _mebibytes(_at(shape, OURS, case))),
        Cells(("extra/(f+o)", ""), (*(_two(value) for value in extra), _two(largest)), heading(case)),
        _column("path", shapes, lambda shape: _path(_at(shape, OURS, case)), left=True),
    ]


def notes(table: OpsTable) -> Iterator[str]:
    """Lines below: what was skipped and why, what failed, which other runs there are."""
    skipped: Counter[tuple[str, str]] = Counter()
    for note in chain.from_iterable(shape.notes for shape in table.shapes):
        found = re.fullmatch(r"(.+?): (?:batch .+?): skipped: (over memory|over time)?.*", note)
        if found and found[2]:
            skipped[found[1], found[2]] += 1
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
        yield f"{len(table.others)} more with the same settings on the same machine: {', '.join(table.others)}"


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
    found = [_at(shape, way, case) for shape in shapes]
    texts = [_ratio(one, quartiles) for one in found]
    return Cells((SHORT.get(way, way), ""), (*texts, _mean(mean(one.ratio for one in found if one is not None))), way)


def _numbers(name: str, values: Sequence[float | None]) -> Cells:
    return Cells((name, ""), (*map(_two, values), _mean(mean(values))), name)


def _ratio(figures: Figures | None, quartiles: bool) -> str:
    if figures is None or figures.ratio is None:
        return "-"
    text = _two(figures.ratio)
    return f"{text} [{_two(figures.ratio_p25)} {_two(figures.ratio_p75)}]" if quartiles else text


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _mean(found: Mean | None) -> str:
    return "-" if found is None else f"{_two(found.value)} ({found.count})"


def _milliseconds(figures: Figures | None) -> str:
    if figures is None:
        return "-"
    shown = figures.latency * 1e3
    return f"{shown:.1f}" if shown >= 100 else f"{shown:.2f}" if shown >= 1 else f"{shown:.3f}"


def _mebibytes(figures: Figures | None) -> str:
    return "-" if figures is None or figures.extra_memory is None else f"{figures.extra_memory / 2**20:.2f}"


def _path(figures: Figures | None) -> str:
    return "" if figures is None else figures.path
