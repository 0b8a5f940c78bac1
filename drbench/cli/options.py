"""The options that `run suite`, `run model` and `models show` share, and how they become overrides of a suite."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from drbench import bounds, overrides, passwords
from drbench.errors import InputError

Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust", metavar="NAME", help="Code that a model file or an imported run may name; may be repeated."
    ),
]
Db = Annotated[str | None, typer.Option("--db", help="Database, path or URL [$DRBENCH_DB or ./drbench.db].")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]

Operator = Annotated[
    list[str] | None, typer.Option("--operator", help="Operator by name or package.module:callable; may be repeated.")
]
Regions = Annotated[str | None, typer.Option("--regions", help="Region counts to sweep: 8, or 1,2,4,8,16.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Operator argument key=value; may be repeated.")]
Where = Annotated[list[str] | None, typer.Option("--where", help="Recipe, or glob patterns over module names.")]
WhereSet = Annotated[list[str] | None, typer.Option("--where-set", help="Of --where: guide=block, unsuitable=skip.")]
ModelSet = Annotated[list[str] | None, typer.Option("--model-set", help="Architecture argument key=value.")]
Init = Annotated[str | None, typer.Option("--init", help="Converted layers: fresh or preserve.")]
Match = Annotated[list[str] | None, typer.Option("--match", help="Add plain networks of equal cost: madds or params.")]
Input = Annotated[str | None, typer.Option("--input", help="Input shape, as in 3,224,224.")]
Classes = Annotated[int | None, typer.Option("--num-classes", help="Outputs of the classifier.")]
StemStride = Annotated[int | None, typer.Option("--stem-stride", help="Total stride of the stem; 1 under 64 px.")]

Stages = Annotated[list[str] | None, typer.Option("--stages", help="Of cost,memory,latency,train.")]
Data = Annotated[str | None, typer.Option("--data", help="Data set by name or package.module:callable.")]
DataRoot = Annotated[str | None, typer.Option("--data-root", help="Where the data set lies.")]
Download = Annotated[bool, typer.Option("--download", help="Fetch the data set if it is not there.")]
ValFraction = Annotated[float | None, typer.Option("--val-fraction", help="Share of train held out for choices.")]
Preset = Annotated[str | None, typer.Option("--preset", help="Training recipe: quick, standard or paper.")]
Epochs = Annotated[int | None, typer.Option("--epochs", help="Epochs of training.")]
BatchSize = Annotated[int | None, typer.Option("--batch-size", help="Images in a training step.")]
Lr = Annotated[float | None, typer.Option("--lr", help="Learning rate at its highest.")]
Seeds = Annotated[int | None, typer.Option("--seeds", help="Trainings per variant: 5 is seeds 0 to 4.")]
BatchSizes = Annotated[str | None, typer.Option("--batch-sizes", help="Batch sizes to time, as in 1,8.")]
Threads = Annotated[int | None, typer.Option("--threads", help="CPU threads, for timing and training.")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Precision = Annotated[str | None, typer.Option("--precision", help="fp32, bf16 or fp16.")]
Timeout = Annotated[
    float | None, typer.Option("--timeout", help="Seconds that a worker has; what takes longer has failed.")
]
MemoryLimit = Annotated[
    float | None, typer.Option("--memory-limit", help="GiB that a worker may hold; 9/10 of what is free by default.")
]
Shard = Annotated[str | None, typer.Option("--shard", help="Only one part of the variants, as in 2/4.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and its cost; do and record nothing.")]


def db_option(db: str | None) -> str:
    """The words --db DB after a space, for the command that comes next; nothing where none was given."""
    return f" --db {shlex.quote(passwords.of_database(db))}" if db else ""


def command_line() -> str:
    """The command that runs, as it is recorded: without passwords, and in characters that a database takes."""
    words = ["drbench", *passwords.masked_command(sys.argv[1:])]
    return shlex.join(words).encode("utf-8", "backslashreplace").decode()


def files(db: str | None) -> Path:
    """Where the files of runs lie: beside the database's own, else in the current directory."""
    from drbench_db.location import locate

    path = locate(db).path
    return Path(os.path.realpath(path.parent if path else ".")) / "drbench-files"


def seconds(option: str, value: float) -> float:
    """The value, if it is a time that one can wait for. InputError otherwise."""
    if not 0 < value <= bounds.SECONDS:
        raise InputError(f"{option} {value:g}: expected seconds, above 0 up to {bounds.SECONDS:,.0f}")
    return value


def as_overrides(given: Mapping[str, Any]) -> dict[str, Any]:
    """The command line's words as values: lists, numbers, tables. InputError names the option that is wrong."""
    found = dict(given)
    for key in ("regions", "batch_sizes"):
        if found.get(key) is not None:
            found[key] = overrides.integers(f"--{key.replace('_', '-')}", found[key])
    for key in ("set", "where_set", "model_set"):
        if found.get(key):
            found[key] = overrides.settings(found[key])
    for key in ("stages", "match", "where"):
        if found.get(key):
            found[key] = overrides.choices(found[key])
    if found.get("timeout") is not None:
        seconds("--timeout", found["timeout"])
    if found.get("memory_limit") is not None and not 0 < found["memory_limit"] <= bounds.MEMORY_GIB:
        raise InputError(
            f"--memory-limit {found['memory_limit']:g}: expected GiB, above 0 up to {bounds.MEMORY_GIB:,.0f}"
        )
    if found.get("shard") is not None:
        found["shard"] = overrides.shard("--shard", found["shard"])
    if found.get("input") is not None:
        found["input"] = overrides.shape("--input", found["input"])
    return found
