"""Rows as they come out of a database -> rows that can be relied on, and what was wrong with the others.

A database may be damaged, or somebody else's: SQLite keeps any value in any column. Every row passes here once, where
it is read. A record with anything wrong is left out whole and named; nothing is ever changed or removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from drbench import outcomes
from drbench.errors import FailedError, InputError
from drbench.records import NOISE, OPS, Outcomes
from drbench.text import quoted
from drbench_db import query, rules, schema, shapes
from drbench_db.shapes import Fault

SHOWN = 10
"""Damaged records that are named; the others are counted."""


class DamagedError(FailedError):
    """A record or run that cannot be relied on, where all of them are needed."""


@dataclass
class Damages:
    """What was left out of a database, by run and record (None: the run's own row); the first fault of each."""

    database: str
    found: dict[tuple[object, object], str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.found)

    def add(self, run: object, record: object, name: str, fault: Fault) -> None:
        """Note a fault in the field `name`."""
        place, value, expected = fault
        where = " ".join(
            f"{what} {_word(number)}," for what, number in (("run", run), ("record", record)) if number is not None
        )
        text = f"{where.rstrip(',') or 'a row'}: {name}{_word(place)}: got {shown(value)}; expected {expected}"
        self.found.setdefault(
            (_word(run), record if record is None or isinstance(record, int) else _word(record)), text
        )

    def of(self, run_id: str) -> bool:
        """Whether anything was left out of this run, or is it."""
        return any(run == _word(run_id) for run, _ in self.found)

    def runs(self, start: str) -> list[str]:
        """The faults of runs themselves, of those whose ids begin so."""
        return [text for (run, record), text in self.found.items() if record is None and str(run).startswith(start)]

    def lines(self) -> list[str]:
        """The first SHOWN of them, and how many there are more."""
        texts = list(self.found.values())
        more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
        return [f"database {self.database}: {text}; left out" for text in texts[:SHOWN]] + more

    def refuse(self, run_id: str | None = None) -> None:
        """DamagedError that names the first, if anything was left out (of this run)."""
        texts = [text for (run, _), text in self.found.items() if run_id is None or run == _word(run_id)]
        if texts:
            more = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
            raise DamagedError(f"database {self.database} is damaged: {texts[0]}{more}")


def shown(value: object) -> str:
    """A value from a database as a message shows it: short, without control characters."""
    if value is None:
        return "nothing"
    if isinstance(value, list | dict):
        return f"a {'table' if isinstance(value, dict) else 'list'} of {len(value)}"
    if isinstance(value, bytes | memoryview):
        return f"{len(value)} bytes"
    if isinstance(value, int) and abs(value) >= 2**63:
        return "an integer of more than 64 bits"
    return quoted(value, limit=60) if isinstance(value, str) else repr(value)


def _word(value: object) -> str:
    """A name from a database within a sentence."""
    text = value if isinstance(value, str) else str(value) if isinstance(value, int) else shown(value)
    return text if text.isprintable() and len(text) <= 200 else shown(text)


@dataclass(frozen=True)
class Rows:
    """The answer to a question: columns by name, all of the same length, and by position what is wrong with a row."""

    columns: Mapping[str, Sequence[Any]]
    faults: Mapping[int, tuple[str, str, Fault]]
    """Position -> (table, field, fault): the first fault of each row that has one."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def dicts(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(position, row), of the rows that nothing is wrong with; JSON as values, without the columns for checking."""
        kept = {name: values for name, values in self.columns.items() if not name.startswith("_")}
        for place, values in enumerate(zip(*kept.values(), strict=True)):
            if place not in self.faults:
                yield place, dict(zip(kept, values, strict=True))


def fetch(connection: Connection, wanted: query.Query, key: str | None = None) -> Rows:
    """Ask, and hold every value to the rule of its column; no two rows may have the same `key`."""
    result = connection.execute(wanted)
    names = tuple(result.keys())
    found = result.all()
    columns = dict(zip(names, zip(*found, strict=True) if found else [()] * len(names), strict=True))
    faults: dict[int, tuple[str, str, Fault]] = {}
    for selected in wanted.selected_columns:
        table, rule = rules.of(selected)
        if rule is not None:
            for place, fault in rule.faults(columns[selected.name]).items():
                faults.setdefault(place, (table, selected.name.lstrip("_"), fault))
    if key is not None and len(set(columns[key])) < len(columns[key]):
        count: Counter[Any] = Counter(columns[key])
        for place, value in enumerate(columns[key]):
            if count[value] > 1:
                faults.setdefault(place, ("", key, ("", value, f"one row of this {key}")))
    return Rows(columns, faults)


def inside(
    row: Mapping[str, Any], parts: Mapping[type[Any], Sequence[Mapping[str, Any]]]
) -> Iterator[tuple[str, Fault]]:
    """What is wrong between the rows of one record, each of which is right by itself: (field, fault)."""
    for model, items in parts.items():
        key = model.__table__.primary_key.columns.keys()[-1]
        places = [item[key] for item in items]
        for place in {place for place in places if places.count(place) > 1} if len(set(places)) < len(places) else ():
            yield f"{model.__tablename__} {place}", ("", place, f"one row of this {key}")
    figures = {item["position"]: item for item in parts.get(schema.MeasurementRow, ())}
    if schema.SampleRow in parts:
        sizes = {sample["position"]: len(sample["float64"]) for sample in parts[schema.SampleRow]}
        counts = {place: item["sample_count"] for place, item in figures.items() if item["sample_count"]}
        for place in sorted(sizes.keys() | counts.keys()):
            size, count = sizes.get(place, 0), counts.get(place, 0)
            if size != 8 * count:
                yield f"sample {place} float64", ("", bytes(size), f"{count} doubles, as its measurement says")
    for kept in parts.get(schema.OutcomeRow, ()):
        try:
            outcomes.decode(Outcomes(kept["unit"], kept["codec"], kept["count"], kept["data"]))
        except InputError as error:
            yield "outcome data", ("", kept["data"], str(error).partition("expected ")[2] or str(error))
    yield from _by_stage(row, figures.values())


def _by_stage(row: Mapping[str, Any], figures: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Fault]]:
    """What the readers of a stage's figures need in addition to the shapes of all records."""
    stage = row["stage"]
    if stage == OPS:
        for name, shape in (("settings", shapes.OPS_RECORD), ("variant_architecture_args", shapes.OPS_LAYER)):
            if fault := shape(row[name]):
                yield name, fault
    for item in figures:
        place = f"measurement {item['position']}"
        if stage == OPS:
            if fault := shapes.OPS_CONTEXT(item["context"]):
                yield f"{place} context", fault
            if item["value"] is None:
                yield f"{place} value", ("", None, "a number")
            if item["name"] == "latency" and (not item["value"] or item["value"] < 0 or not item["sample_count"]):
                yield f"{place} value", ("", item["value"], "a number above 0, with samples")
            if item["name"] == "op_ratio" and "to" not in item["context"]:
                yield f"{place} context.to", ("", None, "text")
        timed = stage in ("latency", NOISE) and item["name"] in ("latency_ratio", "latency_floor")
        if timed and (fault := shapes.TIMED(item["context"])):
            yield f"{place} context", fault
