"""A worker's end becomes a record, whatever its words are."""

from __future__ import annotations

from pathlib import Path

import pytest
from drbench_db import Store

from drbench.job import Job
from drbench.records import Experiment, Variant
from drbench.text import printable
from tests.books import RUN
from tests.hostile import SURROGATE, TEXTS


@pytest.mark.parametrize("reason", [*TEXTS, SURROGATE])
def test_a_failure_is_recorded_whatever_its_reason_says(tmp_path: Path, reason: str) -> None:
    variant = Variant("net")
    made = Job(Experiment("train", (variant,)), variant, "conv").failed("failed", reason, f"raise: {reason}", tmp_path)
    with Store.open(tmp_path / "drbench.db", write=True) as store:
        store.begin_run(RUN)
        store.add(RUN.id, made)
        (found,) = store.records(RUN.id)
    assert found.error.isprintable()
    assert found.error.startswith(printable(reason[:20]))
    assert len(found.error) < 5000
    assert Path(found.files["traceback"]).read_text(encoding="utf-8").startswith("raise: ")
