"""One variant of an experiment on its way to a Record: done, or failed with its reason. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drbench import identity
from drbench.figures import FIGURES
from drbench.records import Experiment, Record, Variant
from drbench.text import printable


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

    @property
    def key(self) -> str:
        """The name of the work."""
        return identity.experiment_key(self.experiment, self.variant)

    def record(self, status: str = "done", **found: Any) -> Record:
        """The Record with what was `found`."""
        of_task = {} if self.experiment.figures is None else {FIGURES: self.experiment.figures}
        settings = {**identity.settings(self.experiment), **of_task, **found.pop("settings", {})}
        return Record(
            key=self.key,
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

    def failed(self, kind: str, reason: str, traceback: str, workdir: Path) -> Record:
        """The Record of a worker that ended so (see workers.Ended): "crashed: SIGSEGV"; what was raised, by itself.

        The traceback, if there is one, goes to a file in `workdir`.
        """
        files = {}
        if traceback:
            workdir.mkdir(parents=True, exist_ok=True)
            log = workdir / f"{self.experiment.stage}-{identity.variant_hash(self.variant)}.log"
            log.write_text(traceback, encoding="utf-8", errors="backslashreplace")
            files["traceback"] = str(log)
        error = printable(reason if kind == "failed" else f"{kind}: {reason}", 500)
        return self.record("failed", error=error, settings={"ended": kind}, files=files)
