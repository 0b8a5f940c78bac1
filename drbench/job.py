"""One variant of an experiment in progress, and its Record: with the result of its work or the reason of a failure.

A worker returns a Result; the process that runs the suite makes the Record. This module loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from drbench import identity, protocol_versions
from drbench.figures import FIGURES
from drbench.records import Epoch, Experiment, LayerCost, Machine, Measurement, Outcomes, Record, Variant
from drbench.text import printable


def now() -> str:
    """The current time in UTC, as ISO-8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Result:
    """The result of a worker for one variant, with fields of a Record. `settings` are added to those of the work."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    layers: tuple[LayerCost, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    outcomes: Outcomes | None = None
    notes: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One variant of an experiment, from its start to its Record."""

    experiment: Experiment
    variant: Variant
    label: str
    started: str = field(default_factory=now)

    @property
    def key(self) -> str:
        """The work key."""
        return identity.experiment_key(self.experiment, self.variant)

    def record(
        self,
        result: Result,
        *,
        done_as: Experiment | None = None,
        machine: Machine | None = None,
        notes: Sequence[str] = (),
    ) -> Record:
        """The Record of finished work.

        Args:
            result: what the worker returned.
            done_as: the experiment with the settings that were used, if these differ from the requested ones.
            machine: the machine that did the work; None: the machine of the run.
            notes: more notes, after those of the result.
        """
        return self._record("done", result, done_as or self.experiment, machine, (*result.notes, *notes))

    def failed(
        self, kind: str, reason: str, traceback: str, workdir: Path, *, machine: Machine | None = None
    ) -> Record:
        """The Record of failed work. Its error is `kind` (see executor.Ended) and `reason`, such as "crashed: SIGSEGV".

        The traceback, if any, is written to a file in `workdir`.
        """
        files = {}
        if traceback:
            workdir.mkdir(parents=True, exist_ok=True)
            log = workdir / f"{self.experiment.stage}-{identity.variant_hash(self.variant)}.log"
            log.write_text(traceback, encoding="utf-8", errors="backslashreplace")
            files["traceback"] = str(log)
        error = printable(reason if kind == "failed" else f"{kind}: {reason}", 500)
        result = Result(settings={"ended": kind}, files=files)
        return self._record("failed", result, self.experiment, machine, (), error)

    def _record(
        self,
        status: str,
        result: Result,
        done_as: Experiment,
        machine: Machine | None,
        notes: tuple[str, ...],
        error: str = "",
    ) -> Record:
        stage = self.experiment.stage
        task_figures = {} if done_as.figures is None else {FIGURES: done_as.figures}
        return Record(
            key=self.key,
            variant=self.variant,
            variant_hash=identity.variant_hash(self.variant),
            label=self.label,
            stage=stage,
            status=status,
            started=self.started,
            finished=now(),
            seed=self.experiment.seed,
            error=error,
            settings={
                **identity.settings(done_as),
                **task_figures,
                **protocol_versions.of_stage(stage),
                **result.settings,
            },
            measurements=result.measurements,
            layers=result.layers,
            epochs=result.epochs,
            outcomes=result.outcomes,
            notes=notes,
            files=result.files,
            machine=machine,
        )
