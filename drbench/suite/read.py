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
from drbench.suite.overrides import apply, option_of
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


def validate(document: Mapping[str, Any], source: str, given: Mapping[str, Any] | None = None) -> Suite:
    """The Suite that `document` describes. InputError with the path of the key if a key or a value is wrong.

    `given`: the overrides in the document. A wrong value that comes from one is reported by the name of its option.
    """
    try:
        suite = _parsed(document, source)
    except ValidationError as error:
        first, *others = _problems(error)
        more = f"and {len(others)} more"
        option = option_of(first["loc"], given or {})
        if option:
            message = _line(first, option)
        else:
            message, more = f"suite {source!r}: {_line(first)}", f"{more}: see `drbench suites validate`"
        raise InputError(f"{message} ({more})" if others else message) from error
    _check_metrics(suite, source)
    return suite


def errors_of(name_or_path: str) -> list[str]:
    """All that is wrong with the keys and values of a suite, one line each. InputError if it cannot be read at all."""
    document = parse(read_text(name_or_path), name_or_path)
    try:
        _check_metrics(_parsed(document, name_or_path), name_or_path)
    except ValidationError as error:
        return [f"suite {name_or_path!r}: {_line(problem)}" for problem in _problems(error)]
    return []


def _parsed(document: Mapping[str, Any], source: str) -> Suite:
    if message := bounds.wrong(document):
        raise InputError(f"suite {source!r}: {message}")
    # through JSON: strict mode then accepts a list as a tuple, but still no text as a number
    return Suite.model_validate_json(json.dumps(document))


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
    given = overrides or {}
    return validate(apply(document, given), name_or_path, given)


def of_model(name: str, overrides: Mapping[str, Any], stages: Sequence[str] = STAGES) -> Suite:
    """A suite of one model: plain, and with --operator (drconv if only arguments of an operator are given)."""
    bare = {"name": name.replace(":", ".").replace("/", "-"), "architectures": [name], "stages": list(stages)}
    given = dict(overrides)
    if not given.get("operator") and any(given.get(key) for key in ("regions", "set", "where", "where_set", "init")):
        given["operator"] = ["drconv"]
    return validate(apply(bare, given), f"of model {name}", given)


def to_toml(suite: Suite) -> str:
    """The suite as TOML text; `validate(parse(text))` returns the same suite."""
    return toml.dumps(suite.model_dump(mode="json", exclude_none=True))


def _problems(error: ValidationError) -> list[Any]:
    """The errors, unknown keys first: a misspelt key is often the reason why another key is missing."""
    return sorted(error.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden")


def _line(problem: Mapping[str, Any], option: str | None = None) -> str:
    """One line: the key's path, or the option that set it; then the value and what is expected."""
    where = option or ".".join(map(str, problem["loc"])) or "the file"
    match problem["type"]:
        case "extra_forbidden":
            *parents, key = problem["loc"]
            place = f"key in {'.'.join(map(str, parents))}" if parents else "key"
            return str(unknown(place, key, _keys(parents)))
        case "missing":
            return f"{where}: the key is missing"
    return f"{where}: got {short(problem['input'])}; expected {expected(problem['msg'])}"


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
