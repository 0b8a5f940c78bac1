"""The commands whose outputs are kept, how they are run, and the figures that are in what they print."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from drbench.cli import main

HERE = Path(__file__).parent
KEPT, UNUSUAL, BASELINE = (HERE / name for name in ("kept.db", "unusual.db", "baseline.json"))
EXPECTED, FIGURES = HERE / "expected", HERE / "figures.json"

FIVE, OTHER = "20261126-1539-five-d443", "20261126-1543-five-9e45"
"""The same suite on two machines; every other run is of the first."""
TWO = "20261126-1540-two-93c0"
OWN, CHANGED = "20261126-1554-own-dbf2", "20261126-1554-own-2f54"
"""The suite `own` before and after its networks were changed: one costs more, one less, an operator is slower."""
NOISE, OPS = "20261126-1542-noise-five-feb3", "20261126-1542-ops-9d44"

IN_UNUSUAL = ("--db", "unusual.db")
UNRULY, SWEEP, SLOWER = "20261126-1548-unruly-de22", "20261126-1549-sweep-11ed", "20261126-1550-sweep-0219"
"""Of unusual.db: networks that fail in every way; the same suite with two learning rates."""
EVALUATED_PLAIN = "20261126-1551-mobilenet_v1_0.25-7b99"
EVALUATED = "20261126-1551-mobilenet_v1_0.25-1ae2"

ALL = ("--metrics", "costs,latency,memory,top1")
FORMATS = ("terminal", "md", "json", "junit", "github", "bmf")


@dataclass(frozen=True)
class Case:
    """A command line, and the exit code it has; `columns`: on a terminal of this width, else on none."""

    arguments: tuple[str, ...]
    code: int = 0
    columns: int | None = None


REPORTS = {
    "report-200.txt": Case(("report",), columns=200),
    "report-100.txt": Case(("report",), columns=100),
    "report.md": Case(("report", "--format", "md")),
    "report.csv": Case(("report", "--format", "csv")),
    "report.json": Case(("report", "--format", "json")),
    "report-suite.txt": Case(
        ("report", "--suite", "own", "--sort", "-params", "--columns", "params,top1,ratio"), columns=120
    ),
    "report-run.md": Case(("report", "--run", OWN, "--format", "md")),
    "report-ops.txt": Case(("report", "--run", OPS), columns=120),
    "show-five.txt": Case(("show", FIVE), columns=120),
    "show-two-layers.txt": Case(("show", TWO, "--layers"), columns=120),
    "show-changed.txt": Case(("show", CHANGED), columns=120),
    "show-noise.json": Case(("show", NOISE, "--json")),
    "show-ops.txt": Case(("show", OPS), columns=120),
    "show-suite.toml": Case(("show", TWO, "--suite")),
    "runs.txt": Case(("runs", "list"), columns=160),
    "runs.json": Case(("runs", "list", "--json")),
    "baseline-list.txt": Case(("baseline", "list")),
    "baseline-show.txt": Case(("baseline", "show")),
    "unusual.txt": Case(("report", *IN_UNUSUAL), columns=120),
    "unusual.md": Case(("report", *IN_UNUSUAL, "--format", "md")),
    "unusual.csv": Case(("report", *IN_UNUSUAL, "--format", "csv")),
    "unusual.json": Case(("report", *IN_UNUSUAL, "--format", "json")),
    "unusual-latest.txt": Case(("report", *IN_UNUSUAL, "--latest"), columns=120),
    "unusual-runs.txt": Case(("runs", "list", *IN_UNUSUAL), columns=160),
    "show-unruly.txt": Case(("show", UNRULY, *IN_UNUSUAL), columns=120),
    "show-evaluated.txt": Case(("show", EVALUATED, *IN_UNUSUAL), columns=120),
}
CHECKS = {
    "failed": Case(("check", "--run", CHANGED, "--baseline", "drbench.baseline.json", *ALL), 4),
    "regression": Case(("check", "--run", CHANGED, "--only", "own:tiny*", *ALL), 1),
    "improvement": Case(("check", "--run", CHANGED, "--only", "own:broad/conv", "--metrics", "costs")),
    "unresolved": Case(("check", "--run", CHANGED, "--only", "own:broad/conv", "--metrics", "top1")),
    "unresolved-fails": Case(
        ("check", "--run", CHANGED, "--only", "own:broad/conv", "--metrics", "top1", "--on-unresolved", "fail"), 5
    ),
    "held": Case(("check", "--run", OWN, "--only", "own:tiny*", *ALL)),
    "limits": Case(
        (
            "check",
            "--run",
            CHANGED,
            "--metrics",
            "costs,latency",
            "--only",
            "own:*/own*",
            "--limit",
            "costs=20",
            "--limit",
            "latency=9",
        ),
    ),
    "checkpoints": Case(("check", "--run", CHANGED, "--only", "own:tiny*", "--metrics", "top1", "--checkpoints"), 0),
    "compare": Case(("compare", OWN, CHANGED, "--only", "own:tiny*", "--only", "own:broad*", *ALL), 1),
    "compare-back": Case(("compare", CHANGED, OWN, *ALL), 4),
    "compare-machines": Case(("compare", FIVE, OTHER, *ALL)),
    "compare-machines-allowed": Case(("compare", FIVE, OTHER, *ALL, "--allow-different", "device")),
    "nothing": Case(("compare", FIVE, OTHER, "--metrics", "latency", "--on-unresolved", "fail"), 3),
    "every-failure": Case(("compare", SWEEP, UNRULY, *IN_UNUSUAL, *ALL), 4),
    "learning-rates": Case(("compare", SWEEP, SLOWER, *IN_UNUSUAL, "--metrics", "top1"), 1),
    "learning-rates-allowed": Case(
        (
            *("compare", SWEEP, SLOWER, *IN_UNUSUAL, "--metrics", "costs,memory,top1"),
            *("--allow-different", "train.learning_rate", "--only", "shufflenet*/conv", "--only", "*drconv m=2"),
        )
    ),
}
SUFFIXES = {"terminal": "txt", "md": "md", "json": "json", "junit": "xml", "github": "github", "bmf": "bmf.json"}
CASES = {
    **REPORTS,
    **{
        f"check-{name}.{SUFFIXES[form]}": Case((*case.arguments, "--format", form), case.code)
        for name, case in CHECKS.items()
        for form in (FORMATS if name in ("failed", "regression", "compare-back") else ("terminal", "json"))
    },
}


class Screen(io.StringIO):
    """What a command writes to; a terminal where it has a width."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def command(case: Case) -> tuple[int, str]:
    """Exit code and stdout of a command, run in this process and in the current directory, as far as it goes."""
    out, err = Screen(case.columns is not None), Screen(False)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("DRBENCH", "GITHUB", "CI"))
    }
    environment |= {"COLUMNS": str(case.columns or 80), "NO_COLOR": "1"}
    with mock.patch.dict(os.environ, environment, clear=True), redirect_stdout(out), redirect_stderr(err):
        code = main(case.arguments)
    assert not err.getvalue() or code not in (0, 1), err.getvalue()
    return code, out.getvalue()


def unpack(folder: Path) -> None:
    """The kept databases and baseline, the first under the name that commands look for."""
    shutil.copy(KEPT, folder / "drbench.db")
    shutil.copy(UNUSUAL, folder)
    shutil.copy(BASELINE, folder / "drbench.baseline.json")


def figures(folder: Path) -> dict[str, Any]:
    """Every figure that the reports hold, by place, network and label; and every verdict of the checks."""
    with chdir(folder):
        _, report = command(REPORTS["report.json"])
        _, unusual = command(REPORTS["unusual.json"])
        found: dict[str, Any] = {
            "report": _by_place(json.loads(report)),
            "checks": {},
            "unusual": _by_place(json.loads(unusual)),
        }
        for name, case in CHECKS.items():
            _, text = command(Case((*case.arguments, "--format", "json"), case.code))
            found["checks"][name] = _verdicts(json.loads(text)) if text else {}
    return found


def _by_place(report: Any) -> dict[str, Any]:
    """Where a network is in several tables of a suite (other settings), the later ones are numbered."""
    found: dict[str, Any] = {}
    for place, row in _figures(report):
        number = 2
        name = place
        while name in found:
            name, number = f"{place} ({number})", number + 1
        found[name] = row
    return found


def _figures(report: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for table in report["tables"]:
        for row in table["rows"]:
            yield _place(table, row), _scalars(row)
    for row in report["published"]:
        yield f"published | {row['architecture']} | {row['label']} | {row['source']}", _scalars(row)
    for table in report.get("ops", ()):
        for row in table["rows"]:
            place = f"{_place(table, row)} | batch {row['op_batch_size']} | {row['op_pass']}"
            yield place, _scalars(row)


def _place(table: Any, row: Any) -> str:
    return f"{table['suite']} on {table['machine'].partition(',')[0]} | {row['architecture']} | {row['label']}"


def _scalars(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None and not isinstance(value, dict | list)}


def _verdicts(document: Any) -> dict[str, Any]:
    kept = ("outcome", "before", "now", "effect", "interval", "limit", "unit", "layer", "fails", "allowed")
    verdicts = {
        " | ".join((v["variant"], v["metric"], v["figure"])): {name: v[name] for name in kept}
        for v in document["verdicts"]
    }
    assert len(verdicts) == len(document["verdicts"])
    return {"exit_code": document["exit_code"], "verdicts": verdicts}


def differences(kept: Any, found: Any, where: Sequence[str] = ()) -> Iterator[str]:
    """Where a figure of `kept` is missing or another one in `found`; what is new there is no difference."""
    if isinstance(kept, dict) and isinstance(found, dict):
        for name, value in kept.items():
            if name in found:
                yield from differences(value, found[name], (*where, name))
            else:
                yield f"{' / '.join((*where, name))}: missing"
    elif isinstance(kept, list) and isinstance(found, list) and len(kept) == len(found):
        for number, (one, other) in enumerate(zip(kept, found, strict=True)):
            yield from differences(one, other, (*where, str(number)))
    elif not _same(kept, found):
        yield f"{' / '.join(where)}: was {kept!r}, is {found!r}"


def _same(kept: Any, found: Any) -> bool:
    """Floats to 1e-9, all else exactly."""
    if isinstance(kept, float) and isinstance(found, int | float) and not isinstance(found, bool):
        return abs(kept - found) <= 1e-9 * max(abs(kept), abs(found))
    return bool(kept == found) and isinstance(kept, bool) == isinstance(found, bool)
