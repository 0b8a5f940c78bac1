"""The columns of a report: their names, meanings and formats.

A column has one or more fields (raw values for csv and json, in seconds, multiply-adds and fractions) and a text for
people (in milliseconds, millions and per cent).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from drbench.errors import unknown
from drbench.figures import CLASSIFY, Figure, TaskFigures
from drbench.report.model import Row, Table
from drbench.report.values import (
    Values,
    gain,
    madds,
    mebibytes,
    millions,
    milliseconds,
    per_second,
    plain,
    ratio,
    relative,
    score,
    seeds,
    with_interval,
    with_quartiles,
)
from drbench.statistics.samples import LEAST_SEEDS


@dataclass(frozen=True)
class Column:
    """One column.

    key: its name for --columns and --sort.
    header: two lines.
    fields: names of the raw values, the main one first.
    topic: columns of one topic stay together if a table is split into blocks.
    meaning: what it counts, with the unit.
    task: the task that declares the figure; None for columns of every task.
    """

    key: str
    header: tuple[str, str]
    fields: tuple[str, ...]
    topic: str
    text: Callable[[Values], str]
    meaning: str = ""
    default: bool = True
    task: TaskFigures | None = None


def _cost() -> tuple[Column, ...]:
    return (
        Column(
            "width",
            ("width", "x"),
            ("width",),
            "cost",
            partial(plain, "width"),
            "width: multiplier of the channels, if it is not the architecture's own",
        ),
        Column(
            "madds",
            ("MAdds", "M"),
            ("madds",),
            "cost",
            madds,
            "MAdds: multiply-adds of convolutions and linear layers for one image, millions, by the convention of the "
            "papers (one filter per position; guide, routing and mixing included); counted, no spread",
        ),
        Column(
            "madds_delta",
            ("Δ", "%"),
            ("madds_delta",),
            "cost",
            partial(relative, "madds_delta"),
            "Δ after a cost: difference to the plain network of the same architecture, relative",
        ),
        Column(
            "executed",
            ("executed", "M"),
            ("executed",),
            "cost",
            partial(millions, "executed"),
            "executed: multiply-adds of the code path that ran for one image, millions",
        ),
        Column(
            "params", ("params", "M"), ("params",), "cost", partial(millions, "params"), "params: parameters, millions"
        ),
        Column("params_delta", ("Δ", "%"), ("params_delta",), "cost", partial(relative, "params_delta")),
        Column(
            "activations",
            ("activations", "M"),
            ("activations",),
            "cost",
            partial(millions, "activations"),
            "activations: elements of the outputs of convolutions and linear layers for one image, millions",
            default=False,
        ),
    )


def _memory() -> tuple[Column, ...]:
    def column(part: str, meaning: str) -> Column:
        name = f"memory_{part}"
        header = "memory" if part == "host" else "GPU memory"
        return Column(name, (header, "MiB"), (name,), "cost", partial(mebibytes, name), f"{header}: {meaning}")

    return (
        column(
            "host",
            "peak host memory of inference at the largest batch size, in addition to the memory used before, MiB: "
            "weights, images, intermediate results",
        ),
        column("device", "peak memory of inference on the accelerator, as allocated by torch, MiB"),
    )


def _scores(task: TaskFigures) -> tuple[Column, ...]:
    """The figures that a task declares: the headline with its differences, then the others."""
    main = task.main
    unit = "in percentage points" if main.is_fraction else f"in {main.unit}"
    better = "" if main.sign > 0 else ", lower is better"

    def difference(key: str, against: str, meaning: str) -> Column:
        name = f"{key}_delta"
        fields = tuple(f"{name}{ending}" for ending in ("", "_ci95", "_seeds"))
        text = partial(gain, main, name)
        return Column(name, (f"Δ {main.called}", against), fields, "accuracy", text, meaning, task=task)

    def mean(figure: Figure, key: str, title: str, meaning: str, *, default: bool = True) -> Column:
        header, text = (title, figure.printed_unit), partial(score, figure, key)
        return Column(key, header, (key,), "accuracy", text, meaning, default, task)

    return (
        Column(
            main.name,
            (main.called, f"{main.printed_unit} ±sd"),
            (main.name, f"{main.name}_sd"),
            "accuracy",
            partial(score, main, main.name),
            f"{main.called}: {_what(main)}mean over seeds ± standard deviation over seeds{better}",
            task=task,
        ),
        Column(
            "seeds",
            ("seeds", "n"),
            ("seeds",),
            "accuracy",
            seeds,
            f"seeds: number of trainings for {main.called}; too few: under {LEAST_SEEDS}, no claim is made",
            task=task,
        ),
        difference(
            main.name,
            "vs plain",
            f"Δ {main.called}: mean difference to plain over common seeds, {unit}, ± half its 95% interval (t, paired "
            f"by seed); in brackets: too few seeds (under {LEAST_SEEDS}) to claim which is better",
        ),
        difference(
            f"{main.name}_equal_madds",
            "at equal MAdds",
            "at equal MAdds: to the plain network widened to this row's multiply-adds (within 1%)",
        ),
        difference(
            f"{main.name}_equal_params",
            "at equal params",
            "at equal params: to the plain network widened to this row's parameters (within 1%)",
        ),
        *(
            mean(
                figure,
                figure.name,
                figure.called,
                f"{figure.called}: {_what(figure)}mean over seeds{'' if figure.sign > 0 else ', lower is better'}",
            )
            for figure in task.figures
            if figure is not main
        ),
        mean(
            main,
            task.validation,
            f"val {main.called}",
            f"val {main.called}: on the validation part held out of train, mean over seeds",
            default=False,
        ),
    )


def _what(figure: Figure) -> str:
    return f"{figure.meaning}, " if figure.meaning else ""


def _training() -> tuple[Column, ...]:
    return (
        Column(
            "images_per_second",
            ("training", "images/s"),
            ("images_per_second",),
            "accuracy",
            partial(per_second, "images_per_second"),
            "training: images per second in training, mean over seeds",
        ),
    )


def _about() -> tuple[Column, ...]:
    def column(key: str, meaning: str, *, default: bool = False, unit: str = "") -> Column:
        return Column(key, (key, unit), (key,), "about", partial(plain, key), meaning, default)

    return (
        column("operator", "operator: what replaces the convolutions"),
        column("regions", "regions: m, the number of filters that each position can select from"),
        column("recipe", "recipe: which convolutions are replaced"),
        column("variant", "variant: hash of everything that defines the network"),
        Column(
            "status",
            ("status", ""),
            ("status", "error"),
            "about",
            partial(plain, "status"),
            "status: done, or the stages that failed; the reasons are below the table",
            default=False,
        ),
    )


def _latency(tables: Iterable[Table]) -> tuple[Column, ...]:
    ways = sorted(
        {way for table in tables for way in table.latencies},
        key=lambda way: (way.batch_size or 0, way.threads or 0, way.dtype, way.device, way.suffix),
    )
    columns = []
    for way in ways:
        name, short = f"latency_{way.suffix}", f"b={way.batch_size}"
        if "_" in way.suffix:
            short = " ".join(filter(None, (short, f"t={way.threads}", way.dtype, way.device, way.format)))
        columns += [
            Column(
                name,
                (f"p50 {short}", "ms [p25 p75]"),
                (name, *(f"{name}_{part}" for part in ("p25", "p75", "p90", "p99", "samples"))),
                "latency",
                partial(with_quartiles, name, milliseconds),
                "p50: median latency of one call with b images, milliseconds [quartiles of the samples]",
            ),
            _over_plain(
                f"ratio_{way.suffix}",
                short,
                "ratio: latency divided by that of plain, in turns in the same processes [95% interval over "
                "processes, if there are several]",
                default=True,
            ),
            _over_plain(
                f"floor_{way.suffix}",
                short,
                "floor: ratio of a copy of plain to plain in the same turns, a difference without a cause in the code",
                default=False,
            ),
            *(
                Column(
                    f"{part}_{way.suffix}",
                    (f"{part} {short}", "ms"),
                    (f"{name}_{part}",),
                    "latency",
                    partial(milliseconds, f"{name}_{part}"),
                    f"{part}: latency below which {part[1:]}% of the samples are, milliseconds",
                    default=False,
                )
                for part in ("p90", "p99")
            ),
        ]
    return tuple(columns)


def _over_plain(name: str, short: str, meaning: str, default: bool) -> Column:
    fields = tuple(f"{name}{part}" for part in ("", "_low", "_high", "_p25", "_p75"))
    header = f"{name.partition('_')[0]} {short}", "[95%]"
    return Column(name, header, fields, "latency", partial(with_interval, name, ratio), meaning, default)


def known(tables: Sequence[Table]) -> tuple[Column, ...]:
    """All columns that a report of `tables` can have, in the order in which they are shown."""
    tasks = dict.fromkeys(table.conditions.task for table in tables)
    scores = [column for task in tasks or (CLASSIFY,) for column in _scores(task)]
    return (*_cost(), *_memory(), *_latency(tables), *scores, *_training(), *_about())


def of_table(columns: Sequence[Column], table: Table) -> tuple[Column, ...]:
    """The columns that apply to a table, without those of other tasks."""
    return tuple(column for column in columns if column.task in (None, table.conditions.task))


def choose(tables: Sequence[Table], wanted: Sequence[str] | None) -> tuple[Column, ...]:
    """The wanted columns, or by default those that have a value in some row.

    "latency", "ratio", "floor", "p90" and "p99" mean all batch sizes. InputError for an unknown column names all.
    """
    columns = known(tables)
    if wanted is None:
        rows = [row for table in tables for row in table.rows]
        return tuple(column for column in columns if column.default and _is_used(column, rows))
    return tuple(dict.fromkeys(column for name in wanted for column in find(columns, name)))


def find(columns: Sequence[Column], name: str) -> list[Column]:
    """The columns for a name. InputError for an unknown name lists all."""
    families = ("latency", "ratio", "floor", "p90", "p99")
    fitting = [
        column for column in columns if column.key == name or (name in families and column.key.startswith(f"{name}_b"))
    ]
    if not fitting and name not in families:
        raise unknown("column", name, dict.fromkeys((*(column.key for column in columns), *families)))
    return fitting


def _is_used(column: Column, rows: Sequence[Row]) -> bool:
    if column.key == "madds":
        return any("madds" in row.values or row.values.get("declared") is False for row in rows)
    return any(column.fields[0] in row.values for row in rows)
