"""Results as one long table: a row per measurement, with its variant, settings and machine."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from drbench_db import Store

OPTIONAL_INTEGERS = ("regions", "stem_stride", "seed", "batch_size", "threads", "sample_count")
INTEGERS = ("record", "num_classes", "cores")
FLOATS = ("width", "value", "spread_low", "spread_high", "p90", "p99", "interval_low", "interval_high")
TRUTHS = ("synthetic", "dirty")


def load(
    db: str | os.PathLike[str] | Store | None = None,
    *,
    run: str | None = None,
    suite: str | None = None,
    names: Collection[str] | None = None,
) -> pd.DataFrame:
    """All results of a database ($DRBENCH_DB or ./drbench.db, a path, a URL, an open Store), or of one run or suite.

    One row per measurement, in the order of measuring. A record without measurements (it failed) has one row without
    `name`. Columns:

    - the variant: `run`, `suite`, `architecture`, `operator`, `label`, `regions`, `variant` (hash), ...
    - the work: `stage`, `seed`, `status`, `error`, `data`, `preset`, `settings` (JSON)
    - the machine: `hostname`, `cpu`, `gpu`, ...
    - the figure, in seconds, multiply-adds per sample or fractions: `name`, `part` ("" is the whole), `value`, `unit`,
      `batch_size`, `threads`, `dtype`, `device`, `channels_last` (the memory format of a time)
    - its samples: `sample_count`, `spread_low` and `spread_high` (quartiles), `p90`, `p99`; raw samples are in the
      database (`Store.records`)
    - the 95% interval of a ratio: `interval_low`, `interval_high`

    >>> frame = load("drbench.db", suite="five")
    >>> top1 = frame[(frame["name"] == "top1") & (frame["hostname"] == "first")]
    >>> top1.groupby("label")["value"].mean().round(3).to_dict()
    {'conv': 0.1, 'conv =madds(drconv m=2)': 0.126, 'drconv m=2': 0.08}

    Damaged records are left out, with a warning that names them; for an open Store see `Store.damages`.

    Args:
        run: an id, a prefix of one, or "latest".
        names: return only the figures with these names.

    Raises:
        InputError: there is no database or no such run, or the file is not a database of drbench.
        NothingError: `run` is given and the database has no runs.
    """
    from drbench_db import Store

    if isinstance(db, Store):
        return load_rows(db, run, suite, names)
    with Store.open(db, write=False) as store:
        frame = load_rows(store, run, suite, names)
        warn(store)
        return frame


def warn(store: Store) -> None:
    """Issue a Python warning that names the damaged records that were left out."""
    if store.damages:
        warnings.warn("\n".join(store.damages.lines()), stacklevel=3)


def load_rows(
    store: Store,
    run: str | None,
    suite: str | None,
    names: Collection[str] | Callable[[Mapping[str, Sequence[Any]]], Collection[str]] | None,
) -> pd.DataFrame:
    """As `load`, from an open store. `names` may be a function of the columns of the records."""
    found = store.run(run).id if run is not None else None
    records, measurements = map(_frame, store.rows(run=found, suite=suite, names=names))
    place = pd.Index(records["record"]).get_indexer(pd.Index(measurements["record"]))
    kept = np.flatnonzero(place >= 0)
    bare = np.setdiff1d(np.arange(len(records)), place)  # records without measurements: they failed
    whose = np.concatenate([place[kept], bare])
    what = np.concatenate([kept, np.full(len(bare), -1)])
    order = np.argsort(whose, kind="stable")
    left = records.take(whose[order]).reset_index(drop=True)
    right = measurements.drop(columns="record")
    right = right.reindex(what[order]).reset_index(drop=True)
    return pd.concat([left, right], axis=1)


def _frame(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """A frame of the store's columns, with types that do not depend on missing values."""
    return pd.DataFrame({name: _column(name, values) for name, values in columns.items()})


def _column(name: str, values: Sequence[Any]) -> Any:
    """A column: numbers that may be missing as Int64 or with NaN; text as Python objects with None."""
    if name in OPTIONAL_INTEGERS:
        missing = np.fromiter((value is None for value in values), bool, len(values))
        numbers = np.fromiter((value or 0 for value in values), np.int64, len(values))
        return pd.arrays.IntegerArray(numbers, missing)
    for names, kind in ((FLOATS, np.float64), (INTEGERS, np.int64), (TRUTHS, np.bool_)):
        if name in names:
            return np.array(values, dtype=kind)
    return pd.Series(values, dtype=object)
