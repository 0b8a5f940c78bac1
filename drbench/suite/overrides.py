"""Applies options of the command line to a suite: a document and a table of overrides -> a changed document.

The keys of the overrides are the long names of the options with underscores (`only`, `regions`, `set`, `data_root`,
...). A value of None, False or an empty list changes nothing. The result is validated later.
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
"""The operators of the registry that have regions; a user's own operator may have them too."""

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
_PLACES: Mapping[tuple[str, ...], str] = {
    **{(target,): option for option, target in _TOP.items()},
    **{place: option for option, place in _IN_TABLE.items()},
    ("input_shape",): "input",
    ("operators", "where"): "where",
    ("operators", "init"): "init",
    ("operators", "regions"): "regions",
    ("operators", "operator"): "operator",
    **{(table, key): key for table in ("train", "latency") for key in ("threads", "device")},
    ("train", "precision"): "precision",
    ("latency", "dtype"): "precision",
}
"""Where a value is in a suite -> the option that sets it."""
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def integers(option: str, text: str, least: int = 1) -> list[int]:
    """The different integers of text such as "1,2,4". InputError with the name of the option for anything else.

    >>> integers("--regions", "1,2,4")
    [1, 2, 4]
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option}: got {text!r}; expected whole numbers separated by commas, such as 4,8") from None
    if min(numbers) < least:
        raise InputError(f"{option}: got {text!r}; expected numbers of at least {least}")
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{option}: got {text!r}; expected each number once")
    return numbers


def shape(option: str, text: str) -> list[int]:
    """Channels, height and width from "3,224,224". A single number is the side of a square colour image."""
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    sizes = [3, sizes[0], sizes[0]] if len(sizes) == 1 else sizes
    if len(sizes) != 3 or min(sizes) < 1:
        raise InputError(f"{option}: got {text!r}; expected channels,height,width, such as 3,224,224")
    return sizes


def shard(option: str, text: str) -> list[int]:
    """Part and number of parts from "2/4"."""
    try:
        part, of = map(int, text.split("/"))
    except ValueError:
        part, of = 0, 0
    if not 1 <= part <= of:
        raise InputError(f"{option}: got {text!r}; expected PART/PARTS, from 1/4 to 4/4 for four shards")
    return [part, of]


def choices(values: Iterable[str]) -> list[str]:
    """The values of an option that may be repeated, or have several values separated by commas."""
    return [word.strip() for value in values for word in value.split(",") if word.strip()]


def settings(pairs: Iterable[str]) -> Document:
    """The table of --set key=value pairs. A value is read as TOML (8, 0.5, true, "text", [1, 2]), else as text.

    >>> settings(["experts=4", "generator=grouped"])
    {'experts': 4, 'generator': 'grouped'}
    """
    table: Document = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set: got {pair!r}; expected key=value, such as --set experts=4")
        try:
            table[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            table[key.strip()] = value.strip()
        except (ValueError, RecursionError):  # a number of thousands of digits, or deeply nested lists
            raise InputError(f"--set {key}: the value is too large or nested too deeply") from None
    if message := bounds.wrong(table):
        raise InputError(f"--set: {message}")
    return table


def apply(document: Mapping[str, Any], overrides: Mapping[str, Any]) -> Document:
    """A copy of a suite document with the overrides applied. The document must be valid."""
    new: Document = deepcopy(dict(document))
    given = {key: value for key, value in overrides.items() if _is_given(value)}
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
        before = new.get("stages", STAGES)  # these options concern training, so they imply the stage
        new["stages"] = [stage for stage in STAGES if stage in before or stage == "train"]
    return new


def option_of(path: Sequence[int | str], given: Mapping[str, Any]) -> str | None:
    """The option, such as "--epochs", that set the value at this path of a suite; None if no option of `given` did."""
    names = tuple(part for part in path if isinstance(part, str))
    for length in range(len(names), 0, -1):
        option = _PLACES.get(names[:length])
        if option is not None and _is_given(given.get(option)):
            return f"--{option.replace('_', '-')}"
    return None


def _is_given(value: Any) -> bool:
    return value is not None and value is not False and value != []


def _machine(new: Document, given: Mapping[str, Any]) -> None:
    """Apply threads, device and precision, which hold for timing and for training."""
    for key in ("threads", "device", "precision"):
        if key in given:
            new["train"] = {**new.get("train", {}), key: given[key]}
            name, value = (key, given[key]) if key != "precision" else ("dtype", _DTYPES.get(given[key], given[key]))
            new["latency"] = {**new.get("latency", {}), name: value}


def _operators(new: Document, given: Mapping[str, Any]) -> None:
    """Apply --operator, which replaces the suite's operators; then --regions, --where and --set, which change them."""
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
            raise InputError(f"--regions: suite {new['name']!r} has no operator with `regions`. Give --operator too")
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
    """Apply --data and --input: another data set has its own image size and classes, unless these are given too."""
    if "data" in given and given["data"] != old.get("data", {}).get("name", "shapes"):
        for key in ("num_classes", *(("input_shape",) if given["data"] != "imagefolder" else ())):
            if key not in given:
                new.pop(key, None)
        new["data"].pop("args", None)
    if "input" in given:
        new["input_shape"] = given["input"]
