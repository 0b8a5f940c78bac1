"""The command line's say over a suite: a table of overrides -> a changed suite document, validated afterwards.

Keys are the options' long names with underscores (`only`, `regions`, `set`, `data_root`, ...); a value of None or an
empty list says nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from drbench import bounds
from drbench.errors import InputError
from drbench.names import is_import
from drbench.records import STAGES

Document = dict[str, Any]

REGION_OPERATORS = ("drconv", "fixed-grid", "random-guide")
"""The registry's operators that have regions; a user's own may have them too."""

_TOP = {
    "task": "task",
    "stages": "stages",
    "preset": "preset",
    "seeds": "seeds",
    "match": "match",
    "only": "only",
    "exclude": "exclude",
    "stem_stride": "stem_stride",
    "num_classes": "num_classes",
    "model": "architectures",
    "weights": "eval_weights",
    "trust": "trust",
    "shard": "shard",
}
_IN_TABLE = {
    "data": ("data", "name"),
    "data_root": ("data", "root"),
    "download": ("data", "download"),
    "val_fraction": ("data", "val_fraction"),
    "epochs": ("train", "epochs"),
    "batch_size": ("train", "batch_size"),
    "lr": ("train", "learning_rate"),
    "batch_sizes": ("latency", "batch_sizes"),
    "timeout": ("limits", "timeout_seconds"),
    "memory_limit": ("limits", "memory_gib"),
}
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def integers(option: str, text: str, least: int = 1) -> list[int]:
    """The integers of "1,2,4"; InputError in the option's name for anything else.

    >>> integers("--regions", "1,2,4")
    [1, 2, 4]
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option} {text!r}: whole numbers separated by commas are wanted, as in 4,8") from None
    if min(found) < least:
        raise InputError(f"{option} {text!r}: {min(found)} is too small, {least} is the least")
    if len(set(found)) < len(found):
        raise InputError(f"{option} {text!r} names a number twice")
    return found


def shape(option: str, text: str) -> list[int]:
    """Channels, height and width of "3,224,224"; a single number is the side of a square colour image."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    found = [3, found[0], found[0]] if len(found) == 1 else found
    if len(found) != 3 or min(found) < 1:
        raise InputError(f"{option} {text!r}: channels,height,width are wanted, as in 3,224,224")
    return found


def shard(option: str, text: str) -> list[int]:
    """Part and number of parts of "2/4"."""
    try:
        part, of = map(int, text.split("/"))
    except ValueError:
        part, of = 0, 0
    if not 1 <= part <= of:
        raise InputError(f"{option} {text!r}: part/parts is wanted, from 1/4 to 4/4 for four of them")
    return [part, of]


def choices(values: Iterable[str]) -> list[str]:
    """The words of options that may be repeated or separated by commas."""
    return [word.strip() for value in values for word in value.split(",") if word.strip()]


def settings(pairs: Iterable[str]) -> Document:
    """The table that --set key=value pairs make; a value is read as TOML (8, 0.5, true, "text", [1, 2]), else as text.

    >>> settings(["experts=4", "generator=grouped"])
    {'experts': 4, 'generator': 'grouped'}
    """
    table: Document = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {pair!r}: key=value is wanted, as in --set experts=4")
        try:
            table[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            table[key.strip()] = value.strip()
        except (ValueError, RecursionError):  # a number of thousands of digits, lists without end
            raise InputError(f"--set {key}: the value is too large or nested too deeply") from None
    if message := bounds.wrong(table):
        raise InputError(f"--set: {message}")
    return table


def apply(document: Mapping[str, Any], overrides: Mapping[str, Any]) -> Document:
    """A copy of a suite document with the overrides in it. The document itself has been validated before."""
    new: Document = deepcopy(dict(document))
    given = {key: value for key, value in overrides.items() if value is not None and value != [] and value is not False}
    for key, target in _TOP.items():
        if key in given:
            new[target] = given[key]
    for key, (table, name) in _IN_TABLE.items():
        if key in given:
            new[table] = {**new.get(table, {}), name: given[key]}
    _machine(new, given)
    _operators(new, given)
    _input(document, new, given)
    if "model_set" in given:
        named: list[Document] = [{"name": table} if isinstance(table, str) else table for table in new["architectures"]]
        new["architectures"] = [{**table, "args": {**table.get("args", {}), **given["model_set"]}} for table in named]
    if "weights" in given:
        new["stages"] = ["train"]
    elif "stages" not in given and ("epochs" in given or "data" in given):
        before = new.get("stages", STAGES)  # whoever says how or on what to train wants training
        new["stages"] = [stage for stage in STAGES if stage in before or stage == "train"]
    return new


def _machine(new: Document, given: Mapping[str, Any]) -> None:
    """Threads, device and precision hold for timing and for training alike."""
    for key in ("threads", "device", "precision"):
        if key in given:
            new["train"] = {**new.get("train", {}), key: given[key]}
            name, value = (key, given[key]) if key != "precision" else ("dtype", _DTYPES.get(given[key], given[key]))
            new["latency"] = {**new.get("latency", {}), name: value}


def _operators(new: Document, given: Mapping[str, Any]) -> None:
    """--operator replaces the suite's; --regions, --where and --set then change those that there are."""
    regions: Sequence[int] | None = given.get("regions")
    if "operator" in given:
        new["operators"] = [{"operator": name} for name in given["operator"]]
        for table in new["operators"]:
            if regions and (table["operator"] in REGION_OPERATORS or is_import(table["operator"])):
                table["regions"] = regions
    tables: list[Document] = new.get("operators", [])
    if regions:
        swept = [table for table in tables if "regions" in table]
        if not swept:
            raise InputError(
                f"--regions: suite {new['name']!r} has no operator with `regions` to set; name --operator too"
            )
        for table in swept:
            table["regions"] = regions
    for table in tables:
        if "where" in given:
            table["where"] = given["where"]
            table.pop("where_args", None)
        if "init" in given:
            table["init"] = given["init"]
        if "set" in given:
            table["operator_args"] = {**table.get("operator_args", {}), **given["set"]}
        if "where_set" in given:
            table["where_args"] = {**table.get("where_args", {}), **given["where_set"]}


def _input(old: Mapping[str, Any], new: Document, given: Mapping[str, Any]) -> None:
    """Another data set brings its own image size and classes, unless they are stated too."""
    if "data" in given and given["data"] != old.get("data", {}).get("name", "shapes"):
        for key in ("num_classes", *(("input_shape",) if given["data"] != "imagefolder" else ())):
            if key not in given:
                new.pop(key, None)
        new["data"].pop("args", None)
    if "input" in given:
        new["input_shape"] = given["input"]
