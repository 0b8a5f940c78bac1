"""`drbench run ops`: runs the operator benchmark in this process and stores its records after each shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from drbench_kernels.bench import facts, options, summary
from drbench_kernels.bench.document import BenchError
from drbench_kernels.bench.options import Settings
from drbench_kernels.bench.runner import Bench, settings_as_before
from drbench_kernels.bench.ways import LAYER

from drbench.errors import InputError
from drbench.measure.machine import machine
from drbench.records import OPS, Event, Run
from drbench.run.opbench.convert import key, records, variant
from drbench.run.opbench.files import suite_text
from drbench.run.runner import check_resumable
from drbench.run.session import Outcome, new_run, session

__all__ = ["LAYER", "resumed", "run_ops", "settings"]

if TYPE_CHECKING:
    from drbench_db import Store

OnEvent = Callable[[Event], None]


def settings(given: Mapping[str, Any]) -> Settings:
    """Settings from the given options; the others have the defaults of `python -m drbench_kernels.bench`.

    InputError for a wrong value, with its name.
    """
    arguments = [
        f"--{name.strip('_').replace('_', '-')}" + ("" if value is True else f"={value}")
        for name, value in given.items()
        if value is not None and value is not False
    ]
    try:
        return options.checked(options.parser().parse_args(arguments), machine().memory_bytes)
    except BenchError as error:
        raise InputError(str(error)) from error


def resumed(table: Mapping[str, Any]) -> Settings:
    """The settings of a run, from its suite text. InputError if they are incomplete."""
    try:
        return Settings.of(table)
    except BenchError as error:
        raise InputError(str(error)) from error


@settings_as_before()
def run_ops(
    wanted: Settings,
    store: Store,
    *,
    files: Path,
    command: str = "",
    resume: Run | None = None,
    on_event: OnEvent = lambda event: None,
) -> Outcome:
    """Measure all shapes and store the records of each shape when it is complete. `resume`: a run to continue.

    Ctrl-C ends the run with "interrupted", without the shape in progress. `files`: folder in which the run gets a
    folder for its lock.
    """
    if resume is not None:
        check_resumable(store, resume)
    table = wanted.as_json()
    run = resume or new_run(OPS, OPS, suite_text(table), command, machine())
    with session(store, run, files, again=resume is not None) as current:
        skip = store.done_keys(run.id)
        bench = Bench(wanted)
        session_facts = bench.session(command, facts.machine(torch.device(wanted.device)))
        shapes = list(bench.cases())
        for number, (shape, cases) in enumerate(shapes):
            on_event(Event("stage", f"{OPS} {shape.name}", number, len(shapes)))
            shape_table = {**asdict(shape), "name": shape.name}
            if all(key(variant(shape_table, way, table), table) in skip for way in wanted.ways):
                current.counts.skipped += len(wanted.ways)
                continue
            rows = [{**bench.measure(case), "session": 0} for case in cases]
            measured = records(table, [{**session_facts, "rates": bench.rates_found()}], rows)
            new = [
                record for record in measured if record.key not in skip
            ]  # the others were measured again as references
            current.counts.skipped += len(measured) - len(new)
            current.keep(*new)
            line = summary.shape_line(rows)
            on_event(Event("note", f"[{number + 1}/{len(shapes)}] {shape.name}: {line}"))
    return current.outcome
