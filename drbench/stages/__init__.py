"""The stages of a suite, one file each. To add one: a file here, a line in STAGES and its name in `records.STAGES`."""

from __future__ import annotations

from collections.abc import Mapping

from drbench.records import NOISE, Record
from drbench.stages.cost import COST
from drbench.stages.latency import LATENCY
from drbench.stages.memory import MEMORY
from drbench.stages.stage import Request, Row, Stage, WorkContext
from drbench.stages.train import TRAIN

__all__ = ["STAGES", "Request", "Row", "Stage", "WorkContext", "line"]

STAGES: Mapping[str, Stage] = {"cost": COST, "memory": MEMORY, "latency": LATENCY, "train": TRAIN}
"""In the order in which a suite runs them."""


def line(record: Record) -> str:
    """The result of a variant on one line: "cost mobilenet_v2_1.00 conv: 12.34 M multiply-adds, ..."."""
    name = f"{record.stage} {record.variant.architecture} {record.label}"
    if record.seed is not None:
        name += f" seed {record.seed}"
    if record.status != "done":
        return f"{name}: {record.status}: {record.error}"
    stage = LATENCY if record.stage == NOISE else STAGES[record.stage]
    return f"{name}: {stage.line(record)}"
