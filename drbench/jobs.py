"""One variant of an experiment on its way to a Record: done, or failed with its reason. No torch."""

from __future__ import annotations

import errno
import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drbench import identity
from drbench.errors import DrbenchError
from drbench.records import Experiment, Record, Variant


def now() -> str:
    """The time in UTC, ISO-8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Job:
    """One variant of an experiment; makes its Record, whatever becomes of it."""

    experiment: Experiment
    variant: Variant
    label: str
    started: str = field(default_factory=now)

    def record(self, status: str = "done", **found: Any) -> Record:
        """The Record with what was `found`."""
        settings = {**identity.settings(self.experiment), **found.pop("settings", {})}
        return Record(
            key=identity.experiment_key(self.experiment, self.variant),
            variant=self.variant,
            variant_hash=identity.variant_hash(self.variant),
            label=self.label,
            stage=self.experiment.stage,
            status=status,
            started=self.started,
            finished=now(),
            seed=self.experiment.seed,
            settings=settings,
            **found,
        )

    def failed(self, error: Exception, workdir: Path) -> Record:
        """The Record with the reason in one line; the traceback goes to a file in `workdir`.

        A disk that is full is no fault of the variant: that comes out again.
        """
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise error
        reason = " ".join(str(error).split()) or "no message"
        kind = "" if isinstance(error, DrbenchError) else f"{type(error).__name__}: "
        workdir.mkdir(parents=True, exist_ok=True)
        log = workdir / f"{self.experiment.stage}-{identity.variant_hash(self.variant)}.log"
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
        return self.record("failed", error=f"{kind}{reason}"[:500], files={"traceback": str(log)})
