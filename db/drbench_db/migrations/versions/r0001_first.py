"""The first schema: who ran what where, what came out, and two views for people."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _column(name: str, kind: sa.types.TypeEngine[Any], *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null)


def _texts(*names: str) -> list[sa.Column[Any]]:
    return [_column(name, sa.Text()) for name in names]


def _floats(*names: str, null: bool = False) -> list[sa.Column[Any]]:
    return [_column(name, sa.Float(53), null=null) for name in names]


def _create(table: str, *items: sa.schema.SchemaItem, unique: str = "", **options: Any) -> None:
    """A table with `id` as its key and one unique column."""
    constraints: list[sa.schema.SchemaItem] = [sa.PrimaryKeyConstraint("id", name=f"pk_{table}")]
    if unique:
        constraints.append(sa.UniqueConstraint(unique, name=f"uq_{table}_{unique}"))
    op.create_table(table, *items, *constraints, **options)


def _create_for_record(table: str, key: str, *items: sa.schema.SchemaItem, **options: Any) -> None:
    """A table of what hangs on a record, keyed by the record and `key` (which is among `items`; "" for one row)."""
    keys = ["record_id", key] if key else ["record_id"]
    op.create_table(
        table,
        sa.Column("record_id", BIG, autoincrement=False, nullable=False),
        *items,
        sa.ForeignKeyConstraint(["record_id"], ["record.id"], name=f"fk_{table}_record_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint(*keys, name=f"pk_{table}"),
        **options,
    )


def upgrade() -> None:
    """Tables, then views."""
    _who_and_what()
    _runs_and_records()
    _what_hangs_on_a_record()
    op.execute(RESULTS)
    op.execute(LEADERBOARD)


def _who_and_what() -> None:
    _create(
        "machine",
        _column("id", BIG),
        _column("hash", sa.String(64)),
        *_texts("hostname", "os", "cpu"),
        _column("cores", sa.Integer()),
        _column("threads", sa.Integer()),
        _column("memory_bytes", sa.BigInteger()),
        *_texts("gpu"),
        _column("gpu_memory_bytes", sa.BigInteger()),
        *_texts("driver", "python", "torch", "cpu_capability"),
        unique="hash",
    )
    _create(
        "code",
        _column("id", BIG),
        _column("hash", sa.String(64)),
        *_texts("drbench", "repository", "commit_hash"),
        _column("dirty", sa.Boolean()),
        unique="hash",
    )
    _create("suite", _column("id", BIG), _column("hash", sa.String(64)), *_texts("name", "text"), unique="hash")
    _create(
        "variant",
        _column("id", BIG),
        _column("hash", sa.String(128)),
        *_texts("architecture", "operator"),
        _column("regions", sa.Integer(), null=True),
        *_texts("recipe", "init"),
        *_floats("width", null=True),
        *_texts("input_shape"),
        _column("stem_stride", sa.Integer(), null=True),
        _column("num_classes", sa.Integer()),
        _column("matched_by", sa.Text(), null=True),
        _column("matched_to", sa.Text(), null=True),
        _column("architecture_args", sa.JSON()),
        _column("definition", sa.JSON()),
        unique="hash",
    )


def _runs_and_records() -> None:
    _create(
        "run",
        _column("id", sa.String(128)),
        *(_column(f"{of}_id", BIG) for of in ("suite", "machine", "code")),
        *_texts("command"),
        _column("started", sa.String(40)),
        _column("finished", sa.String(40)),
        _column("status", sa.String(20)),
        *(
            sa.ForeignKeyConstraint([f"{of}_id"], [f"{of}.id"], name=f"fk_run_{of}_id")
            for of in ("suite", "machine", "code")
        ),
    )
    for of in ("suite", "machine", "code"):
        op.create_index(f"ix_run_{of}_id", "run", [f"{of}_id"])
    _create(
        "record",
        _column("id", BIG),
        _column("run_id", sa.String(128)),
        _column("variant_id", BIG),
        *_texts("label"),
        _column("stage", sa.String(20)),
        _column("seed", sa.BigInteger(), null=True),
        *_texts("work_key"),
        _column("status", sa.String(20)),
        *_texts("error"),
        _column("started", sa.String(40)),
        _column("finished", sa.String(40)),
        _column("data", sa.Text(), null=True),
        _column("preset", sa.Text(), null=True),
        _column("synthetic", sa.Boolean()),
        _column("settings", sa.JSON()),
        _column("notes", sa.JSON()),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_record_run_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["variant_id"], ["variant.id"], name="fk_record_variant_id"),
    )
    op.create_index("ix_record_run_id_stage", "record", ["run_id", "stage"])
    op.create_index("ix_record_variant_id", "record", ["variant_id"])


def _what_hangs_on_a_record() -> None:
    _create_for_record(
        "measurement",
        "position",
        _column("position", sa.Integer()),
        *_texts("name", "part"),
        *_floats("value", null=True),
        *_texts("unit"),
        _column("direction", sa.String(20)),
        _column("batch_size", sa.Integer(), null=True),
        _column("threads", sa.Integer(), null=True),
        _column("dtype", sa.Text(), null=True),
        _column("device", sa.Text(), null=True),
        _column("sample_count", sa.Integer()),
        *_floats("spread_low", "spread_high", "p90", "p99", null=True),
        _column("context", sa.JSON()),
        sqlite_with_rowid=False,
    )
    _create_for_record("sample", "position", _column("position", sa.Integer()), _column("float64", sa.LargeBinary()))
    _create_for_record(
        "layer",
        "position",
        _column("position", sa.Integer()),
        *_texts("name", "kind"),
        _column("output_shape", sa.JSON()),
        _column("madds", sa.BigInteger(), null=True),
        _column("executed", sa.BigInteger()),
        _column("params", sa.BigInteger()),
        _column("parts", sa.JSON()),
    )
    _create_for_record(
        "epoch",
        "number",
        _column("number", sa.Integer()),
        *_floats("train_loss", "val_loss", "val_top1", null=True),
        *_floats("learning_rate", "images_per_second", "seconds"),
    )
    _create_for_record(
        "prediction", "", _column("image_count", sa.Integer()), _column("true_class_rank", sa.LargeBinary())
    )
    _create_for_record("file", "name", _column("name", sa.String(128)), *_texts("path"))


RESULTS = """
CREATE VIEW results AS
SELECT run.id AS run, suite.name AS suite, variant.architecture, record.label, variant.operator, variant.regions,
       variant.width, record.stage, record.seed, record.status, record.data, record.preset,
       measurement.name, measurement.part, measurement.value, measurement.unit,
       measurement.batch_size, measurement.threads, measurement.dtype, measurement.device,
       measurement.sample_count, measurement.spread_low, measurement.spread_high,
       record.error, record.finished, variant.hash AS variant
FROM record
JOIN run ON run.id = record.run_id
JOIN suite ON suite.id = run.suite_id
JOIN variant ON variant.id = record.variant_id
LEFT JOIN measurement ON measurement.record_id = record.id
"""
"""Every figure with what it belongs to, one row each; a record without figures has one row (its status, its error)."""

LEADERBOARD = """
CREATE VIEW leaderboard AS
SELECT run.id AS run, suite.name AS suite, variant.architecture, record.label, variant.operator, variant.regions,
       variant.width, MAX(record.data) AS data, MAX(record.preset) AS preset,
       MAX(CASE WHEN measurement.name = 'madds' THEN measurement.value END) AS madds,
       MAX(CASE WHEN measurement.name = 'executed' THEN measurement.value END) AS executed,
       MAX(CASE WHEN measurement.name = 'params' THEN measurement.value END) AS params,
       AVG(CASE WHEN measurement.name = 'latency' AND measurement.batch_size = smallest.batch_size
           THEN measurement.value END) AS latency_p50_seconds,
       MAX(smallest.batch_size) AS latency_batch_size,
       AVG(CASE WHEN measurement.name = 'top1' THEN measurement.value END) AS top1_mean,
       COUNT(DISTINCT CASE WHEN measurement.name = 'top1' THEN record.seed END) AS seeds,
       COUNT(DISTINCT CASE WHEN record.status <> 'done' THEN record.id END) AS records_not_done,
       variant.hash AS variant
FROM record
JOIN run ON run.id = record.run_id
JOIN suite ON suite.id = run.suite_id
JOIN variant ON variant.id = record.variant_id
LEFT JOIN measurement ON measurement.record_id = record.id AND measurement.part = ''
LEFT JOIN (
    SELECT record_id, MIN(batch_size) AS batch_size FROM measurement
    WHERE name = 'latency' AND part = '' GROUP BY record_id
) AS smallest ON smallest.record_id = record.id
GROUP BY run.id, suite.name, variant.architecture, record.label, variant.operator, variant.regions, variant.width,
         variant.hash
"""
"""One row per run and variant. Latency is the one at the smallest batch size; top-1 the mean over seeds."""
