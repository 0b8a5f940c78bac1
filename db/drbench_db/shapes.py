"""The shapes of the JSON that is stored: a shape says what is wrong with a value, and where in it.

Readers rely on these keys and types and on nothing else; keys that no shape names may hold anything.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from drbench import bounds, protocol_versions
from drbench.errors import InputError
from drbench.figures import FIGURES, TASK, from_table
from drbench.records import OPS

Fault: TypeAlias = "tuple[str, object, str]"
"""Where in the value, what is there, what is expected there."""
Shape: TypeAlias = Callable[[Any], "Fault | None"]

LARGEST = 1e18
"""No figure, sample or count is beyond it; sums and squares of such numbers are still finite."""


def a(test: Callable[[Any], bool], expected: str) -> Shape:
    """What a test holds for."""
    return lambda value: None if test(value) else ("", value, expected)


def maybe(shape: Shape) -> Shape:
    """null, or of the shape."""
    return lambda value: None if value is None else shape(value)


def listed(shape: Shape, least: int = 0) -> Shape:
    """A list of these, with at least so many."""

    def check(value: Any) -> Fault | None:
        if not isinstance(value, list) or len(value) < least:
            return ("", value, f"a list of at least {least}" if least else "a list")
        faults = ((f"[{number}]", shape(item)) for number, item in enumerate(value))
        return next((_below(place, fault) for place, fault in faults if fault), None)

    return check


def mapped(shape: Shape, least: int = 0) -> Shape:
    """A table whose values are all of the shape."""

    def check(value: Any) -> Fault | None:
        if not isinstance(value, dict) or len(value) < least:
            return ("", value, "a table")
        return next((_below(f".{key}", fault) for key, item in value.items() if (fault := shape(item))), None)

    return check


def table(known: Mapping[str, Shape], *needed: str) -> Shape:
    """A table whose known keys, where they are there, have these shapes; the `needed` ones must be there."""

    def check(value: Any) -> Fault | None:
        if not isinstance(value, dict):
            return ("", value, "a table")
        for key in needed:
            if key not in value:
                return (f".{key}", None, "a value")
        for key, shape in known.items():
            if key in value and (fault := shape(value[key])):
                return _below(f".{key}", fault)
        return None

    return check


def _below(place: str, fault: Fault) -> Fault:
    return (place + fault[0], fault[1], fault[2])


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -LARGEST <= value <= LARGEST


def whole(low: int, high: int = 2**31 - 1) -> Shape:
    """An integer within these, both included."""
    return a(lambda value: type(value) is int and low <= value <= high, f"a whole number from {low} to {high}")


def exactly(shape: Shape, count: int) -> Shape:
    """A list of just so many."""
    return lambda value: listed(shape)(value) or a(lambda found: len(found) == count, f"{count} values")(value)


def arguments(value: Any) -> Fault | None:
    """Keyword arguments of an operator, a recipe or a network: plain values within drbench's bounds."""
    wrong = bounds.wrong(value)
    return ANY(value) or (("", value, f"plain values: {wrong}") if wrong else None)


TEXT = a(lambda value: isinstance(value, str), "text")
NUMBER = a(_is_number, "a number")
ABOVE_ZERO = a(lambda value: _is_number(value) and value > 0, "a number above 0")
LOG_RATIO = a(lambda value: _is_number(value) and abs(value) <= 100, "a logarithm of a ratio, from -100 to 100")
TRUTH = a(lambda value: isinstance(value, bool), "true or false")
ANY = table({})
COUNT = whole(0, 2**63 - 1)
TEXTS = listed(TEXT)


def _figures(value: Any) -> Fault | None:
    """The declaration of a task's figures."""
    try:
        from_table("", value)
    except InputError as error:
        return ("", value, str(error).partition("expected ")[2] or "the declaration of a task's figures")
    return None


SETTINGS = table(
    {
        TASK: TEXT,
        FIGURES: _figures,
        "data": maybe(table({"name": TEXT, "synthetic": TRUTH})),
        "train": maybe(ANY),
        "trained": maybe(ANY),
        "latency": maybe(ANY),
        "synthetic": TRUTH,
        "eval_weights": TEXT,
        **dict.fromkeys(protocol_versions.CURRENT, whole(1)),
    }
)
NOTES = TEXTS
OUTPUT_SHAPE = listed(COUNT)
PARTS = mapped(COUNT)
_DEFINITION: Mapping[str, Shape] = {
    "architecture": TEXT,
    "operator": TEXT,
    "operator_args": arguments,
    "where": TEXTS,
    "where_args": arguments,
    "init": TEXT,
    "input_shape": exactly(whole(0), 3),
    "num_classes": whole(0),
    "stem_stride": maybe(whole(1)),
    "architecture_args": arguments,
    "match": maybe(TEXT),
    "matched_to": maybe(TEXT),
    "width": maybe(ABOVE_ZERO),
    "sources": mapped(TEXT),
    "task": TEXT,
}
DEFINITION = table(_DEFINITION, "architecture", "operator", "where", "input_shape", "num_classes")
_CONTEXT: Mapping[str, Shape] = {
    "batch_size": whole(1),
    "threads": whole(0),
    "dtype": TEXT,
    "device": TEXT,
    "channels_last": TRUTH,
    "interval": exactly(NUMBER, 2),
    "level": NUMBER,
    "workers": listed(whole(0)),
    "worker_log_ratios": listed(LOG_RATIO, 1),
    "path": TEXT,
    "to": TEXT,
    "regions_present": maybe(NUMBER),
}
CONTEXT = table(_CONTEXT)
DEFINITION_KEYS, CONTEXT_KEYS = tuple(_DEFINITION), tuple(_CONTEXT)
"""The keys that readers look at."""

TIMED = table({}, "batch_size")
"""The context of what is timed or compared, by batch size."""

OPS_LAYER = table(dict.fromkeys(("outputs", "kernel", "stride"), whole(1)), "outputs", "kernel", "stride")
OPS_CONTEXT = table({}, "batch_size", "path", "regions_present")
OPS_RATES = {"gemm_multiply_adds_per_second": ABOVE_ZERO, "copy_bytes_per_second": mapped(ABOVE_ZERO, 1)}
OPS_RECORD = table(
    {"networks": TEXTS, "kernels": TEXT, "clock": TEXT, "rates": table(OPS_RATES, *OPS_RATES)},
    "networks",
    "kernels",
    "clock",
    "rates",
)
_OPS = {
    "shapes": TEXTS,
    "batch_sizes": listed(whole(1)),
    "passes": TEXTS,
    "ways": TEXTS,
    "device": TEXT,
    "dtype": a(lambda value: value in ("float32", "bfloat16", "float16"), "float32, bfloat16 or float16"),
    "memory_format": TEXT,
    "masks": TEXT,
    "regions": whole(1),
    "experts": whole(1),
    "threads": whole(1),
    "graph": TRUTH,
    "flush_l2": TRUTH,
}
OPS_SETTINGS = table({OPS: table(_OPS, *_OPS)}, OPS)


def suite_text(text: str) -> Fault | None:
    """Of a suite's text: what stands there for the operator benchmark is its settings; suites are checked when used."""
    if not text.startswith(f"{OPS} = {{"):
        return None
    try:
        return OPS_SETTINGS(tomllib.loads(text))
    except (ValueError, RecursionError):
        return ("", text, "settings of the operator benchmark, in TOML")


def decoded(text: object) -> Any:
    """The value of a JSON text. ValueError, with what is expected instead, for whatever is none."""
    if not isinstance(text, str):
        raise ValueError("JSON text")
    try:
        value = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except RecursionError:
        raise ValueError(f"JSON of at most {bounds.DEPTH} levels") from None
    except ValueError as error:
        raise ValueError("JSON with finite numbers" if "finite" in str(error) else "JSON") from None
    if text.count("[") + text.count("{") > bounds.DEPTH and _depth(value) > bounds.DEPTH:
        raise ValueError(f"JSON of at most {bounds.DEPTH} levels")
    return value


def _depth(value: Any) -> int:
    """Levels of lists and tables, counted without recursion."""
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not finite")


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse)
