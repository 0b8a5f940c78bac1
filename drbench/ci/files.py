"""A repository's suite, baseline and workflow: made whole, then written, and never over what is there."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import chdir
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

from drbench_db import Store

from drbench.check import baseline, gate
from drbench.errors import FailedError, InputError
from drbench.records import Event
from drbench.run import runner
from drbench.suite.read import parse, read_text, shipped, validate
from drbench.suite.tables import Suite

SUITE = Path("drbench.toml")
BASELINE = Path(baseline.DEFAULT)
WORKFLOW = Path(".github/workflows/drbench.yml")


def write(
    directory: Path, suite: str | None = None, *, force: bool = False, on_event: Callable[[Event], None]
) -> tuple[Path, ...]:
    """Write the files below `directory` and say which. Runs the suite's cost stage for the baseline, from in there.

    `suite`: a shipped one, of which there will be a copy; a file in `directory`, which is used as it is; None: a small
    one with comments. InputError for anything else, and for files that are there already unless `force` writes over
    them; FailedError where a network cannot be counted. Then nothing is written.
    """
    if not directory.is_dir():
        raise InputError(f"--dir {str(directory)!r} is no directory: name the top of the repository")
    place, text = _suite(directory, suite)
    made = {place: text} if suite is None or suite in shipped() else {}
    made |= {BASELINE: "", WORKFLOW: _workflow(place)}
    there = [str(path) for path in made if (directory / path).exists()]
    if there and not force:
        raise InputError(f"{', '.join(there)}: there already, nothing was written; --force writes over what is there")
    made[BASELINE] = _counted(directory, validate(parse(text, str(place)), str(place)), on_event)
    for path, content in made.items():
        target = directory / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8", newline="\n")
        except OSError as error:
            raise FailedError(f"{target} could not be written: {error.strerror}") from error
    return tuple(made)


def _suite(directory: Path, suite: str | None) -> tuple[Path, str]:
    """Where the suite lies below `directory`, or will lie, and what it says."""
    if suite is None:
        return SUITE, _template("suite.toml")
    text = read_text(suite)
    if suite in shipped():
        return SUITE, text
    try:
        return Path(suite).resolve().relative_to(directory.resolve()), text
    except ValueError:
        raise InputError(f"--suite {suite!r} lies outside of {str(directory)!r}: CI would not find it there") from None


def _counted(directory: Path, suite: Suite, on_event: Callable[[Event], None]) -> str:
    """The text of a baseline of the suite's costs, which are counted now."""
    counting = suite.model_copy(update={"stages": ("cost",), "eval_weights": None})
    with chdir(directory), TemporaryDirectory() as scratch:
        work = runner.prepare(counting)
        with Store.open(str(Path(scratch) / "costs.db"), write=True) as store:
            outcome = runner.run_suite(counting, store, work=work, files=Path(scratch), on_event=on_event)
            if outcome.status == "interrupted":
                raise KeyboardInterrupt
            run = store.run(outcome.run_id)
            found = gate.facts_of(store, run, ("costs",))
    failed = [f"{name}: {why}" for name, facts in found.items() for why in facts.failed.values()]
    if failed:
        raise FailedError(f"nothing was written, for not everything in suite {suite.name!r} runs: {'; '.join(failed)}")
    return baseline.dumps(baseline.saved(baseline.Baseline(), run, found, ("costs",)))


def _workflow(suite: Path) -> str:
    text = _template("workflow.yml")
    return text.replace("SUITE", shlex.quote(suite.as_posix())).replace("BASELINE", shlex.quote(BASELINE.as_posix()))


def _template(name: str) -> str:
    return resources.files("drbench.ci").joinpath(name).read_text(encoding="utf-8")
