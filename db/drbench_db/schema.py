"""The tables, for people who query them: readable names, ISO-8601 UTC text, JSON for what is open-ended, no pickles.

    machine, code, suite  --<  run  --<  record  >--  variant
    record  --<  measurement  --  sample;   record  --<  layer, epoch, file;   record  --  outcome

What hangs on a record is keyed by (record_id, position), so that whole records go in by a few bulk inserts.
The views `leaderboard`, `results` and `runs` are in the migrations. A change here needs a migration and its name in
REVISIONS.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

REVISIONS = ("0001", "0002", "0003")
"""Every schema there was, oldest first; the last one is what this code reads and writes."""
VERSION_TABLE = "drbench_revision"

_DONE = text("status = 'done'")
_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only for INTEGER


class Base(DeclarativeBase):
    """Names of constraints are fixed, so that later migrations can refer to them on any database."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )


class MachineRow(Base):
    """One row per distinct set of facts about a machine; `hash` is the SHA-256 of all of them."""

    __tablename__ = "machine"
    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    hostname: Mapped[str] = mapped_column(Text)
    os: Mapped[str] = mapped_column(Text)
    cpu: Mapped[str] = mapped_column(Text)
    cores: Mapped[int] = mapped_column(Integer)
    threads: Mapped[int] = mapped_column(Integer)
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    gpu: Mapped[str] = mapped_column(Text)
    gpu_memory_bytes: Mapped[int] = mapped_column(BigInteger)
    driver: Mapped[str] = mapped_column(Text)
    python: Mapped[str] = mapped_column(Text)
    torch: Mapped[str] = mapped_column(Text)
    cpu_capability: Mapped[str] = mapped_column(Text)


class CodeRow(Base):
    """drbench's version and, apart from it, the user's repository; one row per distinct set."""

    __tablename__ = "code"
    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    drbench: Mapped[str] = mapped_column(Text)
    repository: Mapped[str] = mapped_column(Text)
    commit_hash: Mapped[str] = mapped_column(Text)
    dirty: Mapped[bool] = mapped_column(Boolean)


class SuiteRow(Base):
    """A suite as it was validated and overridden; `text` is TOML."""

    __tablename__ = "suite"
    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)


class RunRow(Base):
    """One invocation of `drbench run`. status: running, done, failed, interrupted."""

    __tablename__ = "run"
    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    suite_id: Mapped[int] = mapped_column(ForeignKey("suite.id"), index=True)
    machine_id: Mapped[int] = mapped_column(ForeignKey("machine.id"), index=True)
    code_id: Mapped[int] = mapped_column(ForeignKey("code.id"), index=True)
    command: Mapped[str] = mapped_column(Text)
    started: Mapped[str] = mapped_column(String(40))
    finished: Mapped[str] = mapped_column(String(40))
    status: Mapped[str] = mapped_column(String(20))


class VariantRow(Base):
    """A network. `definition` holds all of records.Variant; the other columns are for queries."""

    __tablename__ = "variant"
    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    hash: Mapped[str] = mapped_column(String(128), unique=True)
    architecture: Mapped[str] = mapped_column(Text)
    operator: Mapped[str] = mapped_column(Text)
    regions: Mapped[int | None] = mapped_column(Integer)
    recipe: Mapped[str] = mapped_column(Text)
    init: Mapped[str] = mapped_column(Text)
    width: Mapped[float | None] = mapped_column(Float(53))
    input_shape: Mapped[str] = mapped_column(Text)
    stem_stride: Mapped[int | None] = mapped_column(Integer)
    num_classes: Mapped[int] = mapped_column(Integer)
    matched_by: Mapped[str | None] = mapped_column(Text)
    matched_to: Mapped[str | None] = mapped_column(Text)
    architecture_args: Mapped[dict[str, Any]] = mapped_column(JSON)
    definition: Mapped[dict[str, Any]] = mapped_column(JSON)


class RecordRow(Base):
    """The result of one variant in one stage. status: done, failed (`error` says why), interrupted.

    `uid` names the record in every database that it is copied to. No work is done twice in a run.
    `data`, `preset`, `synthetic` and `task` repeat what `settings` says, for queries. `headline` is the name of the
    task's main figure, of a training. `machine_id` is NULL where the work was done on the machine of the run.
    """

    __tablename__ = "record"
    __table_args__ = (
        Index("ix_record_run_id_stage", "run_id", "stage"),
        Index("uq_record_uid", "uid", unique=True),
        Index("uq_record_done", "run_id", "work_key", unique=True, sqlite_where=_DONE, postgresql_where=_DONE),
    )
    id: Mapped[int] = mapped_column(_Id, primary_key=True)
    uid: Mapped[str] = mapped_column(String(160))
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"))
    variant_id: Mapped[int] = mapped_column(ForeignKey("variant.id"), index=True)
    label: Mapped[str] = mapped_column(Text)
    stage: Mapped[str] = mapped_column(String(20))
    seed: Mapped[int | None] = mapped_column(BigInteger)
    work_key: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(20))
    error: Mapped[str] = mapped_column(Text)
    started: Mapped[str] = mapped_column(String(40))
    finished: Mapped[str] = mapped_column(String(40))
    data: Mapped[str | None] = mapped_column(Text)
    preset: Mapped[str | None] = mapped_column(Text)
    synthetic: Mapped[bool] = mapped_column(Boolean)
    settings: Mapped[dict[str, Any]] = mapped_column(JSON)
    notes: Mapped[list[str]] = mapped_column(JSON)
    task: Mapped[str] = mapped_column(Text, server_default="classify")
    headline: Mapped[str | None] = mapped_column(Text)
    machine_id: Mapped[int | None] = mapped_column(ForeignKey("machine.id"), index=True)


def _record_key() -> Mapped[int]:
    return mapped_column(_Id, ForeignKey("record.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)


def _position() -> Mapped[int]:
    return mapped_column(Integer, primary_key=True, autoincrement=False)


class MeasurementRow(Base):
    """One figure. `value` is NULL where it was not a number.

    With raw samples: `sample_count`, `spread_low` and `spread_high` (the quartiles, 25% and 75%), `p90`, `p99`, all by
    linear interpolation between order statistics. `context` holds what else the figure depends on.
    """

    __tablename__ = "measurement"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLAlchemy's own idiom
    record_id: Mapped[int] = _record_key()
    position: Mapped[int] = _position()
    name: Mapped[str] = mapped_column(Text)
    part: Mapped[str] = mapped_column(Text)
    value: Mapped[float | None] = mapped_column(Float(53))
    unit: Mapped[str] = mapped_column(Text)
    direction: Mapped[str] = mapped_column(String(20))
    batch_size: Mapped[int | None] = mapped_column(Integer)
    threads: Mapped[int | None] = mapped_column(Integer)
    dtype: Mapped[str | None] = mapped_column(Text)
    device: Mapped[str | None] = mapped_column(Text)
    sample_count: Mapped[int] = mapped_column(Integer)
    spread_low: Mapped[float | None] = mapped_column(Float(53))
    spread_high: Mapped[float | None] = mapped_column(Float(53))
    p90: Mapped[float | None] = mapped_column(Float(53))
    p99: Mapped[float | None] = mapped_column(Float(53))
    context: Mapped[dict[str, Any]] = mapped_column(JSON)


class SampleRow(Base):
    """The raw samples of one measurement, in order: little-endian IEEE-754 doubles, 8 bytes each, nothing else."""

    __tablename__ = "sample"
    record_id: Mapped[int] = _record_key()
    position: Mapped[int] = _position()
    float64: Mapped[bytes] = mapped_column(LargeBinary)


class LayerRow(Base):
    """One row of a network's cost table; `madds` is NULL where the convention's figure is not declared."""

    __tablename__ = "layer"
    record_id: Mapped[int] = _record_key()
    position: Mapped[int] = _position()
    name: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    output_shape: Mapped[list[int]] = mapped_column(JSON)
    madds: Mapped[int | None] = mapped_column(BigInteger)
    executed: Mapped[int] = mapped_column(BigInteger)
    params: Mapped[int] = mapped_column(BigInteger)
    parts: Mapped[dict[str, int]] = mapped_column(JSON)


class EpochRow(Base):
    """One epoch of a training curve; losses are NULL where they were not a number.

    `val_score` is the task's headline figure on the validation part.
    """

    __tablename__ = "epoch"
    record_id: Mapped[int] = _record_key()
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    train_loss: Mapped[float | None] = mapped_column(Float(53))
    val_loss: Mapped[float | None] = mapped_column(Float(53))
    val_score: Mapped[float | None] = mapped_column(Float(53))
    learning_rate: Mapped[float] = mapped_column(Float(53))
    images_per_second: Mapped[float] = mapped_column(Float(53))
    seconds: Mapped[float] = mapped_column(Float(53))


class OutcomeRow(Base):
    """What a task kept of each unit (image, pair, probe) of the test set, in data set order.

    `codec` says how `data` is read. rank-u8: a byte per image, the rank of the true class (0: right), capped at 255.
    """

    __tablename__ = "outcome"
    record_id: Mapped[int] = _record_key()
    unit: Mapped[str] = mapped_column(String(40))
    codec: Mapped[str] = mapped_column(String(40))
    count: Mapped[int] = mapped_column(Integer)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class FileRow(Base):
    """A file that a record left behind (weights, logs), by what it is for."""

    __tablename__ = "file"
    record_id: Mapped[int] = _record_key()
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    path: Mapped[str] = mapped_column(Text)
