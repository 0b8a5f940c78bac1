"""The baseline: one file for a repository, which a person can read and review. Same facts, same bytes.

    suites.NAME.ARCHITECTURE/LABEL -> its facts (see `facts`); runs.ID -> where they come from; accepted -> why changed

In the file, a figure of a task stands by its own name and counts its own units:
"top1": {"seeds": [{"seed": 0, "top1": 0.71, "images": 1000, ...}], ...}.

Whatever fits in a line is in a line, so that a diff shows what changed. What is saved again and says the same keeps
its lines, the run they came from included.
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
    """A run that facts come from."""

    started: str
    drbench: str
    commit: str = ""
    machine: str = ""


class Accepted(Facts):
    """An intended change: the figure of one variant, before and after, and why."""

    date: str
    suite: str
    variant: str
    metric: str
    change: str
    reason: str


class Baseline(Facts):
    """The file's content."""

    format: Literal["drbench-baseline"] = "drbench-baseline"
    version: int = VERSION
    accepted: tuple[Accepted, ...] = ()
    runs: dict[str, Source] = Field(default_factory=dict)
    suites: dict[str, dict[str, VariantFacts]] = Field(default_factory=dict)

    def variants(self, suite: str, only: Iterable[str] = ()) -> dict[str, VariantFacts]:
        """Of one suite, what the globs name."""
        return {name: facts for name, facts in self.suites.get(suite, {}).items() if chosen(name, only)}


def chosen(variant: str, only: Iterable[str]) -> bool:
    """Whether globs over architecture/label, or over the architecture, name a variant; no globs name all."""
    globs = tuple(only)
    architecture = variant.rpartition("/")[0]
    return not globs or any(fnmatchcase(variant, glob) or fnmatchcase(architecture, glob) for glob in globs)


def read(path: Path) -> Baseline:
    """The baseline in a file. InputError in one line where it is missing, of another kind or edited wrongly."""
    if not is_there(path):
        raise InputError(f"there is no baseline {path}; `drbench baseline save` makes one from a run")
    try:
        text = paths.regular(path, "baseline").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"baseline {path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        document = json.loads(text)
        if not isinstance(document, dict) or document.get("format") != "drbench-baseline":
            raise InputError(f"{path} is no baseline of drbench: its format should be 'drbench-baseline'")
        if document.get("version") != VERSION:
            raise InputError(f"baseline {path} has version {document.get('version')!r}, this drbench reads {VERSION}")
        return Baseline.model_validate_json(json.dumps({**document, "suites": _from_file(document.get("suites", {}))}))
    except InputError:
        raise
    except RecursionError:
        raise InputError(f"baseline {path} is nested too deep") from None
    except json.JSONDecodeError as error:
        raise InputError(f"baseline {path} is not valid JSON: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(_place(first["loc"]))
        raise InputError(f"baseline {path}: {where}: {first['msg']}; save it anew or mend it by hand") from error
    except ValueError:  # Python reads integers of at most some thousands of digits
        raise InputError(f"baseline {path} holds a number that is too large") from None


def is_there(path: Path) -> bool:
    """Whether there is anything at the baseline's path. InputError where that cannot be told."""
    return paths.status(paths.expanded(path, "baseline"), "baseline") is not None


def write(baseline: Baseline, path: Path) -> None:
    """The file, whole or not at all."""
    path = paths.expanded(path, "baseline")
    if (found := paths.status(path, "baseline")) is not None:
        paths.check_regular(found, path, "baseline")
    try:
        atomic.write(path, dumps(baseline).encode())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as error:
        raise InputError(f"baseline {path} cannot be written: {error.strerror}") from error
    except OSError as error:
        raise FailedError(f"baseline {path} could not be written: {error.strerror}") from error


def saved(baseline: Baseline, run: Run, facts: Mapping[str, VariantFacts], metrics: Iterable[str]) -> Baseline:
    """With a run's facts over what was there; what says the same stays as it is."""
    wanted = tuple(metrics)
    variants = dict(baseline.suites.get(run.suite, {}))
    for name, new in facts.items():
        old = variants.get(name) or VariantFacts(hash=new.hash)
        change = {m: _newer(old.of(m), new.of(m)) for m in wanted if new.of(m) is not None}
        if change:
            variants[name] = old.updated(new.hash, change)
    return _with(baseline, {run.suite: variants}, run)


def removed(baseline: Baseline, names: Mapping[str, Iterable[str]]) -> Baseline:
    """Without these variants, by suite."""
    kept = {
        suite: {name: facts for name, facts in baseline.suites[suite].items() if name not in set(gone)}
        for suite, gone in names.items()
    }
    return _with(baseline, kept)


def _newer(old: Any, new: Any) -> Any:
    if old is not None and old.model_copy(update={"run": new.run}) == new:
        return old
    return new


def _with(baseline: Baseline, suites: Mapping[str, Mapping[str, VariantFacts]], run: Run | None = None) -> Baseline:
    """With these suites, and only the runs that anything still comes from."""
    together = {name: variants for name, variants in {**baseline.suites, **suites}.items() if variants}
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
        facts.of(metric).run
        for variants in together.values()
        for facts in variants.values()
        for metric in facts.known()
    }
    return baseline.model_copy(update={"suites": together, "runs": {k: runs[k] for k in runs if k in used}})


def dumps(baseline: Baseline) -> str:
    """The file's text: keys in their order of meaning, suites, variants and runs sorted."""
    document = baseline.model_dump(mode="json", exclude_none=True)
    document["runs"] = dict(sorted(document["runs"].items()))
    document["suites"] = {
        suite: {name: _to_file(facts) for name, facts in sorted(variants.items())}
        for suite, variants in sorted(document["suites"].items())
    }
    return _lines(document, "") + "\n"


def _to_file(facts: dict[str, Any]) -> dict[str, Any]:
    """A variant's facts as the file has them: figures of tasks by their names, in their units."""
    found = {key: value for key, value in facts.items() if key != "scores"}
    for name, scores in facts["scores"].items():
        about = {key: value for key, value in scores.items() if key not in ("figure", "seeds", "task")}
        of_task = {} if scores["task"] == figures.DEFAULT else {"task": scores["task"]}
        names = _names(name, scores)
        seeds = [{names.get(key, key): value for key, value in one.items()} for one in scores["seeds"]]
        found[name] = {**about, **of_task, "seeds": seeds}
    return found


def _from_file(suites: Any) -> Any:
    """The file's suites as the models have them; what has another form than it should is left for them to refuse."""
    if not isinstance(suites, dict):
        return suites
    found = dict(suites)
    for suite, variants in suites.items():
        if isinstance(variants, dict):
            found[suite] = {name: _with_scores(facts) for name, facts in variants.items()}
    return found


def _with_scores(facts: Any) -> Any:
    if not isinstance(facts, dict):
        return facts
    own = [key for key in VariantFacts.model_fields if key != "scores"]
    scores = {}
    for name, found in facts.items():
        if name in own:
            continue
        if not isinstance(found, dict) or not isinstance(found.get("seeds"), list):
            scores[name] = found
            continue
        back = {stored: field for field, stored in _names(name, found).items()}
        seeds = [
            {back.get(key, key): value for key, value in one.items()} if isinstance(one, dict) else one
            for one in found["seeds"]
        ]
        scores[name] = {**found, "figure": name, "seeds": seeds}
    return {**{key: value for key, value in facts.items() if key in own}, "scores": scores}


def _names(figure: str, scores: Mapping[str, Any]) -> dict[str, str]:
    """Field of a Seed -> what the file calls it."""
    settings = {figures.TASK: scores.get("task"), figures.FIGURES: scores.get("figures")}
    try:
        unit = figures.of_settings({key: value for key, value in settings.items() if value is not None}).unit
    except InputError:
        unit = "unit"
    return {"value": figure, "count": f"{unit}s"}


def _place(where: tuple[int | str, ...]) -> Iterator[str]:
    """Where in the file a field of the models is."""
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
    """JSON; a table or list of scalars in a line, except the top of the file and what holds long text."""
    inside = indent + " "
    if isinstance(value, dict) and value and _deep(value):
        rows = [f"{inside}{_text(key)}: {_lines(item, inside)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        rows = [inside + _lines(item, inside) for item in value]
        return "[\n" + ",\n".join(rows) + f"\n{indent}]"
    return _text(value)


def _deep(value: Mapping[str, Any]) -> bool:
    """Whether a table holds tables, or lists of them."""
    return any(
        isinstance(item, dict) or (isinstance(item, list) and any(isinstance(one, dict) for one in item))
        for item in value.values()
    )


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
