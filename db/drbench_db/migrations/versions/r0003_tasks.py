"""Records of any task: outcomes in place of ranks, a validation score in place of top-1, each record's own machine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add to the tables in place. All earlier records are of classification, made on the machine of their run."""
    op.execute("DROP VIEW leaderboard")
    op.add_column("record", sa.Column("task", sa.Text(), nullable=False, server_default="classify"))
    op.add_column("record", sa.Column("headline", sa.Text()))
    op.execute("UPDATE record SET headline = 'top1' WHERE stage = 'train'")
    kind = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    reference = "CONSTRAINT fk_record_machine_id REFERENCES machine (id)"  # alembic has no way to add it on SQLite
    op.execute(f"ALTER TABLE record ADD COLUMN machine_id {kind} {reference}")
    op.create_index("ix_record_machine_id", "record", ["machine_id"])
    op.execute("ALTER TABLE epoch RENAME COLUMN val_top1 TO val_score")
    op.create_table(
        "outcome",
        sa.Column("record_id", BIG, autoincrement=False, nullable=False),
        sa.Column("unit", sa.String(40), nullable=False),
        sa.Column("codec", sa.String(40), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["record_id"], ["record.id"], name="fk_outcome_record_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("record_id", name="pk_outcome"),
    )
    op.execute(
        "INSERT INTO outcome (record_id, unit, codec, count, data) "
        "SELECT record_id, 'image', 'rank-u8', image_count, true_class_rank FROM prediction"
    )
    op.drop_table("prediction")
    op.execute(LEADERBOARD)


LEADERBOARD = """
CREATE VIEW leaderboard AS
SELECT run.id AS run, suite.name AS suite, variant.architecture, record.label, variant.operator, variant.regions,
       variant.width, MAX(record.task) AS task, MAX(record.data) AS data, MAX(record.preset) AS preset,
       MAX(CASE WHEN measurement.name = 'madds' THEN measurement.value END) AS madds,
       MAX(CASE WHEN measurement.name = 'executed' THEN measurement.value END) AS executed,
       MAX(CASE WHEN measurement.name = 'params' THEN measurement.value END) AS params,
       MAX(CASE WHEN record.stage = 'memory' AND measurement.name = 'peak_memory' AND measurement.part = 'host'
           THEN measurement.value END) AS peak_memory_host_bytes,
       MAX(CASE WHEN record.stage = 'memory' AND measurement.name = 'peak_memory' AND measurement.part = 'device'
           THEN measurement.value END) AS peak_memory_device_bytes,
       AVG(CASE WHEN measurement.name = 'latency' AND measurement.batch_size = smallest.batch_size
           THEN measurement.value END) AS latency_p50_seconds,
       AVG(CASE WHEN measurement.name = 'latency_ratio' AND measurement.batch_size = smallest.batch_size
           THEN measurement.value END) AS latency_ratio,
       MAX(smallest.batch_size) AS latency_batch_size,
       MAX(record.headline) AS headline,
       AVG(CASE WHEN measurement.name = record.headline THEN measurement.value END) AS headline_mean,
       AVG(CASE WHEN measurement.name = 'top1' THEN measurement.value END) AS top1_mean,
       COUNT(DISTINCT CASE WHEN measurement.name = record.headline THEN record.seed END) AS seeds,
       COUNT(DISTINCT CASE WHEN record.status <> 'done' AND again.id IS NULL THEN record.work_key END)
           AS records_not_done,
       variant.hash AS variant
FROM record
JOIN run ON run.id = record.run_id
JOIN suite ON suite.id = run.suite_id
JOIN variant ON variant.id = record.variant_id
LEFT JOIN record AS again ON again.run_id = record.run_id AND again.work_key = record.work_key AND again.status = 'done'
LEFT JOIN measurement ON measurement.record_id = record.id
    AND (measurement.part = '' OR measurement.name = 'peak_memory')
LEFT JOIN (
    SELECT record_id, MIN(batch_size) AS batch_size FROM measurement
    WHERE name = 'latency' AND part = '' GROUP BY record_id
) AS smallest ON smallest.record_id = record.id
WHERE record.stage NOT IN ('noise', 'ops')
GROUP BY run.id, suite.name, variant.architecture, record.label, variant.operator, variant.regions, variant.width,
         variant.hash
"""
"""One row per run and network, as before; `headline_mean` is the mean over seeds of the task's main figure."""
