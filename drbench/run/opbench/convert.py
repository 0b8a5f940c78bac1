"""Results of `drbench_kernels.bench`, as they stand in its JSON document, to Records: one a shape and way.

A Record has, for each batch and pass (`part`: "forward" or "forward+backward"), the measurements

    latency       s      with the raw samples
    op_ratio      ratio  to the plain convolution, or to nn.Conv2d; samples are those of pairs
    extra_memory  bytes  the most that a call holds beside its inputs
    limit         s      of the region convolution; limit_ratio: to the plain convolution's time
                         (both in the record of "region_conv2d" only)

and a note for each case that was skipped. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from drbench.identity import digest, label, variant_hash
from drbench.records import OPS, Measurement, Record, Variant
from drbench.statistics.samples import paired_ratios
from drbench.text import printable

OURS = "region_conv2d"
WITHOUT_REGIONS = ("conv", "nn.Conv2d", "bmm")
WITH_EXPERTS = ("expert_region_conv2d", "DRConv2d")
_ELSEWHERE = ("shapes", "ways")
"""Settings that say what is measured, not how."""

Table = Mapping[str, Any]


def how(settings: Table) -> dict[str, Any]:
    """The settings that a figure depends on, whatever else is measured in the run."""
    return {key: value for key, value in settings.items() if key not in _ELSEWHERE}


def variant(shape: Table, way: str, settings: Table) -> Variant:
    """A way to compute a layer of this shape."""
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


def key(made: Variant, settings: Table) -> str:
    """The name of the work: all batches and passes of one way to compute one shape."""
    return digest([OPS, variant_hash(made), how(settings)])


def records(settings: Table, sessions: Sequence[Table], rows: Sequence[Table]) -> list[Record]:
    """Of all the results of one shape: a Record for each way, in the order of the ways."""
    return [_record(settings, sessions, rows, way) for way in settings["ways"]]


def _record(settings: Table, sessions: Sequence[Table], rows: Sequence[Table], way: str) -> Record:
    shape = rows[0]["shape"]
    session = sessions[rows[0]["session"]]
    made = variant(shape, way, settings)
    failed = [f"{_case(row)}: {row['ways'][way]['failed']}" for row in rows if "failed" in row["ways"][way]]
    return Record(
        key=key(made, settings),
        variant=made,
        variant_hash=variant_hash(made),
        label=label(made),
        stage=OPS,
        status="failed" if failed else "done",
        started=session["started"],
        finished=rows[-1]["finished"],
        error=printable("; ".join(failed), 500),
        settings={
            OPS: how(settings),
            "networks": list(shape["networks"]),
            "kernels": session["code"]["kernels"],
            "clock": session["clock"],
            "rates": session["rates"],
        },
        measurements=tuple(one for row in rows for one in _measurements(settings, row, way)),
        notes=tuple(
            f"{_case(row)}: skipped: {row['ways'][way]['skipped']}" for row in rows if "skipped" in row["ways"][way]
        ),
    )


def _case(row: Table) -> str:
    return f"batch {row['batch']} {row['pass']}"


def _measurements(settings: Table, row: Table, way: str) -> Iterator[Measurement]:
    found, part = row["ways"][way], row["pass"]
    about = {
        "batch_size": row["batch"],
        **{name: settings[name] for name in ("threads", "dtype", "device", "memory_format")},
        "pass": part,
        "path": found.get("path", ""),
        "regions_present": row["regions_present"],
    }
    if "samples" in found:
        samples = tuple(found["samples"])
        yield Measurement("latency", median(samples), "s", "lower", part, samples, {**about, "calls": found["calls"]})
        if "ratio" in found:
            base = tuple(row["ways"][found["ratio"]["to"]]["samples"])
            pairs = min(len(samples), len(base))  # a slow way stops after fewer rounds than its reference
            ratios = paired_ratios(samples[:pairs], base[:pairs])
            to = {**about, "to": found["ratio"]["to"]}
            yield Measurement("op_ratio", median(ratios), "ratio", "lower", part, ratios, to)
        yield Measurement("extra_memory", found["extra_bytes"], "bytes", "lower", part, (), about)
    if way == OURS:
        limit = row["limit"]
        bound = {**about, **{name: limit[name] for name in ("multiply_adds", "bytes", "bound")}}
        yield Measurement("limit", limit["seconds"], "s", "none", part, (), bound)
        if limit["ratio"] is not None:
            yield Measurement("limit_ratio", limit["ratio"], "ratio", "none", part, (), about)
