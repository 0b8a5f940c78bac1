"""The figures of a task: what each one is called, its unit, which direction is better, how it is printed.

Report, gate, baseline, compare, exports, curves and help texts read these declarations. No torch: results of a task can
be read where the task itself cannot be imported. The declaration of a task that drbench does not have is stored with
each record of it, under FIGURES in the record's settings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from drbench.errors import InputError, unknown
from drbench.names import HINT, is_import, load

TASK, FIGURES = "task", "figures"
"""Keys of a record's settings: the name of its task, the declaration of its figures (see `as_table`)."""

FRACTION = "fraction"
"""The unit of shares; they are printed in per cent, and their differences in percentage points."""

DIRECTIONS = ("higher", "lower")

COMMON = ("costs", "latency", "memory")
"""What is measured of a network for every task: the metrics of the gate that no task declares."""

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_TAKEN = frozenset(
    (
        *COMMON,
        *("width", "madds", "executed", "params", "activations", "ratio", "floor", "seeds", "images_per_second"),
        *("kind", "architecture", "label", "operator", "regions", "recipe", "variant", "status", "error"),
        *("suite", "task", "data", "synthetic", "training", "machine", "drbench", "preset", "notes", "source"),
        *("hash", "run", "scores", "seed", "correct"),
    )
)
"""Other columns of a report, and other metrics of a check."""
_TAKEN_STARTS = (
    "val_",
    "train_",
    "latency_",
    "memory_",
    "ratio_",
    "floor_",
    "peak_",
    "published_",
    "op_",
    "p90",
    "p99",
)
_TAKEN_ENDS = ("_sd", "_delta", "_ci95", "_seeds", "_equal_madds", "_equal_params")


@dataclass(frozen=True)
class Figure:
    """One figure of a task. Two values of it are compared by their difference, in the figure's unit.

    Args:
        name: in records, csv and JSON and for --columns and --metrics: "top1".
        unit: FRACTION, or any other: "degrees".
        direction: what is better, "higher" or "lower".
        digits: digits after the point where it is printed; of a fraction those of its percentage.
        meaning: what it counts, for the line below a table: "the true class among the first five".
        title: in headers and sentences; the name where it is empty.
        per_unit: whether it is the share of units (images, pairs) that were answered right, so that two sets of answers
            can be compared unit by unit (McNemar's test).
        tolerance: the change for the worse that must be excluded before the gate says "held" where no limit is given.
    """

    name: str
    unit: str = FRACTION
    direction: str = "higher"
    digits: int = 2
    meaning: str = ""
    title: str = ""
    per_unit: bool = False
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        """InputError for values that reports and checks cannot use."""
        text = (self.unit, self.meaning, self.title)
        if not isinstance(self.name, str) or not _NAME.match(self.name) or len(self.name) > 40:
            raise _wrong("name", self.name, "lower-case letters, digits and _, at most 40, a letter first")
        if self.name in _TAKEN or self.name.startswith(_TAKEN_STARTS) or self.name.endswith(_TAKEN_ENDS):
            raise _wrong("name", self.name, "a name that no other column of a report has")
        if not all(isinstance(value, str) and len(value) <= 200 for value in text) or not self.unit:
            raise _wrong(self.name, text, "unit, meaning and title as text of at most 200 characters")
        if self.direction not in DIRECTIONS:
            raise _wrong(f"{self.name}.direction", self.direction, " or ".join(DIRECTIONS))
        if type(self.digits) is not int or not 0 <= self.digits <= 9:
            raise _wrong(f"{self.name}.digits", self.digits, "a whole number from 0 to 9")
        may = self.is_fraction and self.direction == "higher"
        if type(self.per_unit) is not bool or (self.per_unit and not may):
            raise _wrong(f"{self.name}.per_unit", self.per_unit, "true only of a fraction of which higher is better")
        if type(self.tolerance) not in (int, float) or not 0 <= self.tolerance < float("inf"):
            raise _wrong(f"{self.name}.tolerance", self.tolerance, "a number, at least 0")

    @property
    def called(self) -> str:
        """Its title."""
        return self.title or self.name

    @property
    def is_fraction(self) -> bool:
        """Whether it is printed in per cent."""
        return self.unit == FRACTION

    @property
    def printed_unit(self) -> str:
        """The unit in a column header: "%" for fractions."""
        return "%" if self.is_fraction else self.unit

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1: the sign of a change for the better."""
        return 1 if self.direction == "higher" else -1

    def number(self, value: float, digits: int | None = None, *, signed: bool = False) -> str:
        """The value as printed, without its unit: "67.10" for a fraction of 0.671; `signed` is for differences."""
        shown = 100 * value if self.is_fraction else value
        return f"{shown:{'+' if signed else ''}.{self.digits if digits is None else digits}f}"

    def text(self, value: float, digits: int | None = None) -> str:
        """The value as printed, with its unit: "67.10%", "12.31 degrees"."""
        return self.number(value, digits) + ("%" if self.is_fraction else f" {self.unit}")


@dataclass(frozen=True)
class TaskFigures:
    """The declaration of a task: its figures in the order of a report's columns.

    Args:
        task: the task's name: of a built-in one, or "package.module:callable".
        headline: the figure that the gate judges, that differences and validation scores are of.
        figures: all figures that a record of the task can hold, the headline among them.
        unit: what one outcome belongs to: "image", "pair", "probe".
    """

    task: str
    headline: str
    figures: tuple[Figure, ...]
    unit: str = "image"

    def __post_init__(self) -> None:
        """InputError unless names differ and the headline is one of them."""
        names = [figure.name for figure in self.figures]
        if len(set(names)) != len(names) or not 0 < len(names) <= 50:
            raise _wrong(f"task {self.task}: figures", names, "1 to 50 figures with different names")
        if self.headline not in names:
            raise _wrong(f"task {self.task}: headline", self.headline, f"one of {', '.join(names)}")
        if f"{self.unit}s" in names:
            raise _wrong(f"task {self.task}: figures", names, f"no figure of the name {self.unit}s")
        if not isinstance(self.unit, str) or not _NAME.match(self.unit) or len(self.unit) > 40:
            raise _wrong(f"task {self.task}: unit", self.unit, "a word such as image or pair")

    @property
    def names(self) -> tuple[str, ...]:
        """Of all figures."""
        return tuple(figure.name for figure in self.figures)

    @property
    def main(self) -> Figure:
        """The headline figure."""
        return self.figure(self.headline)

    @property
    def validation(self) -> str:
        """The name of the headline figure on the validation part."""
        return f"val_{self.headline}"

    def figure(self, name: str) -> Figure:
        """The figure of this name. InputError names those there are."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise unknown("figure", name, self.names)


CLASSIFY = TaskFigures(
    "classify",
    "top1",
    (
        Figure("top1", title="top-1", meaning="test images, after the last epoch", per_unit=True),
        Figure("top5", title="top-5", meaning="as top-1, the true class among the first five", per_unit=True),
    ),
)
"""Image classification."""

VERIFY = TaskFigures(
    "verify",
    "accuracy",
    (
        Figure(
            "accuracy", meaning="test pairs told apart, mean over folds, threshold from the other folds", per_unit=True
        ),
        Figure("tar", title="TAR", meaning="same pairs accepted at a rate of false accepts of 10 pairs or more"),
        Figure("rank1", title="rank-1", meaning="probes whose mate is more similar than every distractor"),
    ),
    unit="pair",
)
"""Face recognition."""

SEGMENT = TaskFigures(
    "segment",
    "miou",
    (
        Figure("miou", title="mIoU", meaning="mean over classes of one confusion matrix over all test images"),
        Figure("pixel_accuracy", title="pixel acc.", meaning="pixels of all test images that were given their class"),
    ),
)
"""Semantic segmentation."""

BUILT_IN: Mapping[str, TaskFigures] = {declared.task: declared for declared in (CLASSIFY, VERIFY, SEGMENT)}
"""Task -> its declaration, of the tasks that drbench has."""

DEFAULT = CLASSIFY.task
"""The task of suites and records that name none."""


def declared(task: str) -> TaskFigures:
    """The figures of a task by name; only "package.module:callable" is imported. InputError for an unknown task."""
    if task in BUILT_IN:
        return BUILT_IN[task]
    if not is_import(task):
        raise unknown("task", task, BUILT_IN, HINT)
    found = getattr(load("task", task), "figures", None)
    if not isinstance(found, TaskFigures):
        raise InputError(f"task {task!r}: figures: got {found!r:.80}; expected a drbench.figures.TaskFigures")
    return replace(found, task=task)


def as_table(declared: TaskFigures) -> dict[str, Any]:
    """The declaration as plain values, for a record's settings and a baseline; `from_table` reads it."""
    table = asdict(declared)
    del table["task"]
    return {**table, "figures": [dict(figure) for figure in table["figures"]]}


def from_table(task: str, table: object) -> TaskFigures:
    """The declaration that `as_table` wrote; keys that a later version added are left out. InputError."""
    if not isinstance(table, Mapping) or not isinstance(table.get("figures"), list | tuple):
        raise _wrong(f"figures of task {task}", table, "a table with headline and figures")
    known = {field.name for field in fields(Figure)}
    figures = []
    for row in table["figures"]:
        if not isinstance(row, Mapping) or "name" not in row:
            raise _wrong(f"figures of task {task}", row, "a table with name, unit, direction, digits")
        figures.append(Figure(**{key: value for key, value in row.items() if key in known}))
    return TaskFigures(task, table.get("headline", ""), tuple(figures), table.get("unit", "image"))


def of_settings(settings: Mapping[str, Any]) -> TaskFigures:
    """The declaration of a record's task, from the record's settings; nothing is imported.

    A record that failed before its task was loaded may hold none: then see `is_declared`. InputError for a damaged one.
    """
    task = settings.get(TASK) or DEFAULT
    if not isinstance(task, str):
        raise _wrong(TASK, task, "the name of a task")
    if task in BUILT_IN:
        return BUILT_IN[task]
    table = settings.get(FIGURES)
    return TaskFigures(task, UNDECLARED.name, (UNDECLARED,)) if table is None else from_table(task, table)


UNDECLARED = Figure("score", "of the task", digits=3, meaning="the headline figure of a task that was never loaded")
"""Stands for the figures of a task of which only failures are known."""


def is_declared(found: TaskFigures) -> bool:
    """Whether these are the task's own figures."""
    return found.figures != (UNDECLARED,)


def _wrong(where: str, got: object, expected: str) -> InputError:
    return InputError(f"{where}: got {got!r}; expected {expected}")
