"""Results of `drbench_kernels.bench`, as in its JSON document -> Records, one per shape and way.

A Record has, for each batch and pass (`part`: "forward" or "forward+backward"), the measurements

    latency       s      with the raw samples
    op_ratio      ratio  to the plain convolution, or to nn.Conv2d; the samples are ratios of pairs
    extra_memory  bytes  peak memory of a call in addition to its inputs
    limit         s      lower bound of the time of the region convolution
    limit_ratio   ratio  of that limit to the plain convolution's time
                         (both limits are in the record of "region_conv2d" only)

and a note for each case that was skipped. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from drbench import protocol_versions
from drbench.identity import digest, label, variant_hash
from drbench.records import OPS, Measurement, Record, Variant
from drbench.statistics.samples import paired_ratios
from drbench.text import printable

OURS = "region_conv2d"
WITHOUT_REGIONS = ("conv", "nn.Conv2d", "bmm")
WITH_EXPERTS = ("expert_region_conv2d", "DRConv2d")
_ELSEWHERE = ("shapes", "ways")
"""Settings of what is measured, not of how."""

Table = Mapping[str, Any]


def how(settings: Table) -> dict[str, Any]:
    """The settings that a figure depends on, whichever shapes and ways the run has."""
    return {key: value for key, value in settings.items() if key not in _ELSEWHERE}


def variant(shape: Table, way: str, settings: Table) -> Variant:
    """The Variant of a way to compute a layer of this shape."""
    arguments = {} if way in WITHOUT_REGIONS else {"regions": settings["regions"]}
    if way in WITH_EXPERTS:
        arguments["experts"] = settings["experts"]
    return Variant(
        architecture=shape["name"],
        operator=way,
        operator_args=arguments,
        where=(),
        input_shape=(shape["channels"], shape["height"], shape["width"]),
        num_classes=0,
        architecture_args={key: shape[key] for key in ("outputs", "kernel", "stride")},
    )


def key(layer: Variant, settings: Table) -> str:
    """The work key of one way to compute one shape, with all batches and passes."""
    return digest([OPS, variant_hash(layer), how(settings)])


def records(settings: Table, sessions: Sequence[Table], rows: Sequence[Table]) -> list[Record]:
    """A Record for each way, in the order of the ways, from all results of one shape."""
    return [_record(settings, sessions, rows, way) for way in settings["ways"]]


def _record(settings: Table, sessions: Sequence[Table], rows: Sequence[Table], way: str) -> Record:
    shape = rows[0]["shape"]
    session = sessions[rows[0]["session"]]
    layer = variant(shape, way, settings)
    failed = [f"{_case(row)}: {row['ways'][way]['failed']}" for row in rows if "failed" in row["ways"][way]]
    return Record(
        key=key(layer, settings),
        variant=layer,
        variant_hash=variant_hash(layer),
        label=label(layer),
        stage=OPS,
        status="failed" if failed else "done",
        started=session["started"],
        finished=rows[-1]["finished"],
        error=printable("; ".join(failed), 500),
        settings={
            OPS: how(settings),
            **protocol_versions.of_stage(OPS),
            "networks": list(shape["networks"]),
            "kernels": session["code"]["kernels"],
            "clock": session["clock"],
            "rates": session["rates"],
        },
        measurements=tuple(measurement for row in rows for measurement in _measurements(settings, row, way)),
        notes=tuple(
            f"{_case(row)}: skipped: {row['ways'][way]['skipped']}" for row in rows if "skipped" in row["ways"][way]
        ),
    )


def _case(row: Table) -> str:
    return f"batch {row['batch']} {row['pass']}"


def _measurements(settings: Table, row: Table, way: str) -> Iterator[Measurement]:
    result, part = row["ways"][way], row["pass"]
    context = {
        "batch_size": row["batch"],
        **{name: settings[name] for name in ("threads", "dtype", "device", "memory_format")},
        "pass": part,
        "path": result.get("path", ""),
        "regions_present": row["regions_present"],
    }
    if "samples" in result:
        samples = tuple(result["samples"])
        yield Measurement(
            "latency", median(samples), "s", "lower", part, samples, {**context, "calls": result["calls"]}
        )
        if "ratio" in result:
            base = tuple(row["ways"][result["ratio"]["to"]]["samples"])
            pairs = min(len(samples), len(base))  # a slow way has fewer rounds than its reference
            ratios = paired_ratios(samples[:pairs], base[:pairs])
            ratio_context = {**context, "to": result["ratio"]["to"]}
            yield Measurement("op_ratio", median(ratios), "ratio", "lower", part, ratios, ratio_context)
        yield Measurement("extra_memory", result["extra_bytes"], "bytes", "lower", part, (), context)
    if way == OURS:
        limit = row["limit"]
        bound_context = {**context, **{name: limit[name] for name in ("multiply_adds", "bytes", "bound")}}
        yield Measurement("limit", limit["seconds"], "s", "none", part, (), bound_context)
        if limit["ratio"] is not None:
            yield Measurement("limit_ratio", limit["ratio"], "ratio", "none", part, (), context)
