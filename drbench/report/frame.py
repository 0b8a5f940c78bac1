"""Results as one long table: a row for each measurement, with all that says whose it is."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Mapping, Sequence
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
    """All results of a database ($DRBENCH_DB or ./drbench.db, a path, a URL, an open Store), of a run or of a suite.

    `run` is an id, the beginning of one, or "latest"; `names` keeps only the figures of these names.
    One row a measurement; a record without any (it failed) has one row whose `name` is missing. Columns:
    `run`, `suite`, `architecture`, `operator`, `label`, `regions`, `variant` (hash), ... say what was measured;
    `stage`, `seed`, `status`, `error`, `data`, `preset`, `settings` (JSON) how; `hostname`, `cpu`, `gpu`, ... where;
    `name`, `part` ("" is the whole), `value`, `unit`, `batch_size`, `threads`, `dtype`, `device` the figure, in
    seconds, multiply-adds per sample, fractions; `sample_count`, `spread_low` and `spread_high` (quartiles), `p90`,
    `p99` the raw samples behind it; `interval_low`, `interval_high` the 95% interval of a ratio; `channels_last` the
    memory format of a time. Raw samples are in the database (`Store.records`). Rows are in the order in which
    they were measured.

    Damaged records are left out with a warning that names them; of an open Store, see `Store.damages`.

    Raises:
        InputError: no database, or none of drbench; no such run.
        NothingError: a run was asked for and there are none.
    """
    from drbench_db import Store

    if isinstance(db, Store):
        return load_rows(db, run, suite, names)
    with Store.open(db, write=False) as store:
        found = load_rows(store, run, suite, names)
        warn(store)
        return found


def warn(store: Store) -> None:
    """A Python warning that names the damaged records that were left out."""
    if store.damages:
        warnings.warn("\n".join(store.damages.lines()), stacklevel=3)


def load_rows(
    store: Store,
    run: str | None,
    suite: str | None,
    names: Collection[str] | None,
    stages: Collection[str] = (),
) -> pd.DataFrame:
    """As `load`, from an open store; all figures of the `stages` are kept, whatever `names` says."""
    found = store.run(run).id if run is not None else None
    records, measurements = map(_frame, store.rows(run=found, suite=suite, names=names, stages=stages))
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
    """A frame of the store's columns, with types that do not depend on what happens to be missing."""
    return pd.DataFrame({name: _column(name, values) for name, values in columns.items()})


def _column(name: str, values: Sequence[Any]) -> Any:
    """Numbers that can be missing as Int64 or with NaN; texts as Python objects, missing ones None."""
    if name in OPTIONAL_INTEGERS:
        missing = np.fromiter((value is None for value in values), bool, len(values))
        numbers = np.fromiter((value or 0 for value in values), np.int64, len(values))
        return pd.arrays.IntegerArray(numbers, missing)
    for names, kind in ((FLOATS, np.float64), (INTEGERS, np.int64), (TRUTHS, np.bool_)):
        if name in names:
            return np.array(values, dtype=kind)
    return pd.Series(values, dtype=object)
