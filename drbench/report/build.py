"""Gathered records -> tables: differences to the plain network, seeds, latency by batch size, failures."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

import pandas as pd

from drbench.errors import NothingError
from drbench.figures import TaskFigures
from drbench.records import NOISE, OPS, PLAIN, STAGES
from drbench.report.gather import Figure, Gathered, Way, gather
from drbench.report.model import Conditions, Latency, Report, Row, Table, Value
from drbench.report.ops import OpsTable
from drbench.report.published_rows import published_rows
from drbench.statistics.samples import mean_and_deviation
from drbench.statistics.significance import difference

_COSTS = ("madds", "executed", "params", "activations", "reference_madds", "reference_params")


def build(frame: pd.DataFrame, ops: tuple[OpsTable, ...] = ()) -> Report:
    """The report of a frame from `load`, and of the operator benchmark. NothingError if there are no results."""
    gathered = gather(frame[(~frame["stage"].isin((OPS, NOISE))).to_numpy()])
    if not gathered and not ops:
        raise NothingError("there are no results to report. Create some with `drbench run suite smoke`")
    tables = tuple(
        _table(conditions, variants) for conditions, variants in sorted(gathered.items(), key=_order_of_tables)
    )
    return Report(tables, published_rows(tables), ops)


def _order_of_tables(item: tuple[Conditions, Any]) -> tuple[Any, ...]:
    c = item[0]
    return (
        c.suite,
        c.task.task,
        c.data,
        natural(c.input_shape),
        c.num_classes,
        c.machine,
        c.drbench,
        c.older_protocol,
        c.training,
    )


def natural(text: str) -> tuple[tuple[int, float, str], ...]:
    """A sort key that compares numbers in names as numbers: x0_5 before x10, 0.75 before 1.00."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return tuple((0, float(p), "") if i % 2 else (1, 0.0, p) for i, p in enumerate(parts))


def _table(conditions: Conditions, variants: Mapping[str, Gathered]) -> Table:
    latencies = _latencies(variants.values())
    headline = conditions.task.headline
    facts = {name: _facts(gathered, latencies, conditions.task) for name, gathered in variants.items()}
    scores = {name: _by_seed(gathered, headline) for name, gathered in variants.items()}
    networks = _networks(variants)
    labels = _labels(variants, networks)
    plains: dict[str, str] = {}
    for name, gathered in variants.items():
        if kind_of(gathered.first) == "plain":
            plains.setdefault(networks[name], name)
    matched = {
        (gathered.first.matched_to, gathered.first.matched_by): name
        for name, gathered in variants.items()
        if gathered.first.matched_to is not None
    }
    for name in variants:
        plain = plains.get(networks[name])
        if plain is not None and plain != name:
            facts[name].update(_against(facts[name], facts[plain]), **_gain(headline, scores[name], scores[plain]))
        for by in ("madds", "params"):
            other = matched.get((name, by))
            if other is not None:
                facts[name].update(_gain(f"{headline}_equal_{by}", scores[name], scores[other]))
    rows = [
        Row(kind_of(g.first), networks[n], labels[n], {k: v for k, v in facts[n].items() if v is not None})
        for n, g in sorted(variants.items(), key=lambda item: _order_of_rows(item[0], networks, variants))
    ]
    by_kind = tuple(sorted({by for _, by in matched if by}))
    return Table(conditions, tuple(rows), tuple(latencies.values()), by_kind, tuple(_notes(rows)))


def kind_of(record: Any) -> str:
    """The kind of a variant: "plain", "converted" or "matched"."""
    if record.matched_by is not None:
        return "matched"
    return "plain" if record.operator == PLAIN else "converted"


def _network(record: Any, variants: Mapping[str, Gathered]) -> str:
    """The name of the network that a variant and its plain network share: architecture, width and arguments."""
    origin = variants.get(record.matched_to, variants[record.variant]).first if record.matched_to else record
    width = "" if origin.width is None or origin.matched_by else f" x{origin.width:g}"
    arguments = json.loads(record.architecture_args or "{}")
    return " ".join([record.architecture + width, *(f"{key}={value}" for key, value in sorted(arguments.items()))])


def _networks(variants: Mapping[str, Gathered]) -> dict[str, str]:
    """The name of every variant's network. If two networks would have the same name, what distinguishes them is added.

    Runs of one suite may differ in the stem's stride, or in the source of a user's own network.
    """
    names = {name: _network(gathered.first, variants) for name, gathered in variants.items()}
    details = {name: _details(gathered.first) for name, gathered in variants.items()}
    different: dict[str, dict[str, set[str]]] = {}
    for name, text in names.items():
        for key, value in details[name].items():
            different.setdefault(text, {}).setdefault(key, set()).add(value)
    return {
        name: " ".join([text, *(f"{k}={v}" for k, v in details[name].items() if len(different[text][k]) > 1)])
        for name, text in names.items()
    }


def _details(record: Any) -> dict[str, str]:
    stem = "published" if record.stem_stride is None else str(record.stem_stride)
    sources = json.loads(record.sources) if record.sources not in (None, "{}") else {}
    return {"stem_stride": stem, "source": str(sources.get(record.architecture, ""))[:8]}


def _labels(variants: Mapping[str, Gathered], networks: Mapping[str, str]) -> dict[str, str]:
    """The label of each row. Rows with equal labels get the beginning of their variants' hashes."""
    same = Counter((networks[name], gathered.first.label) for name, gathered in variants.items())
    return {
        name: gathered.first.label + (f" #{name[:6]}" if same[networks[name], gathered.first.label] > 1 else "")
        for name, gathered in variants.items()
    }


def _order_of_rows(name: str, networks: Mapping[str, str], variants: Mapping[str, Gathered]) -> tuple[Any, ...]:
    """Sort key: by architecture; plain first, then each converted network followed by its matched networks."""
    record = variants[name].first
    target = variants.get(record.matched_to or name, variants[name]).first
    kind = kind_of(record)
    return (
        natural(networks[name]),
        kind != "plain",
        natural(target.label if kind == "matched" else record.label),
        record.matched_to or name,
        kind == "matched",
        record.matched_by or "",
        name,
    )


def _latencies(variants: Iterable[Gathered]) -> dict[Way, Latency]:
    """The latency settings of a table. The suffix has more than the batch size only if necessary."""
    ways = {
        figure.way
        for gathered in variants
        for _, figures in gathered.of("latency")
        for figure in figures
        if figure.name == "latency"
    }
    many = len({way[1:] for way in ways}) > 1
    formats = len({way[-1] for way in ways}) > 1
    latencies = {}
    for way in sorted(ways):
        batch, threads, dtype, device, last = way
        suffix = f"b{batch}" + (f"_t{threads}_{dtype}_{device}" if many else "")
        suffix += ("_channels_last" if last else "_contiguous") if formats else ""
        latencies[way] = Latency(suffix, batch or None, threads or None, dtype, device, last)
    return latencies


def _facts(gathered: Gathered, latencies: Mapping[Way, Latency], task: TaskFigures) -> dict[str, Value]:
    """Field name -> value of one variant, without comparisons to others."""
    record = gathered.first
    facts: dict[str, Value] = {
        name: getattr(record, name)
        for name in ("architecture", "operator", "regions", "recipe", "variant", "matched_by", "matched_to")
    }
    facts["width"] = _finite(record.width)
    for _, figures in gathered.of("cost"):
        facts.update({f.name: round(f.value) for f in figures if f.name in _COSTS and f.value is not None})
        facts["declared"] = any(f.name == "madds" for f in figures)
    for _, figures in gathered.of("memory"):
        facts.update({f"memory_{f.part}": round(f.value) for f in figures if f.value is not None})
    for _, figures in gathered.of("latency"):
        for figure in figures:
            if figure.name.startswith("latency") and figure.way in latencies:
                facts.update(_timed(figure, latencies[figure.way].suffix))
    scores = _by_seed(gathered, task.headline)
    if scores:
        facts[task.headline], facts[f"{task.headline}_sd"] = mean_and_deviation(list(scores.values()))
        facts["seeds"] = len(scores)
    means = {name: name for name in (*task.names, task.validation) if name != task.headline}
    for field, name in {**means, "images_per_second": "train_images_per_second"}.items():
        values = _by_seed(gathered, name)
        facts[field] = fmean(values.values()) if values else None
    facts["status"], facts["error"] = _status(gathered)
    return facts


def _timed(figure: Figure, suffix: str) -> dict[str, Value]:
    if figure.name == "latency":
        return {
            f"latency_{suffix}": _finite(figure.value),
            f"latency_{suffix}_p25": _finite(figure.low),
            f"latency_{suffix}_p75": _finite(figure.high),
            f"latency_{suffix}_p90": _finite(figure.p90),
            f"latency_{suffix}_p99": _finite(figure.p99),
            f"latency_{suffix}_samples": figure.sample_count,
        }
    name = f"{figure.name.removeprefix('latency_')}_{suffix}"
    return {
        name: _finite(figure.value),
        f"{name}_p25": _finite(figure.low),
        f"{name}_p75": _finite(figure.high),
        f"{name}_low": _finite(figure.interval_low),
        f"{name}_high": _finite(figure.interval_high),
    }


def _by_seed(gathered: Gathered, name: str) -> dict[int | None, float]:
    return {
        seed: figure.value
        for seed, figures in gathered.of("train")
        for figure in figures
        if figure.name == name and figure.value is not None and math.isfinite(figure.value)
    }


def _against(facts: Mapping[str, Value], plain: Mapping[str, Value]) -> dict[str, Value]:
    """Relative differences of cost to the plain network."""
    deltas: dict[str, Value] = {}
    for name in ("madds", "params"):
        cost, reference = facts.get(name), plain.get(name)
        if isinstance(cost, int) and isinstance(reference, int) and reference:
            deltas[f"{name}_delta"] = cost / reference - 1
    return deltas


def _gain(name: str, values: Mapping[int | None, float], reference: Mapping[int | None, float]) -> dict[str, Value]:
    gain = difference(values, reference)
    if gain is None:
        return {}
    return {f"{name}_delta": gain.mean, f"{name}_delta_ci95": gain.half, f"{name}_delta_seeds": gain.pairs}


def _status(gathered: Gathered) -> tuple[str, str]:
    """The status and reasons: "done", or the stages that are not done."""
    failed = [record for record in gathered.records.values() if record.status != "done"]
    if not failed:
        return "done", ""
    failed.sort(key=lambda record: (STAGES.index(record.stage) if record.stage in STAGES else 9, record.seed or 0))
    status = ", ".join(dict.fromkeys(f"{record.stage} {record.status}" for record in failed))
    reasons = dict.fromkeys(_reason(record) for record in failed)
    return status, "; ".join(reasons)


def _reason(record: Any) -> str:
    seed = "" if record.seed is None else f" (seed {record.seed})"
    return f"{record.stage} {record.status}{seed}: {record.error or 'no reason recorded'}"


def _notes(rows: Iterable[Row]) -> Iterable[str]:
    for row in rows:
        if row.values.get("status") != "done":
            yield f"{row.architecture} {row.label}: {row.values['error']}"
        if row.values.get("declared") is False:
            yield f"{row.architecture} {row.label}: convention not declared (its operator has no cost()); see executed"


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
