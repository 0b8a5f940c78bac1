"""Records to rows of the tables; `read` is the way back. Nothing here knows a connection."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from sys import byteorder
from typing import Any

from drbench import figures, identity
from drbench.records import Code, Epoch, LayerCost, Machine, Measurement, Outcomes, Record, Variant


def hashed(facts: Mapping[str, Any]) -> str:
    """SHA-256 over facts, the same for equal facts in any order."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def plain(value: Any) -> Any:
    """Mappings as dicts, sequences as lists, what JSON has not as text; so that what is stored is what is read."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def machine_row(machine: Machine) -> dict[str, Any]:
    """A row of `machine`."""
    return {**asdict(machine), "hash": hashed(identity.table(machine))}


def code_row(code: Code) -> dict[str, Any]:
    """A row of `code`."""
    facts, named = asdict(code), identity.table(code)
    for one in (facts, named):
        one["commit_hash"] = one.pop("commit")
    return {**facts, "hash": hashed(named)}


def variant_row(variant: Variant, variant_hash: str) -> dict[str, Any]:
    """A row of `variant`: the whole definition, and the fields that people search by."""
    regions = variant.operator_args.get("regions")
    return {
        "hash": variant_hash,
        "architecture": variant.architecture,
        "operator": variant.operator,
        "regions": regions if isinstance(regions, int) else None,
        "recipe": ", ".join(variant.where),
        "init": variant.init,
        "width": variant.width,
        "input_shape": "x".join(map(str, variant.input_shape)),
        "stem_stride": variant.stem_stride,
        "num_classes": variant.num_classes,
        "matched_by": variant.match,
        "matched_to": variant.matched_to,
        "architecture_args": plain(variant.architecture_args),
        "definition": plain({field.name: getattr(variant, field.name) for field in fields(variant)}),
    }


def record_row(record: Record, run_id: str, variant_id: int, machine_id: int | None = None) -> dict[str, Any]:
    """A row of `record`."""
    data, train = record.settings.get("data"), record.settings.get("train")
    name = data.get("name") if isinstance(data, Mapping) else data
    synthetic = data.get("synthetic", name == "shapes") if isinstance(data, Mapping) else name == "shapes"
    return {
        "run_id": run_id,
        "variant_id": variant_id,
        "label": record.label,
        "stage": record.stage,
        "seed": record.seed,
        "work_key": record.key,
        "status": record.status,
        "error": record.error,
        "started": record.started,
        "finished": record.finished,
        "data": name,
        "preset": train.get("preset") if isinstance(train, Mapping) else None,
        "synthetic": bool(record.settings.get("synthetic", synthetic)),
        "settings": plain(record.settings),
        "notes": list(record.notes),
        "task": record.settings.get(figures.TASK, figures.DEFAULT),
        "headline": figures.of_settings(record.settings).headline if record.stage == "train" else None,
        "machine_id": machine_id,
    }


def measurement_rows(record_id: int, measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Rows of `measurement`, without the samples."""
    rows = []
    for position, measurement in enumerate(measurements):
        context = plain(measurement.context)
        rows.append(
            {
                "record_id": record_id,
                "position": position,
                "name": measurement.name,
                "part": measurement.part,
                "value": number(measurement.value),
                "unit": measurement.unit,
                "direction": measurement.direction,
                "batch_size": context.get("batch_size"),
                "threads": context.get("threads"),
                "dtype": context.get("dtype"),
                "device": context.get("device"),
                **spread(measurement.samples),
                "context": context,
            }
        )
    return rows


def spread(samples: Sequence[float]) -> dict[str, Any]:
    """How samples lie: quartiles, 90% and 99%, by linear interpolation; None for fewer than two."""
    finite = [sample for sample in samples if math.isfinite(sample)]
    if len(finite) < 2:
        return dict.fromkeys(("spread_low", "spread_high", "p90", "p99")) | {"sample_count": len(samples)}
    cuts = statistics.quantiles(finite, n=100, method="inclusive")
    return {
        "sample_count": len(samples),
        "spread_low": cuts[24],
        "spread_high": cuts[74],
        "p90": cuts[89],
        "p99": cuts[98],
    }


def sample_rows(record_id: int, measurements: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Rows of `sample`, for the measurements that have any."""
    return [
        {"record_id": record_id, "position": position, "float64": pack(measurement.samples)}
        for position, measurement in enumerate(measurements)
        if measurement.samples
    ]


def pack(samples: Sequence[float]) -> bytes:
    """Little-endian doubles, eight bytes each."""
    values = array("d", samples)
    if byteorder == "big":
        values.byteswap()
    return values.tobytes()


def layer_rows(record_id: int, layers: Sequence[LayerCost]) -> list[dict[str, Any]]:
    """Rows of `layer`."""
    return [
        {"record_id": record_id, "position": position, **plain({f.name: getattr(layer, f.name) for f in fields(layer)})}
        for position, layer in enumerate(layers)
    ]


def epoch_rows(record_id: int, epochs: Sequence[Epoch]) -> list[dict[str, Any]]:
    """Rows of `epoch`; an epoch that was gone through twice (a resumed one) counts as it went last."""
    last = {epoch.number: epoch for epoch in epochs}
    return [
        {"record_id": record_id, **{name: number(value) for name, value in asdict(epoch).items()}}
        for epoch in last.values()
    ]


def outcome_rows(record_id: int, outcomes: Outcomes | None) -> list[dict[str, Any]]:
    """The row of `outcome`, where there is one."""
    return [] if outcomes is None else [{"record_id": record_id, **asdict(outcomes)}]


def file_rows(record_id: int, files: Mapping[str, str]) -> list[dict[str, Any]]:
    """Rows of `file`."""
    return [{"record_id": record_id, "name": name, "path": path} for name, path in files.items()]


def number(value: Any) -> Any:
    """NaN as None, as SQL has it."""
    return None if isinstance(value, float) and math.isnan(value) else value
