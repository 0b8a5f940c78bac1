"""Formats values of a report: in milliseconds, millions, per cent, with spreads and intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drbench.figures import Figure
from drbench.report.model import Value
from drbench.statistics.samples import LEAST_SEEDS, in_millions

Values = Mapping[str, Value]


MISSING = "-"


def number_of(values: Values, name: str) -> float | None:
    """The value as a number; None if it is missing or text."""
    value = values.get(name)
    return float(value) if isinstance(value, int | float) else None


def millions(name: str, values: Values) -> str:
    """In millions, such as "45.57"."""
    value = number_of(values, name)
    return MISSING if value is None else in_millions(value)


def mebibytes(name: str, values: Values) -> str:
    """In MiB, such as "12.3"."""
    value = number_of(values, name)
    return MISSING if value is None else f"{value / 2**20:,.1f}"


def relative(name: str, values: Values) -> str:
    """A relative difference, such as "+12.6%"."""
    value = number_of(values, name)
    return "" if value is None else f"{value:+.1%}"


def plain(name: str, values: Values) -> str:
    """The value as text; a float with four digits."""
    value = values.get(name)
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def per_second(name: str, values: Values) -> str:
    """A rate, such as "1,234"."""
    value = number_of(values, name)
    return MISSING if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def milliseconds(name: str, values: Values) -> str:
    """In milliseconds, such as "3.21": with one to three decimals."""
    value = number_of(values, name)
    if value is None:
        return MISSING
    shown = value * 1e3
    return f"{shown:.1f}" if shown >= 100 else f"{shown:.2f}" if shown >= 1 else f"{shown:.3f}"


def with_quartiles(name: str, text: Callable[[str, Values], str], values: Values) -> str:
    """A value with its quartiles, such as "3.21 [3.18 3.30]"."""
    low, high = f"{name}_p25", f"{name}_p75"
    middle = text(name, values)
    return f"{middle} [{text(low, values)} {text(high, values)}]" if low in values and high in values else middle


def with_interval(name: str, text: Callable[[str, Values], str], values: Values) -> str:
    """A value with its interval, such as "1.31 [1.29 1.34]"."""
    low, high = f"{name}_low", f"{name}_high"
    middle = text(name, values)
    return f"{middle} [{text(low, values)} {text(high, values)}]" if low in values and high in values else middle


def ratio(name: str, values: Values) -> str:
    """A ratio, such as "1.31"."""
    value = number_of(values, name)
    return "" if value is None else f"{value:.2f}"


def percent(name: str, values: Values) -> str:
    """In per cent, such as "67.10"."""
    value = number_of(values, name)
    return MISSING if value is None else f"{value:.2%}"[:-1]


def score(figure: Figure, name: str, values: Values) -> str:
    """The field `name` as a value of a figure, such as "67.10", or "67.10 ±0.31" with a standard deviation."""
    value, spread = number_of(values, name), number_of(values, f"{name}_sd")
    if value is None:
        return MISSING
    return figure.number(value) + ("" if spread is None else f" ±{figure.number(spread)}")


def seeds(values: Values) -> str:
    """The number of seeds, such as "5" or "2: too few"."""
    value = number_of(values, "seeds")
    return "" if value is None else f"{value:.0f}" + (": too few" if value < LEAST_SEEDS else "")


def gain(figure: Figure, name: str, values: Values) -> str:
    """A difference, such as "+0.61 ±0.20"; in brackets if there are too few seeds for an interval."""
    value, half = number_of(values, name), number_of(values, f"{name}_ci95")
    if value is None:
        return ""
    mean = figure.number(value, signed=True)
    return f"({mean})" if half is None else f"{mean} ±{figure.number(half)}"


def madds(values: Values) -> str:
    """Multiply-adds in millions, or "not declared"."""
    return "not declared" if values.get("declared") is False else millions("madds", values)
