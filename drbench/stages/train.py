"""Stage `train`: train each network once per seed, or evaluate given weights; the task's figures on the test part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from drbench.figures import of_settings
from drbench.records import Experiment, Record, TrainSettings
from drbench.stages import alone
from drbench.stages.stage import Request, Stage, WorkContext


def plan(request: Request) -> Iterator[Experiment]:
    """One Experiment per seed and network. All networks are trained with a seed before the next seed."""
    for seed in range(1 if request.eval_weights else request.seeds):
        for variant, label in request.rows:
            yield Experiment(
                "train",
                (variant,),
                seed,
                request.data,
                request.train,
                labels=(label,),
                eval_weights=request.eval_weights,
            )


def measure(experiment: Experiment, context: WorkContext) -> Iterator[Record]:
    """Train or evaluate in a worker; if memory runs out, again with half the batch size."""
    function = "drbench.experiment:train" if experiment.eval_weights is None else "drbench.experiment:evaluate_weights"
    return alone.measure(function, experiment, context, alone.BatchSize(_size, _changed, _caveat))


def line(record: Record) -> str:
    """Such as "top-1 67.10% on test"."""
    headline = of_settings(record.settings).main
    value = next(m.value for m in record.measurements if m.name == headline.name and not m.part)
    return f"{headline.called} {headline.text(value)} on test"


def _size(experiment: Experiment) -> int:
    return _settings(experiment).batch_size


def _changed(experiment: Experiment, size: int) -> Experiment:
    return replace(experiment, train=replace(_settings(experiment), batch_size=size))


def _caveat(experiment: Experiment) -> str:
    return "" if experiment.eval_weights else "the learning rate is unchanged, so this is a different training"


def _settings(experiment: Experiment) -> TrainSettings:
    assert experiment.train is not None
    return experiment.train


TRAIN = Stage(plan, measure, line, seeded=True, announced=True)
