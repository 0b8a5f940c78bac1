"""Options that several commands share. `OVERRIDES` is the one table of the options that change a suite."""

from __future__ import annotations

import functools
import inspect
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from drbench import bounds, passwords
from drbench.errors import InputError
from drbench.figures import BUILT_IN, COMMON

Db = Annotated[str | None, typer.Option("--db", help="Database: path or URL [$DRBENCH_DB or ./drbench.db].")]
METRICS = f"{', '.join(COMMON)}, or a figure of the task ({', '.join(task.headline for task in BUILT_IN.values())})"
"""For the help of options that take metrics."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", help="Only variants that match this glob, such as 'mobilenet_v1*/drconv*'."),
]


@dataclass(frozen=True)
class Option:
    """One option of the command line: its type, its help text and the panel in which --help lists it."""

    kind: Any
    help: str
    panel: str | None = None
    metavar: str | None = None

    def parameter(self, name: str) -> inspect.Parameter:
        """The keyword argument that typer reads; None, or False for a switch, where the option is not given."""
        long = f"--{name.replace('_', '-')}"
        info = typer.Option(long, help=self.help, rich_help_panel=self.panel, metavar=self.metavar)
        default, kind = (False, bool) if self.kind is bool else (None, self.kind | None)
        return inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info]
        )


NETWORKS, DATA, TRAINING, TIMING, LIMITS = "Networks", "Data", "Training", "Timing", "Limits"
_MANY = list[str]

OVERRIDES: Mapping[str, Option] = {
    "only": Option(_MANY, "Only variants that match this glob, such as 'mobilenet_v1*/drconv*'.", NETWORKS),
    "exclude": Option(_MANY, "Leave out variants that match this glob.", NETWORKS),
    "model": Option(_MANY, "Use this model instead of the suite's; repeatable.", NETWORKS),
    "operator": Option(_MANY, "Operator: a name, or package.module:callable; repeatable.", NETWORKS),
    "regions": Option(str, "Number of regions (m); several are compared: 1,2,4,8.", NETWORKS),
    "set": Option(_MANY, "Argument of the operator: experts=4; repeatable.", NETWORKS, "KEY=VALUE"),
    "where": Option(_MANY, "Layers to replace: a recipe, or globs of module names.", NETWORKS),
    "where_set": Option(_MANY, "Argument of the recipe: guide=block; repeatable.", NETWORKS, "KEY=VALUE"),
    "model_set": Option(_MANY, "Argument of the network: key=value; repeatable.", NETWORKS, "KEY=VALUE"),
    "init": Option(str, "Weights of the new layers: fresh (random) or preserve (from the replaced layers).", NETWORKS),
    "match": Option(_MANY, "Add plain networks of equal cost: madds, params, or both.", NETWORKS),
    "input": Option(str, "Input shape, for example 3,224,224.", NETWORKS, "C,H,W"),
    "num_classes": Option(int, "Number of classes.", NETWORKS),
    "stem_stride": Option(int, "Stride of the first layers (default: 1 under 64 px).", NETWORKS),
    "task": Option(str, "Task: a name, or package.module:callable.", None),
    "stages": Option(_MANY, "Stages to run: cost, memory, latency, train.", None),
    "data": Option(str, "Data set: a name, or package.module:callable.", DATA),
    "data_root": Option(str, "Directory of the data set.", DATA, "DIR"),
    "download": Option(bool, "Download the data set if it is missing.", DATA),
    "val_fraction": Option(float, "Share of the training images held out for validation.", DATA),
    "preset": Option(str, "Training preset: quick, standard or paper.", TRAINING),
    "epochs": Option(int, "Number of epochs.", TRAINING),
    "batch_size": Option(int, "Images per training step.", TRAINING),
    "lr": Option(float, "Peak learning rate.", TRAINING),
    "seeds": Option(int, "Trainings per variant; 5 means seeds 0 to 4.", TRAINING),
    "batch_sizes": Option(str, "Batch sizes to time, for example 1,8.", TIMING),
    "threads": Option(int, "CPU threads, for timing and training.", TIMING),
    "device": Option(str, "Device for timing and training: auto, cpu, cuda or mps.", TIMING),
    "precision": Option(str, "Precision of timing and training: fp32, bf16 or fp16.", TIMING),
    "timeout": Option(float, "Seconds per worker; a variant that takes longer fails.", LIMITS),
    "memory_limit": Option(float, "GiB per worker (default: 90% of free memory).", LIMITS),
    "shard": Option(str, "Run one part of the variants: 2/4 is the second of four.", LIMITS, "PART/PARTS"),
    "trust": Option(_MANY, "Code that a model file or an imported run may execute.", LIMITS, "NAME"),
}
"""Option -> how the command line declares it. The names are the keys of `drbench.suite.overrides`."""

OF_NETWORK = ("operator", "regions", "set", "where", "where_set", "model_set", "input", "num_classes", "stem_stride")
OF_MODEL = tuple(name for name in OVERRIDES if name not in ("only", "exclude", "model", "shard"))

Trust = Annotated[list[str] | None, typer.Option("--trust", metavar="NAME", help=OVERRIDES["trust"].help)]


def takes(options: Mapping[str, Option]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add `options` to a command. The command gets them as one table, its argument `given`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_options(**values: Any) -> None:
            given = {name: values.pop(name) for name in options}
            command(given=given, **values)

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            parameter = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            own = parameter.name != "given"
            parameters += [parameter] if own else [option.parameter(name) for name, option in options.items()]
        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return with_options

    return decorate


def overriding(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add these options of `OVERRIDES` to a command, see `takes`."""
    return takes({name: OVERRIDES[name] for name in names})


def db_option(db: str | None) -> str:
    """The text " --db DB" for a suggested command; empty where --db was not given."""
    return f" --db {shlex.quote(passwords.of_database(db))}" if db else ""


def command_line() -> str:
    """The present command as it is recorded: without passwords, in characters that a database accepts."""
    words = ["drbench", *passwords.masked_command(sys.argv[1:])]
    return shlex.join(words).encode("utf-8", "backslashreplace").decode()


def seconds(option: str, value: float) -> float:
    """Return `value`, a number of seconds. InputError unless it is positive and within bounds."""
    if not 0 < value <= bounds.SECONDS:
        raise InputError(f"{option}: got {value:g}; expected seconds, above 0 and up to {bounds.SECONDS:,.0f}")
    return value


def as_overrides(given: Mapping[str, Any]) -> dict[str, Any]:
    """Parse option texts into values: lists, numbers, tables. InputError names the option that is wrong."""
    from drbench.suite import overrides

    values = dict(given)
    for key in ("regions", "batch_sizes"):
        if values.get(key) is not None:
            values[key] = overrides.integers(f"--{key.replace('_', '-')}", values[key])
    for key in ("set", "where_set", "model_set"):
        if values.get(key):
            values[key] = overrides.settings(values[key])
    for key in ("stages", "match", "where"):
        if values.get(key):
            values[key] = overrides.choices(values[key])
    if values.get("timeout") is not None:
        seconds("--timeout", values["timeout"])
    if values.get("memory_limit") is not None and not 0 < values["memory_limit"] <= bounds.MEMORY_GIB:
        raise InputError(
            f"--memory-limit: got {values['memory_limit']:g}; expected GiB, above 0 and up to {bounds.MEMORY_GIB:,.0f}"
        )
    if values.get("shard") is not None:
        values["shard"] = overrides.shard("--shard", values["shard"])
    if values.get("input") is not None:
        values["input"] = overrides.shape("--input", values["input"])
    return values
