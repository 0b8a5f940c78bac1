"""Stage `train`: train each network from each seed, or evaluate weights that are given; the task's figures on test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from drbench.figures import of_settings
from drbench.records import Experiment, Record, TrainSettings
from drbench.stages import alone
from drbench.stages.stage import Asked, Stage, WorkContext


def plan(asked: Asked) -> Iterator[Experiment]:
    """Each network by itself, seeds outermost: all networks have one seed before any has two."""
    for seed in range(1 if asked.eval_weights else asked.seeds):
        for variant, label in asked.rows:
            yield Experiment(
                "train", (variant,), seed, asked.data, asked.train, labels=(label,), eval_weights=asked.eval_weights
            )


def measure(one: Experiment, context: WorkContext) -> Iterator[Record]:
    """Train, or evaluate, in a worker; half of the batch where memory runs out."""
    function = "drbench.experiment:train" if one.eval_weights is None else "drbench.experiment:evaluate_weights"
    return alone.measure(function, one, context, alone.BatchSize(_size, _changed, _caveat))


def line(record: Record) -> str:
    """top-1 67.10% on test"""
    headline = of_settings(record.settings).main
    value = next(m.value for m in record.measurements if m.name == headline.name and not m.part)
    return f"{headline.called} {headline.text(value)} on test"


def _size(one: Experiment) -> int:
    return _settings(one).batch_size


def _changed(one: Experiment, size: int) -> Experiment:
    return replace(one, train=replace(_settings(one), batch_size=size))


def _caveat(one: Experiment) -> str:
    return "" if one.eval_weights else "the learning rate is as before, so it is another training"


def _settings(one: Experiment) -> TrainSettings:
    assert one.train is not None
    return one.train


TRAIN = Stage(plan, measure, line, seeded=True, announced=True)
