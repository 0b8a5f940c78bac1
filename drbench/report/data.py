"""A report as data, csv or json: raw figures in seconds, multiply-adds and fractions, under documented names.

csv: one line per row of any table, with the conditions of the table in the first fields. Published figures are lines of
`kind` "published", those of the operator benchmark of `kind` "op" and "op-mean" (see `ops_data`). json: {"fields":
{name: meaning}, "tables": [{conditions..., "rows": [...]}], "published": [...], "ops": [...] if there is one}. Of a
training, csv has the preset and a hash of all settings and of the data; json has the settings themselves, and the hash.
A missing figure is empty in csv and absent in json. json has the exact text; csv has printable text
(`drbench.text.printable`), with a leading ' if a spreadsheet would treat it as a formula.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from drbench import figures
from drbench.figures import Figure, TaskFigures
from drbench.identity import digest
from drbench.report import ops_data
from drbench.report.columns import Column, known
from drbench.report.model import Conditions, Report, Row, Table, Value
from drbench.report.wording import SYNTHETIC
from drbench.text import spreadsheet, to_json

IDENTITY = ("kind", "architecture", "label")
RECIPE = "training_hash"
"""Hash of the settings of a training and of its data: equal where trainings are comparable."""
EXTRA = ("operator", "regions", "recipe", "variant", "matched_by", "matched_to")
PUBLISHED = {
    "published_madds": "multiply-adds as published",
    "published_params": "parameters as published",
    "published_top1": "top-1 as published, fraction",
    "published_data": "data set and input size of published_top1",
    "counted": "label of the variant that the published figure is compared with",
    "counted_madds": "multiply-adds of that variant at 224 px and 1000 classes, counted by drbench",
    "counted_params": "parameters of that variant with 1000 classes, counted by drbench",
    "madds_deviation": "counted_madds / published_madds - 1",
    "params_deviation": "counted_params / published_params - 1",
    "source": "where the figure was published",
    "note": "a note on the published figure",
}


def as_csv(report: Report, columns: Sequence[Column] | None, width: int, color: bool) -> str:
    """One line per row. `width` and `color` are unused."""
    whole, networks = columns is None, bool(report.tables)
    names = [RECIPE if f.name == "training" else f.name for f in dataclasses.fields(Conditions)]
    conditions = [*names, "preset"] if networks else ["suite", "machine", "drbench"]
    published = list(PUBLISHED) if whole and networks else []
    fields = [name for name in _fields(report, columns) if name not in IDENTITY] if networks else []
    ops = list(ops_data.FIELDS) if whole and report.ops else []
    out = io.StringIO()
    writer = csv.DictWriter(
        out, [*conditions, *IDENTITY, *fields, *published, *ops], restval="", extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    for table in report.tables:
        for row in table.rows:
            writer.writerow(_cells({**_conditions(table), **_row(row)}))
    for row in report.published if whole else ():
        writer.writerow(_cells(_row(row)))
    for operators in report.ops if whole else ():
        writer.writerows(_cells({**ops_data.conditions(operators), **row}) for row in ops_data.rows(operators))
    return out.getvalue()


def as_json(report: Report, columns: Sequence[Column] | None, width: int, color: bool) -> str:
    """Tables with their conditions. `width` and `color` are unused."""
    fields = _fields(report, columns)
    published = PUBLISHED if columns is None else {}
    document: dict[str, Any] = {"fields": {**fields, **published} if report.tables else {}}
    document["tables"] = [
        {
            **_conditions(table),
            "figures": figures.as_table(table.conditions.task),
            "notes": list(table.notes),
            "rows": [{k: v for k, v in _row(row).items() if k in fields or k in IDENTITY} for row in table.rows],
        }
        for table in report.tables
    ]
    if columns is None:
        document["published"] = [_row(row) for row in report.published]
        if report.ops:
            document["fields"] |= ops_data.FIELDS
            document["ops"] = [ops_data.as_table(operators) for operators in report.ops]
    return to_json(document)


def _cells(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: spreadsheet(value) for name, value in values.items()}


def _conditions(table: Table) -> dict[str, Any]:
    c = table.conditions
    values = {**asdict(c), "task": c.task.task}
    training = json.loads(c.training) if c.training else {}
    values |= {"training": training, RECIPE: digest(training) if training else "", "preset": training.get("preset")}
    if c.synthetic:
        values["synthetic_warning"] = SYNTHETIC.format(data=c.data)
    return values


def _row(row: Row) -> dict[str, Value]:
    return {**row.values, "kind": row.kind, "architecture": row.architecture, "label": row.label}


def _fields(report: Report, columns: Sequence[Column] | None) -> dict[str, str]:
    """Name -> meaning of every field, in order."""
    fields: dict[str, str] = {}
    declared = _declared(dict.fromkeys(table.conditions.task for table in report.tables))
    if columns is None:
        fields |= {name: _MEANINGS.get(name, name) for name in (*IDENTITY, *EXTRA)}
    for column in known(report.tables) if columns is None else columns:
        for field in column.fields:
            fields.setdefault(field, meaning(field, declared))
    if columns is None:
        fields |= {name: _MEANINGS[name] for name in ("reference_madds", "reference_params")}
    return fields


def _declared(tasks: Iterable[TaskFigures]) -> dict[str, str]:
    """Field -> meaning of the figures that tasks declare; both meanings if two tasks declare one name."""
    meanings: dict[str, dict[str, None]] = {}
    for task in tasks:
        name, unit = task.headline, task.main.unit
        texts = {figure.name: _mean(figure, figure.meaning) for figure in task.figures}
        texts |= {
            task.validation: _mean(task.main, "on the validation part held out of train"),
            f"{name}_sd": f"standard deviation of {name} over seeds, {unit}",
            "seeds": f"number of trainings for {name}",
            f"{name}_delta": f"mean difference of {name} to plain over common seeds, {unit}",
            f"{name}_equal_madds_delta": f"mean difference of {name} to plain widened to equal multiply-adds, {unit}",
            f"{name}_equal_params_delta": f"mean difference of {name} to plain widened to equal parameters, {unit}",
        }
        for field, text in texts.items():
            meanings.setdefault(field, {})[text] = None
    return {field: "; or ".join(texts) for field, texts in meanings.items()}


def _mean(figure: Figure, meaning: str) -> str:
    better = "" if figure.sign > 0 else ", lower is better"
    return f"{figure.called}: {meaning and f'{meaning}, '}{figure.unit}, mean over seeds{better}"


def meaning(field: str, declared: Mapping[str, str]) -> str:
    """The meaning of a field, with its unit. `declared`: the meanings of fields that tasks declare."""
    if field in declared or field in _MEANINGS:
        return declared.get(field) or _MEANINGS[field]
    for suffix, text in _SUFFIXES.items():
        if field.endswith(suffix):
            return f"{meaning(field.removesuffix(suffix), declared)}: {text}"
    if field.startswith("latency_"):
        return "latency of one call, seconds, median of the samples, batch size after b"
    if field.startswith("ratio_"):
        return "latency divided by that of plain, paired by turn in the same processes"
    if field.startswith("floor_"):
        return "latency of a copy of plain divided by that of plain, in the same turns"
    return field


_SUFFIXES = {
    "_p25": "25% quantile of the samples",
    "_p75": "75% quantile of the samples",
    "_low": "low end of its 95% interval over processes (absent for a single process)",
    "_high": "high end of its 95% interval over processes (absent for a single process)",
    "_p90": "90% quantile of the samples",
    "_p99": "99% quantile of the samples",
    "_samples": "number of samples",
    "_ci95": "half the width of its 95% interval over seeds (absent under 5 seeds)",
    "_seeds": "number of common seeds",
}
_MEANINGS = {
    "kind": "plain, converted, matched (plain at equal cost) or published",
    "architecture": "the network",
    "label": "the variant's short name",
    "operator": "what replaces the convolutions",
    "regions": "number of filters that each position can select from",
    "recipe": "which convolutions are replaced",
    "width": "multiplier of the channels, if it is not the architecture's own",
    "variant": "hash of everything that defines the network",
    "matched_by": "madds or params: the cost that is equal after widening",
    "matched_to": "hash of the variant whose cost was matched",
    "madds": "multiply-adds of convolutions and linear layers per image, by the convention",
    "madds_delta": "relative to plain, fraction",
    "executed": "multiply-adds per image of the code path that ran",
    "params": "parameters",
    "params_delta": "relative to plain, fraction",
    "activations": "elements of the outputs of convolutions and linear layers per image",
    "memory_host": "peak host memory of inference at the largest batch size, above the memory used before, bytes",
    "memory_device": "peak memory of inference on the accelerator, as allocated by torch, bytes",
    "images_per_second": "images per second in training, mean over seeds",
    "status": "done, or the stages that failed or were interrupted",
    "error": "reasons of failures",
    "reference_madds": "multiply-adds of the network at 224 px and 1000 classes",
    "reference_params": "parameters of the network with 1000 classes",
}
