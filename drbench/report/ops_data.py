"""The operator benchmark as data: raw figures in seconds, bytes and ratios, under documented names.

One row per shape, way, batch and pass, and one per geometric mean over the shapes of a run (kind "op-mean").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drbench.report.model import Value
from drbench.report.ops import REFERENCES, Figures, OpsTable, Shape, mean

FIELDS = {
    "op_run": "id of the run of all figures in the table",
    "op_device": "cpu or cuda",
    "op_dtype": "dtype of input, filters and output",
    "op_threads": "CPU threads",
    "op_memory_format": "channels_last or contiguous",
    "op_masks": "kind of region maps: smooth, scattered or constant",
    "op_graph": "whether CUDA graphs were timed",
    "op_kernels": "digest of the sources of drbench_kernels",
    "op_channels": "input channels",
    "op_outputs": "output channels",
    "op_height": "height of the input",
    "op_width": "width of the input",
    "op_kernel": "side of the kernel",
    "op_stride": "stride of the layer",
    "op_batch_size": "samples per call",
    "op_pass": "forward (inference), or forward+backward (gradients of all arguments)",
    "op_latency": "seconds per call, median of the samples",
    "op_latency_p25": "25% quantile of the samples",
    "op_latency_p75": "75% quantile of the samples",
    "op_samples": "number of samples",
    "op_ratio": "latency divided by that of op_ratio_to, paired round by round, median; for op-mean the geometric mean",
    "op_ratio_p25": "25% quantile of the ratios",
    "op_ratio_p75": "75% quantile of the ratios",
    "op_ratio_to": "the reference of the ratio: conv or nn.Conv2d",
    "op_shapes": "for op-mean: the number of shapes",
    "op_limit": "seconds: the larger of multiply-adds divided by the rate of a GEMM, and bytes by that of a copy",
    "op_limit_ratio": "the limit divided by conv's latency",
    "op_limit_share": "the limit divided by the latency of region_conv2d",
    "op_extra_memory": "peak memory of a call in addition to its inputs, output and gradients included, bytes",
    "op_path": "the code path that ran",
    "op_regions_present": "number of regions that have positions, mean over the samples",
}
"""Name -> meaning."""


def rows(table: OpsTable) -> Iterator[dict[str, Value]]:
    """All rows of a table: by shape, then the means."""
    for shape in table.shapes:
        for case in table.cases:
            for way in table.ways:
                figures = shape.ways.get(way, {}).get(case)
                if figures is not None:
                    yield {**_identity("op", shape.name, way), **_shape(shape), **_case(case), **_figures(figures)}
    for case in table.cases:
        for way in table.ways:
            if way not in REFERENCES:
                present = [entry for shape in table.shapes if (entry := shape.ways.get(way, {}).get(case)) is not None]
                ratio = mean(entry.ratio for entry in present)
                if ratio is not None:
                    to = present[0].ratio_to
                    means: dict[str, Value] = {"op_ratio": ratio.value, "op_ratio_to": to, "op_shapes": ratio.count}
                    limits = {
                        "op_limit_ratio": mean(entry.limit_ratio for entry in present),
                        "op_limit_share": mean(entry.share for entry in present),
                    }
                    means |= {name: value.value for name, value in limits.items() if value is not None}
                    yield {**_identity("op-mean", "", way), **_case(case), **means}


def conditions(table: OpsTable) -> dict[str, Value]:
    """The values that all rows of a table have in common."""
    s, machine = table.settings, table.run.machine
    where = [machine.hostname, machine.cpu, machine.gpu, f"torch {machine.torch}"]
    return {
        "suite": table.run.suite,
        "machine": ", ".join(part for part in where if part),
        "drbench": table.run.code.drbench,
        "op_run": table.run.id,
        **{f"op_{name}": s[name] for name in ("device", "dtype", "threads", "memory_format", "masks", "graph")},
        "op_kernels": table.kernels,
    }


def as_table(table: OpsTable) -> dict[str, Any]:
    """The table for json: conditions, rates, and rows without the common values."""
    notes = [f"{shape.name} {note}" for shape in table.shapes for note in shape.notes]
    return {
        **conditions(table),
        "status": table.run.status,
        "command": table.run.command,
        "settings": dict(table.settings),
        "rates": dict(table.rates),
        "clock": table.clock,
        "others": list(table.others),
        "notes": notes,
        "rows": list(rows(table)),
    }


def _identity(kind: str, shape: str, way: str) -> dict[str, Value]:
    return {"kind": kind, "architecture": shape, "label": way}


def _case(case: tuple[int, str]) -> dict[str, Value]:
    return {"op_batch_size": case[0], "op_pass": case[1]}


def _shape(shape: Shape) -> dict[str, Value]:
    names = ("op_channels", "op_outputs", "op_height", "op_width", "op_kernel", "op_stride")
    return dict(zip(names, shape.size, strict=True))


def _figures(figures: Figures) -> dict[str, Value]:
    values: dict[str, Value] = {
        "op_latency": figures.latency,
        "op_latency_p25": figures.latency_p25,
        "op_latency_p75": figures.latency_p75,
        "op_samples": figures.samples,
        "op_ratio": figures.ratio,
        "op_ratio_p25": figures.ratio_p25,
        "op_ratio_p75": figures.ratio_p75,
        "op_ratio_to": figures.ratio_to or None,
        "op_limit": figures.limit,
        "op_limit_ratio": figures.limit_ratio,
        "op_limit_share": figures.share,
        "op_extra_memory": figures.extra_memory,
        "op_path": figures.path or None,
        "op_regions_present": figures.regions_present,
    }
    return {name: value for name, value in values.items() if value is not None}
