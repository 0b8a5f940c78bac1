"""What a conversion did: every layer before and after, what was left as it is and why. Printed, it is a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Shape = tuple[int, ...]

ONE_POSITION = "one position"
"""The note of a layer that has several regions and one output position, where they can't be told apart."""


@dataclass(frozen=True)
class Replacement:
    """One layer that was replaced, or a guide that was added for a block (then `replaced` is "").

    replaced, by: the layer before and after, in words.
    output_shape: of its first call, without the batch dimension; () if it was not run.
    madds: multiply-adds per sample of all its calls, before and after; None where unknown.
    params: numbers of parameters, before and after.
    notes: what else there is to know, as "frozen" or "one position".
    """

    name: str
    replaced: str
    by: str
    output_shape: Shape = ()
    madds: tuple[int | None, int | None] = (None, None)
    params: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Skipped:
    """One layer that was selected and left as it is; `reason` continues "a layer ..." """

    name: str
    reason: str


@dataclass(frozen=True, repr=False)
class Conversion:
    """What `convert` did. `print` shows it as a table.

    convolutions: number of convolutions that the network had, converted or not.
    input_shape: (C, H, W) of the image that was run, if one was.
    seemed_trained: whether the network's batch norms had seen data.
    before: an earlier conversion of the same network.
    """

    operator: str
    operator_args: Mapping[str, Any]
    where: tuple[str, ...]
    where_args: Mapping[str, Any]
    init: str
    replacements: tuple[Replacement, ...]
    guides: tuple[Replacement, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    convolutions: int = 0
    input_shape: Shape | None = None
    seemed_trained: bool = False
    before: Conversion | None = field(default=None)

    @property
    def guided_blocks(self) -> tuple[str, ...]:
        """Names of the blocks whose converted layers share one guide."""
        return tuple(guide.name.rpartition(".")[0] for guide in self.guides)

    @property
    def one_position(self) -> tuple[str, ...]:
        """Names of the layers whose regions have no effect, because they have one output position."""
        return tuple(row.name for row in self.replacements if ONE_POSITION in row.notes)

    def notes(self, shown: int = 3) -> tuple[str, ...]:
        """What a reader of the results has to know, each in a sentence; most conversions have nothing of it."""
        notes = list(self._remarks(shown))
        if self.skipped:
            names = "; ".join(f"{one.name!r}, {one.reason}" for one in self.skipped[:shown])
            more = f"; and {len(self.skipped) - shown} more" if len(self.skipped) > shown else ""
            notes.append(f"selected layers that are not replaced: {len(self.skipped)} ({names}{more})")
        return tuple(notes)

    def _remarks(self, shown: int = 3) -> Iterator[str]:
        total = len(self.replacements)
        if single := self.one_position:
            names = ", ".join(single[:shown]) + (", ..." if len(single) > shown else "")
            yield (
                f"{len(single)} of {total} replaced layers have one output position, where regions have no effect "
                f"({names})"
            )
        if self.init == "fresh" and self.seemed_trained:
            yield (
                f"the network seems trained (its batch norms have seen data), but init 'fresh' discards the weights of "
                f"the {total} replaced layers; 'preserve' keeps them"
            )

    def __repr__(self) -> str:
        return f"<Conversion: {self._summary()}>"

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _summary(self) -> str:
        args = ", ".join(f"{key}={value!r}" for key, value in self.operator_args.items())
        return (
            f"{self.operator}({args}) replaces {len(self.replacements)} of {self.convolutions} convolutions, "
            f"init={self.init!r}"
        )

    def _lines(self) -> Iterator[str]:
        if self.before is not None:
            yield from (*self.before._lines(), "")
        yield self._summary()
        where = ", ".join([*self.where, *(f"{key}={value}" for key, value in self.where_args.items())])
        on = f"; input {_sizes(self.input_shape)}" if self.input_shape else ""
        yield f"where: {where}{on}"
        rows = [*self.replacements, *self.guides]
        cells = [
            (row.name, row.replaced, row.by, _sizes(row.output_shape), *_figures(row.madds, row.params), *row.notes)
            for row in rows
        ]
        yield ""
        yield from _table(
            ("layer", "replaced", "by", "output", "multiply-adds", "parameters", ""),
            [(*cell[:6], ", ".join(cell[6:])) for cell in cells],
            (*(("total",) + ("",) * 3), *_figures(total_madds(rows), total_params(rows)), ""),
        )
        if self.skipped:
            yield ""
            yield from _table(("not replaced", "reason"), [(one.name, one.reason) for one in self.skipped])
        for remark in self._remarks():
            yield ""
            yield remark


def total_madds(rows: Sequence[Replacement]) -> tuple[int | None, int | None]:
    """Sums of multiply-adds before and after; None where one of them is unknown."""
    before, after = ([row.madds[i] for row in rows] for i in (0, 1))
    return _sum(before), _sum(after)


def total_params(rows: Sequence[Replacement]) -> tuple[int, int]:
    """Sums of parameters before and after."""
    return sum(row.params[0] for row in rows), sum(row.params[1] for row in rows)


def positions(shape: Shape) -> int | None:
    """Output positions of a layer; None if it was not run."""
    return math.prod(shape[-2:]) if len(shape) >= 3 else None


def _sum(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _sizes(shape: Shape | None) -> str:
    return "x".join(map(str, shape)) if shape else "not run"


def _figures(*pairs: tuple[int | None, int | None]) -> Iterator[str]:
    for pair in pairs:
        yield " -> ".join("?" if value is None else f"{value:,}" for value in pair)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], total: Sequence[str] | None = None) -> Iterator[str]:
    everything = [heads, *rows, *([total] if total else [])]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    line = "  ".join("-" * width for width in widths).rstrip()
    for index, row in enumerate(everything):
        if total and index == len(everything) - 1:
            yield line
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        if index == 0:
            yield line
