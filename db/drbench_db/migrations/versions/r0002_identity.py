"""Records get a name that holds in every database, no work is done twice in a run, and the views know memory."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add to the table in place: where SQLite would copy it, dropping the old one would take what hangs on it along."""
    for view in ("results", "leaderboard"):
        op.execute(f"DROP VIEW {view}")
    op.add_column("record", sa.Column("uid", sa.String(160), nullable=False, server_default=""))
    op.execute("UPDATE record SET uid = run_id || '#' || id")  # the same in every copy of an old database
    op.create_index("uq_record_uid", "record", ["uid"], unique=True)
    op.execute(REPEATED)
    done = sa.text("status = 'done'")
    work = ["run_id", "work_key"]
    op.create_index("uq_record_done", "record", work, unique=True, sqlite_where=done, postgresql_where=done)
    op.execute(RESULTS)
    op.execute(LEADERBOARD)
    op.execute(RUNS)


REPEATED = """
UPDATE record SET work_key = work_key || '#' || id
WHERE status = 'done' AND EXISTS (
    SELECT 1 FROM record AS first
    WHERE first.run_id = record.run_id AND first.work_key = record.work_key
      AND first.status = 'done' AND first.id < record.id
)
"""
"""Work that an earlier version measured again when it resumed: the first keeps the key, all figures stay."""

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
       MAX(CASE WHEN record.stage = 'memory' AND measurement.name = 'peak_memory' AND measurement.part = 'host'
           THEN measurement.value END) AS peak_memory_host_bytes,
       MAX(CASE WHEN record.stage = 'memory' AND measurement.name = 'peak_memory' AND measurement.part = 'device'
           THEN measurement.value END) AS peak_memory_device_bytes,
       AVG(CASE WHEN measurement.name = 'latency' AND measurement.batch_size = smallest.batch_size
           THEN measurement.value END) AS latency_p50_seconds,
       AVG(CASE WHEN measurement.name = 'latency_ratio' AND measurement.batch_size = smallest.batch_size
           THEN measurement.value END) AS latency_ratio,
       MAX(smallest.batch_size) AS latency_batch_size,
       AVG(CASE WHEN measurement.name = 'top1' THEN measurement.value END) AS top1_mean,
       COUNT(DISTINCT CASE WHEN measurement.name = 'top1' THEN record.seed END) AS seeds,
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
"""One row per run and network. Latency is the one at the smallest batch size; top-1 the mean over seeds; memory what
inference held at the largest batch size. What failed and was done later is done. What is no network of a suite (noise,
single layers) is in `results` alone."""

RUNS = """
CREATE VIEW runs AS
SELECT run.id AS run, suite.name AS suite, run.status, run.started, run.finished,
       COUNT(record.id) AS records,
       COUNT(CASE WHEN record.status = 'done' THEN 1 END) AS done,
       COUNT(DISTINCT CASE WHEN record.status = 'failed' AND again.id IS NULL THEN record.work_key END) AS failed,
       machine.hostname, machine.cpu, machine.gpu, machine.torch,
       code.drbench, code.commit_hash, code.dirty, run.command
FROM run
JOIN suite ON suite.id = run.suite_id
JOIN machine ON machine.id = run.machine_id
JOIN code ON code.id = run.code_id
LEFT JOIN record ON record.run_id = run.id
LEFT JOIN record AS again ON again.run_id = run.id AND again.work_key = record.work_key AND again.status = 'done'
GROUP BY run.id, suite.name, run.status, run.started, run.finished, machine.hostname, machine.cpu, machine.gpu,
         machine.torch, code.drbench, code.commit_hash, code.dirty, run.command
"""
"""One row per run: how it went, where, and with which code. `failed` is what failed and was not done later."""
