"""The rows that reports are made of, in columns: all records and their figures, without samples."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Connection

from drbench_db import query
from drbench_db.validate import Damages, fetch

T = TypeVar("T")
Columns: TypeAlias = dict[str, Sequence[Any]]
ABOUT = ("interval_low", "interval_high", "channels_last")
"""What reports want to know of a figure's context."""
_OWN = ("record", "variant")
"""The tables whose faults are a record's; those of the others are its whole run's."""


def read(
    connection: Connection,
    records: query.Query,
    measurements: Callable[[Columns], query.Query],
    damages: Damages,
    *,
    everything: bool,
) -> tuple[Columns, Columns]:
    """Records and measurements, both of the same moment, without the damaged records.

    `measurements`: the columns of the records -> what to ask for. `everything`: no record was left out by the question,
    so a figure of none is damaged.
    """
    found = fetch(connection, records, "record")
    figures = fetch(connection, measurements(dict(found.columns)))
    runs = dict(zip(found.columns["record"], found.columns["run"], strict=True))
    bad = set()
    for place, (table, name, fault) in found.faults.items():
        number = found.columns["record"][place]
        bad.add(number)
        damages.add(found.columns["run"][place], number if table in _OWN or name == "record" else None, name, fault)
    columns = dict(figures.columns)
    for place, (_, name, fault) in figures.faults.items():
        number = columns["record"][place]
        bad.add(number)
        damages.add(runs.get(number), number, f"measurement {columns['position'][place]} {name}", fault)
    if everything:
        for number in sorted(set(columns["record"]) - runs.keys() - bad, key=str):
            damages.add(None, number, "measurement record_id", ("", number, "a record that is in the database"))
    records_of = {name: values for name, values in found.columns.items() if name != "definition"}
    records_of["sources"] = _taken(found.columns["definition"], found.faults, _sources)
    about = _taken(columns.pop("context"), figures.faults, _about)
    columns |= dict(zip(ABOUT, zip(*about, strict=True) if about else [()] * len(ABOUT), strict=True))
    return _without(bad, records_of), _without(bad, columns)


def _taken(texts: Sequence[str], faults: Mapping[int, Any], take: Callable[[Any], T]) -> list[T]:
    """Something out of each JSON text; of equal texts only once, and of damaged ones what an empty table has."""
    damaged = {texts[place] for place in faults}
    known = {text: take({} if text in damaged else json.loads(text)) for text in set(texts)}
    return [known[text] for text in texts]


def _sources(definition: Mapping[str, Any]) -> str | None:
    """The source files of a variant, as JSON text."""
    found = definition.get("sources")
    return None if found is None else json.dumps(found)


def _about(context: Mapping[str, Any]) -> tuple[float | None, float | None, bool | None]:
    """In the order of ABOUT."""
    low, high = context.get("interval", (None, None))
    return low, high, context.get("channels_last")


def _without(bad: set[Any], columns: Mapping[str, Sequence[Any]]) -> Columns:
    """The columns without the damaged records, and without those that were for checking."""
    shown = {name: values for name, values in columns.items() if not name.startswith("_") and name != "position"}
    if not bad:
        return shown
    keep = [number not in bad for number in columns["record"]]
    return {name: list(compress(values, keep)) for name, values in shown.items()}
