"""The baseline: one JSON file per repository, for reading and review. Equal facts give equal bytes.

    suites.NAME.ARCHITECTURE/LABEL -> facts (see `facts`); runs.ID -> their source; accepted -> changes with reasons

In the file, a figure of a task has its own name and unit:
"top1": {"seeds": [{"seed": 0, "top1": 0.71, "images": 1000, ...}], ...}.

Tables without nested tables are on one line, so that a diff shows what changed. Facts that are saved again without a
change keep their lines, including the run that they came from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from drbench import atomic, figures, paths
from drbench.check.facts import Facts, VariantFacts
from drbench.errors import FailedError, InputError
from drbench.records import Run

DEFAULT = "drbench.baseline.json"
VERSION = 1


class Source(Facts):
    """The run that facts come from."""

    started: str
    drbench: str
    commit: str = ""
    machine: str = ""


class Accepted(Facts):
    """An intended change of a figure of one variant, with its reason."""

    date: str
    suite: str
    variant: str
    metric: str
    change: str
    reason: str


class Baseline(Facts):
    """The content of the file."""

    format: Literal["drbench-baseline"] = "drbench-baseline"
    version: int = VERSION
    accepted: tuple[Accepted, ...] = ()
    runs: dict[str, Source] = Field(default_factory=dict)
    suites: dict[str, dict[str, VariantFacts]] = Field(default_factory=dict)

    def variants(self, suite: str, only: Iterable[str] = ()) -> dict[str, VariantFacts]:
        """The variants of one suite that the globs select."""
        return {name: facts for name, facts in self.suites.get(suite, {}).items() if chosen(name, only)}


def chosen(variant: str, only: Iterable[str]) -> bool:
    """Whether globs over architecture/label, or over the architecture, select a variant; without globs, all are."""
    globs = tuple(only)
    architecture = variant.rpartition("/")[0]
    return not globs or any(fnmatchcase(variant, glob) or fnmatchcase(architecture, glob) for glob in globs)


def read(path: Path) -> Baseline:
    """The baseline in a file. InputError if the file is missing, of another kind or wrong."""
    if not is_there(path):
        raise InputError(f"there is no baseline {path}. Create one from a run with `drbench baseline save`")
    try:
        text = paths.regular(path, "baseline").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"baseline {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("format") != "drbench-baseline":
            raise InputError(f"{path} is not a drbench baseline: expected format 'drbench-baseline'")
        if document.get("version") != VERSION:
            raise InputError(f"baseline {path}: got version {document.get('version')!r}; expected {VERSION}")
        return Baseline.model_validate_json(json.dumps({**document, "suites": _from_file(document.get("suites", {}))}))
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"baseline {path} is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InputError(f"baseline {path} is not valid JSON: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(_place(first["loc"]))
        raise InputError(f"baseline {path}: {where}: {first['msg']}. Save it again, or correct it") from error
    except ValueError:  # an integer with more digits than Python reads
        raise InputError(f"baseline {path} has a number that is too large") from None


def is_there(path: Path) -> bool:
    """Whether anything exists at the baseline's path. InputError if that cannot be determined."""
    return paths.status(paths.expanded(path, "baseline"), "baseline") is not None


def write(baseline: Baseline, path: Path) -> None:
    """Write the file atomically."""
    path = paths.expanded(path, "baseline")
    if (status := paths.status(path, "baseline")) is not None:
        paths.check_regular(status, path, "baseline")
    try:
        atomic.write(path, dumps(baseline).encode())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"baseline {path} cannot be written: {error.strerror}") from error
    except OSError as error:
        raise FailedError(f"baseline {path} could not be written: {error.strerror}") from error


def saved(baseline: Baseline, run: Run, facts: Mapping[str, VariantFacts], metrics: Iterable[str]) -> Baseline:
    """The baseline with the facts of a run. Facts that did not change keep their run."""
    wanted = tuple(metrics)
    variants = dict(baseline.suites.get(run.suite, {}))
    for name, new in facts.items():
        old = variants.get(name) or VariantFacts(hash=new.hash)
        change = {m: _newer(old.of(m), new.of(m)) for m in wanted if new.of(m) is not None}
        if change:
            variants[name] = old.updated(new.hash, change)
    return _with(baseline, {run.suite: variants}, run)


def removed(baseline: Baseline, names: Mapping[str, Iterable[str]]) -> Baseline:
    """The baseline without these variants, given by suite."""
    kept = {
        suite: {name: facts for name, facts in baseline.suites[suite].items() if name not in set(dropped)}
        for suite, dropped in names.items()
    }
    return _with(baseline, kept)


def _newer(old: Any, new: Any) -> Any:
    if old is not None and old.model_copy(update={"run": new.run}) == new:
        return old
    return new


def _with(baseline: Baseline, suites: Mapping[str, Mapping[str, VariantFacts]], run: Run | None = None) -> Baseline:
    """The baseline with these suites, without runs that are no longer used."""
    merged = {name: variants for name, variants in {**baseline.suites, **suites}.items() if variants}
    runs = dict(baseline.runs)
    if run is not None:
        machine = run.machine
        runs[run.id] = Source(
            started=run.started,
            drbench=run.code.drbench,
            commit=run.code.commit + ("+changes" if run.code.dirty else ""),
            machine=f"{machine.cpu}, {machine.cores} cores{f', {machine.gpu}' if machine.gpu else ''}",
        )
    used = {
        facts.of(metric).run for variants in merged.values() for facts in variants.values() for metric in facts.known()
    }
    return baseline.model_copy(update={"suites": merged, "runs": {k: runs[k] for k in runs if k in used}})


def dumps(baseline: Baseline) -> str:
    """The text of the file: keys in the order of the models; suites, variants and runs sorted."""
    document = baseline.model_dump(mode="json", exclude_none=True)
    document["runs"] = dict(sorted(document["runs"].items()))
    document["suites"] = {
        suite: {name: _to_file(facts) for name, facts in sorted(variants.items())}
        for suite, variants in sorted(document["suites"].items())
    }
    return _lines(document, "") + "\n"


def _to_file(facts: dict[str, Any]) -> dict[str, Any]:
    """A variant's facts as in the file: figures of tasks under their names, with their units."""
    table = {key: value for key, value in facts.items() if key != "scores"}
    for name, scores in facts["scores"].items():
        rest = {key: value for key, value in scores.items() if key not in ("figure", "seeds", "task")}
        task = {} if scores["task"] == figures.DEFAULT else {"task": scores["task"]}
        names = _names(name, scores)
        seeds = [{names.get(key, key): value for key, value in entry.items()} for entry in scores["seeds"]]
        table[name] = {**rest, **task, "seeds": seeds}
    return table


def _from_file(suites: Any) -> Any:
    """The suites of the file in the form of the models, which refuse wrong parts; these are left unchanged here."""
    if not isinstance(suites, dict):
        return suites
    converted = dict(suites)
    for suite, variants in suites.items():
        if isinstance(variants, dict):
            converted[suite] = {name: _with_scores(facts) for name, facts in variants.items()}
    return converted


def _with_scores(facts: Any) -> Any:
    if not isinstance(facts, dict):
        return facts
    own = [key for key in VariantFacts.model_fields if key != "scores"]
    scores = {}
    for name, table in facts.items():
        if name in own:
            continue
        if not isinstance(table, dict) or not isinstance(table.get("seeds"), list):
            scores[name] = table
            continue
        fields = {stored: field for field, stored in _names(name, table).items()}
        seeds = [
            {fields.get(key, key): value for key, value in entry.items()} if isinstance(entry, dict) else entry
            for entry in table["seeds"]
        ]
        scores[name] = {**table, "figure": name, "seeds": seeds}
    return {**{key: value for key, value in facts.items() if key in own}, "scores": scores}


def _names(figure: str, scores: Mapping[str, Any]) -> dict[str, str]:
    """Field of a Seed -> its key in the file."""
    settings = {figures.TASK: scores.get("task"), figures.FIGURES: scores.get("figures")}
    try:
        unit = figures.of_settings({key: value for key, value in settings.items() if value is not None}).unit
    except InputError:
        unit = "unit"
    return {"value": figure, "count": f"{unit}s"}


def _place(where: tuple[int | str, ...]) -> Iterator[str]:
    """The path in the file of a field of the models."""
    figure = ""
    for before, key in zip(("", *where), where, strict=False):
        if before == "scores":
            figure = str(key)
        if key == "value" and figure:
            yield figure
        elif key == "count" and figure:
            yield "images" if figure in figures.BUILT_IN[figures.DEFAULT].names else key
        elif key != "scores":
            yield str(key)


def _lines(value: Any, indent: str) -> str:
    """JSON text. A table or list of scalars is on one line; tables with nested tables are on several."""
    inside = indent + " "
    if isinstance(value, dict) and value and _deep(value):
        rows = [f"{inside}{_text(key)}: {_lines(item, inside)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        rows = [inside + _lines(item, inside) for item in value]
        return "[\n" + ",\n".join(rows) + f"\n{indent}]"
    return _text(value)


def _deep(value: Mapping[str, Any]) -> bool:
    """Whether a table contains tables, or lists of them."""
    return any(
        isinstance(item, dict) or (isinstance(item, list) and any(isinstance(element, dict) for element in item))
        for item in value.values()
    )


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
