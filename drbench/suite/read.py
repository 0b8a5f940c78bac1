"""Reads suites: a shipped suite by name, a TOML file by path, or a suite of one model -> a validated Suite."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from drbench import bounds, paths
from drbench.errors import InputError, unknown
from drbench.figures import BUILT_IN, COMMON
from drbench.records import STAGES
from drbench.suite import toml
from drbench.suite.overrides import apply
from drbench.suite.tables import (
    ArchitectureTable,
    CheckTable,
    DataTable,
    LatencyTable,
    LimitsTable,
    OperatorTable,
    StrictTable,
    Suite,
    TrainTable,
)
from drbench.variant_table import expected, short

_STRINGS = re.compile(r"\"\"\"(?:\\.|[^\\])*?\"\"\"|\'\'\'.*?\'\'\'|\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*'", re.DOTALL)
"""The four kinds of strings in TOML."""


def shipped() -> tuple[str, ...]:
    """The names of the suites that drbench ships."""
    files = resources.files("drbench_suites").iterdir()
    return tuple(sorted(file.name[:-5] for file in files if file.name.endswith(".toml")))


def read_text(name_or_path: str) -> str:
    """The TOML text of a shipped suite by name, or of a file by path. InputError if neither exists."""
    path = Path(name_or_path)
    try:
        if name_or_path.endswith(".toml") or len(path.parts) > 1:
            return paths.regular(path, "suite file").read_text(encoding="utf-8")
        if name_or_path in shipped():
            return resources.files("drbench_suites").joinpath(f"{name_or_path}.toml").read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"suite file {name_or_path!r} is not UTF-8 text") from error
    except OSError as error:
        raise InputError(f"suite file {name_or_path!r} cannot be read: {error.strerror}") from error
    raise unknown("suite", name_or_path, shipped(), "Give your own file by its path, which ends in .toml")


def parse(text: str, source: str) -> dict[str, Any]:
    """The tables of a suite's TOML text, not validated. `source`: the name of the suite in messages."""
    if len(text) > bounds.FILE_CHARACTERS:
        raise InputError(f"suite {source!r}: got {len(text):,} characters; expected at most {bounds.FILE_CHARACTERS:,}")
    too_deep = InputError(f"suite {source!r} is nested more than {bounds.DEPTH} levels deep")
    if _longest_key(text) > bounds.DEPTH:  # the memory that tomllib needs grows with the square of a key's parts
        raise too_deep
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise too_deep from None
    except ValueError as error:  # TOMLDecodeError, or a number with more digits than Python reads
        raise InputError(f"suite {source!r} is not valid TOML: {error}") from error


def _longest_key(text: str) -> int:
    """The largest number of dots in a dotted key of a TOML text."""
    bare = _STRINGS.sub("", text)
    parts = (part for line in bare.splitlines() for part in re.split(r"[=,{}\[\]]", line.partition("#")[0]))
    return max(part.count(".") for part in (*parts, ""))


def validate(document: Mapping[str, Any], source: str) -> Suite:
    """The Suite that `document` describes. InputError with the path of the key if a key or a value is wrong."""
    if message := bounds.wrong(document):
        raise InputError(f"suite {source!r}: {message}")
    try:  # through JSON: strict mode then accepts a list as a tuple, but still no text as a number
        suite = Suite.model_validate_json(json.dumps(document))
    except ValidationError as error:
        raise InputError(f"suite {source!r}: {_first(error)}") from error
    _check_metrics(suite, source)
    return suite


def _check_metrics(suite: Suite, source: str) -> None:
    """InputError for a metric that the suite's task does not have. A user's own task is not checked here."""
    if suite.task in BUILT_IN:
        known = (*COMMON, *BUILT_IN[suite.task].names)
        for name in (*suite.check.metrics, *(row.metric for row in suite.check.thresholds)):
            if name not in known:
                raise InputError(f"suite {source!r}: check: {unknown('metric', name, known)}")


def read_suite(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> Suite:
    """A shipped suite by name, or a file by path, with `overrides` from the command line (drbench.suite.overrides)."""
    document = parse(read_text(name_or_path), name_or_path)
    validate(document, name_or_path)  # so that mistakes in the file are reported as such, not as those of an override
    return validate(apply(document, overrides or {}), name_or_path)


def of_model(name: str, overrides: Mapping[str, Any], stages: Sequence[str] = STAGES) -> Suite:
    """A suite of one model: plain, and with --operator (drconv if only arguments of an operator are given)."""
    bare = {"name": name.replace(":", ".").replace("/", "-"), "architectures": [name], "stages": list(stages)}
    given = dict(overrides)
    if not given.get("operator") and any(given.get(key) for key in ("regions", "set", "where", "where_set", "init")):
        given["operator"] = ["drconv"]
    return validate(apply(bare, given), f"of model {name}")


def to_toml(suite: Suite) -> str:
    """The suite as TOML text; `validate(parse(text))` returns the same suite."""
    return toml.dumps(suite.model_dump(mode="json", exclude_none=True))


def _first(error: ValidationError) -> str:
    """The first validation error in one line: the key's path, the expected value and the value."""
    details = error.errors(include_url=False)
    # a misspelt key comes first: it is often the reason why another key is missing
    first = min(details, key=lambda detail: detail["type"] != "extra_forbidden")
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    match first["type"]:
        case "extra_forbidden":
            *parents, key = first["loc"]
            place = f"key in {'.'.join(map(str, parents))}" if parents else "key"
            return f"{unknown(place, key, _keys(parents))}{more}"
        case "missing":
            return f"{where} is missing{more}"
    return f"{where}: got {short(first['input'])}; expected {expected(first['msg'])}{more}"


def _keys(parents: Sequence[int | str]) -> list[str]:
    """The allowed keys of the table at this path."""
    tables: dict[str, type[StrictTable]] = {
        "architectures": ArchitectureTable,
        "operators": OperatorTable,
        "data": DataTable,
        "train": TrainTable,
        "latency": LatencyTable,
        "limits": LimitsTable,
        "check": CheckTable,
    }
    table = tables.get(str(parents[0]), Suite) if parents else Suite
    return list(table.model_fields)
