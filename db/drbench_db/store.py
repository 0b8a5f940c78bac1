"""The one way to the database: runs begin and end, records are added and committed at once, everything is read back.

    with Store.open("drbench.db", write=True) as store:
        store.begin_run(run)
        store.add(run.id, record)
        store.end_run(run.id, "done")

A Store opened to be read never writes, neither the file nor others next to it. What is damaged in a database is left
out of what is read and noted in `Store.damages`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from sqlalchemy import Connection, CursorResult, delete, insert, select, union, update

from drbench.errors import FailedError, InputError, NothingError
from drbench.records import Record, Run
from drbench_db import adding, exchange, location, migrate, objects, query, read, rows, schema, table
from drbench_db.connection import Opened, connect, copy_of, set_journal
from drbench_db.failures import translated
from drbench_db.schema import CodeRow, MachineRow, RecordRow, RunRow, SuiteRow, VariantRow
from drbench_db.validate import DamagedError, Damages, fetch

T = TypeVar("T")


class Store:
    """An open database. Make one with `Store.open`; it is a context manager."""

    def __init__(self, opened: Opened, where: location.Location, backup: Path | None = None) -> None:
        self._engine = opened.engine
        self._where = where
        self.writable = opened.write
        self.backup = backup
        """The copy that was made before a migration, if there was one."""
        self.damages = Damages(where.shown)
        """The records and runs that were left out of what was read so far, because they are damaged."""
        self._unchanging = where.path if opened.immutable else None
        self._signature = self._stat()

    @classmethod
    def open(
        cls,
        url_or_path: str | os.PathLike[str] | None = None,
        *,
        write: bool = False,
        upgrade: bool = False,
        create: bool = True,
    ) -> Self:
        """Open $DRBENCH_DB, ./drbench.db, a path or a PostgreSQL URL.

        For writing, a file is created (unless `create` is false) and its schema is upgraded if necessary. The schema
        of a database on a server is upgraded only with `upgrade`. For reading, an older file is upgraded as a copy in
        memory.

        Raises:
            InputError: the database is not one of drbench, is newer than this drbench, or is read-only; or the
                directory or the driver does not exist.
            FailedError: the database is locked for longer than $DRBENCH_DB_TIMEOUT seconds (default: 30), the disk is
                full, or there is no connection.
        """
        where = location.locate(url_or_path)
        with translated(where.shown):
            opened = connect(where, write=write, create=write and create)
            try:
                objects.check(opened.engine, where, write=write)
                if write and (where.path or upgrade):
                    backup = migrate.upgrade(opened.engine, where)
                    set_journal(opened, where)
                    return cls(opened, where, backup)
                with opened.engine.connect() as connection:
                    older = where.path is not None and migrate.is_older(connection)
                    if not older:
                        migrate.check_current(connection, where)
                if older:
                    opened.engine.dispose()
                    opened = copy_of(where)
                    objects.drop_foreign(opened.engine)
                    migrate.upgrade(opened.engine, location.Location(where.shown))
                return cls(opened, where)
            except BaseException:
                opened.engine.dispose()
                raise

    @property
    def name(self) -> str:
        """The database, as messages name it (no password)."""
        return self._where.shown

    def close(self) -> None:
        """Give the connections back; SQLite then folds its WAL into the file."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- writing ------------------------------------------------------------------------------------------------------

    def begin_run(self, run: Run, records: Iterable[Record] = ()) -> None:
        """Note a run before its first record, or with all of them in one commit.

        InputError when there is one of this id (see `reopen_run`).
        """
        suite = {"name": run.suite, "text": run.suite_text}
        with self._writing() as connection:
            if connection.execute(select(RunRow.id).where(RunRow.id == run.id)).first():
                raise InputError(f"database {self.name} has a run {run.id!r} already; continue it with --resume")
            connection.execute(
                insert(RunRow).values(
                    id=run.id,
                    suite_id=adding.id_of(connection, SuiteRow, {**suite, "hash": rows.hashed(suite)}),
                    machine_id=adding.id_of(connection, MachineRow, rows.machine_row(run.machine)),
                    code_id=adding.id_of(connection, CodeRow, rows.code_row(run.code)),
                    command=run.command,
                    started=run.started,
                    finished=run.finished,
                    status=run.status,
                )
            )
            for record in records:
                adding.add(connection, run.id, record)

    def reopen_run(self, run_id: str) -> Run:
        """Go on with a run: its status is "running" again."""
        run = self.run(run_id)
        self._set_status(run.id, "running", "")
        return self.run(run.id)

    def end_run(self, run_id: str, status: str, finished: str | None = None) -> None:
        """Note how a run ended: "done", "failed" or "interrupted"."""
        self._set_status(run_id, status, finished or f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")

    def add(self, run_id: str, record: Record) -> int:
        """Keep a record and commit it; returns its number. All of it is kept, or nothing.

        FailedError where the run has this work done already: nothing is kept twice.
        """
        return self.add_many(run_id, (record,))[0]

    def add_many(self, run_id: str, records: Iterable[Record]) -> list[int]:
        """Keep records in one commit: all of them, or none."""
        with self._writing() as connection:
            if not connection.execute(select(RunRow.id).where(RunRow.id == run_id)).first():
                raise InputError(f"database {self.name} has no run {run_id!r}; begin_run comes first")
            return [adding.add(connection, run_id, record) for record in records]

    def merge(self, run_id: str, other: Store, *, strict: bool = True) -> exchange.Merged:
        """Take a run of another database in, in one commit: what is missing is added, what is here stays as it is.

        InputError where both have the run and differ in what they have in common: nothing is changed. DamagedError for
        a run that is damaged, here or there; unless `strict`, its damaged records there are left out.
        """
        found = other._ask(lambda connection: exchange.read_run(connection, run_id, other.damages))
        if strict:
            other.damages.refuse(run_id)
        with self._writing() as connection:
            return exchange.write_run(connection, found, self.name)

    def remove_run(self, run_id: str) -> str:
        """Remove a run with all its records, also one that is damaged; machines, code and variants that nothing else
        needs go with it. Returns the run's id.
        """
        wanted = select(RunRow.id).order_by(RunRow.started.desc(), RunRow.id.desc())
        ids = self._ask(
            lambda connection: [one for one in connection.execute(wanted).scalars() if isinstance(one, str)]
        )
        if not ids:
            raise NothingError(f"database {self.name} holds no runs")
        found = pick(ids, run_id)
        with self._writing() as connection:
            connection.execute(delete(RunRow).where(RunRow.id == found))
            for model, used in (
                (VariantRow, RecordRow.variant_id),
                (SuiteRow, RunRow.suite_id),
                (CodeRow, RunRow.code_id),
            ):
                connection.execute(delete(model).where(model.id.not_in(select(used))))
            machines: Any = union(
                select(RunRow.machine_id), select(RecordRow.machine_id).where(RecordRow.machine_id.is_not(None))
            )
            connection.execute(delete(MachineRow).where(MachineRow.id.not_in(machines)))
        return found

    # -- reading ------------------------------------------------------------------------------------------------------

    def runs(self, suite: str | None = None) -> tuple[Run, ...]:
        """All runs, the newest first."""
        wanted = query.runs() if suite is None else query.runs().where(SuiteRow.name == suite)
        return tuple(self._ask(lambda connection: read.runs(connection, wanted, self.damages)))

    def run(self, run_id: str = "latest") -> Run:
        """The newest run ("latest"), or the one whose id is or begins with `run_id`.

        NothingError, InputError; DamagedError for one that is damaged.
        """
        runs = {run.id: run for run in self.runs()}
        if not runs:
            self._refuse_damaged_runs("")
            raise NothingError(f"database {self.name} holds no runs; `drbench run suite smoke` makes one")
        try:
            return runs[pick(list(runs), run_id)]
        except InputError:
            if run_id:
                self._refuse_damaged_runs(run_id)
            raise

    def counts(self) -> dict[str, dict[str, int]]:
        """Run id -> status -> how many records."""
        rows = self._ask(lambda connection: fetch(connection, query.counts()))
        found: dict[str, dict[str, int]] = {}
        for place, (run_id, status, number, count) in enumerate(
            zip(*(rows.columns[name] for name in ("run_id", "status", "number", "count")), strict=True)
        ):
            if place in rows.faults:
                _, name, fault = rows.faults[place]
                self.damages.add(run_id, number, name, fault)
            else:
                found.setdefault(run_id, {})[status] = count
        return found

    def records(
        self, run_id: str | None = None, *, stage: str | None = None, status: str | None = None, samples: bool = True
    ) -> tuple[Record, ...]:
        """Records in the order in which they were made, whole; `samples=False` leaves the raw samples behind."""
        wanted = query.records()
        for column, value in ((RecordRow.run_id, run_id), (RecordRow.stage, stage), (RecordRow.status, status)):
            wanted = wanted if value is None else wanted.where(column == value)
        without = () if samples else (schema.SampleRow,)
        found = self._ask(lambda connection: read.whole(connection, wanted, self.damages, without))
        return tuple(read.record(one) for one in found)

    def done_keys(self, run_id: str) -> set[str]:
        """The keys of the work that is done in a run: what resuming leaves out."""
        wanted = select(RecordRow.work_key).where(RecordRow.run_id == run_id, RecordRow.status == "done")
        return self._ask(lambda connection: set(connection.execute(wanted).scalars()))

    def rows(
        self,
        *,
        run: str | None = None,
        suite: str | None = None,
        names: Collection[str] | Callable[[table.Columns], Collection[str]] | None = None,
    ) -> tuple[table.Columns, table.Columns]:
        """For reports: the records, and their measurements without samples, as columns by name.

        Measurements name their record in the column `record`; both are of the same moment. `names`: only these figures;
        a function is asked for them with the columns of the records.
        """
        records, measurements = query.report_records(), query.report_measurements()
        if run is not None:
            records = records.where(RecordRow.run_id == run)
            measurements = measurements.where(
                schema.MeasurementRow.record_id.in_(select(RecordRow.id).where(RecordRow.run_id == run))
            )
        if suite is not None:
            records = records.where(SuiteRow.name == suite)

        def of_records(columns: table.Columns) -> query.Query:
            wanted = names(columns) if callable(names) else names
            return measurements if wanted is None else measurements.where(schema.MeasurementRow.name.in_(wanted))

        everything = run is None and suite is None
        return self._ask(
            lambda connection: table.read(connection, records, of_records, self.damages, everything=everything)
        )

    # -- within -------------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        if not self.writable:
            raise InputError(f"database {self.name} was opened to be read; open it with write=True")
        with translated(self.name), self._engine.begin() as connection:
            yield connection

    def _ask(self, question: Callable[[Connection], T]) -> T:
        """The answer to a question, in a transaction of its own."""
        with self._reading() as connection:
            return question(connection)

    def _refuse_damaged_runs(self, wanted: str) -> None:
        """DamagedError where a run that is asked for is damaged itself."""
        if runs := self.damages.runs(wanted):
            raise DamagedError(f"database {self.name} is damaged: {'; '.join(runs[:3])}")

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with translated(self.name), self._engine.begin() as connection:
                yield connection
        finally:  # an overtaken reader may have seen anything, damage included
            if self._stat() != self._signature:
                raise FailedError(f"database {self.name} was written to while it was read; ask again")

    def _stat(self) -> tuple[int, int]:
        """Something that changes with the file, where it is read without a lock."""
        if self._unchanging is None:
            return (0, 0)
        try:
            stat = self._unchanging.stat()
        except OSError:  # it is no longer there
            return (-1, -1)
        return (stat.st_mtime_ns, stat.st_size)

    def _set_status(self, run_id: str, status: str, finished: str) -> None:
        with self._writing() as connection:
            change = update(RunRow).where(RunRow.id == run_id).values(status=status, finished=finished)
            if cast(CursorResult[Any], connection.execute(change)).rowcount != 1:
                raise InputError(f"database {self.name} has no run {run_id!r}")


def pick(ids: Sequence[str], wanted: str) -> str:
    """Of the ids of runs, the newest first: "latest", an id, or the beginning of one. InputError: none or several."""
    if not wanted:  # every id begins with it
        raise InputError(
            "run: got ''; expected an id, the beginning of one, or 'latest'. `drbench runs list` shows all"
        )
    if wanted == "latest":
        return ids[0]
    fitting = [one for one in ids if one == wanted] or [one for one in ids if one.startswith(wanted)]
    if len(fitting) == 1:
        return fitting[0]
    shown = ", ".join((fitting or ids)[:5])
    what = f"several runs begin with {wanted!r}" if fitting else f"no run {wanted!r}; newest"
    raise InputError(f"{what}: {shown}. `drbench runs list` shows all, 'latest' is the newest")
