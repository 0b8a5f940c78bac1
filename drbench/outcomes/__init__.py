"""Outcomes: what a task kept of each image, pair or probe of the test set, and the figures that follow from it.

An `Outcomes` (drbench.records) holds one value per unit, packed by a codec; rows of another kind may follow (`rest`).
Figures are functions of these values and of weights, so that intervals and paired tests need neither the network nor
torch. numpy only.

To add a codec: a `Codec` here. Codecs are written to databases, so a codec never changes its meaning; a better one gets
another name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drbench.errors import InputError, unknown
from drbench.outcomes import confusion, pairs
from drbench.records import Outcomes


@dataclass(frozen=True)
class Codec:
    """How values are packed: `dtype`, little-endian, one after the other; a structured dtype has several fields.

    `right`: which values count as a correct answer; None where an answer is not right or wrong. `rest`: the dtype of
    rows that follow the values; None: nothing follows.
    """

    dtype: str | np.dtype[Any]
    meaning: str
    right: Callable[[NDArray[Any]], NDArray[np.bool_]] | None = None
    rest: np.dtype[Any] | None = None


CODECS: Mapping[str, Codec] = {
    "rank-u8": Codec(
        "|u1",
        "rank of the true class: 0 is right, 255 stands for 255 and above",
        lambda values: np.asarray(values == 0),
    ),
    "right-u8": Codec("|u1", "1: right, 0: wrong", lambda values: np.asarray(values == 1)),
    "value-f64": Codec("<f8", "a figure of each unit, whose mean is reported"),
    "confusion-1": Codec(confusion.IMAGE, "cells of each image, then their pixels by class", rest=confusion.CELL),
    "pairs-1": Codec(pairs.PAIR, "pairs with their similarity, then probes with their rank", pairs.right, pairs.PROBE),
}
"""Name -> codec."""


def encode(unit: str, codec: str, values: ArrayLike, rest: NDArray[Any] | None = None) -> Outcomes:
    """Pack one value per unit, in data set order.

    Args:
        unit: what a value belongs to: "image", "pair", "probe".
        codec: a name in CODECS.
        values: (units,), of numbers that the codec's dtype can hold, or of that dtype if it has several fields.
        rest: (rows,) of the codec's dtype for what follows, if it has one.

    Raises:
        InputError: for an unknown codec, and for values of another shape, range or dtype.
    """
    found = _codec(codec)
    dtype = np.dtype(found.dtype)
    given = np.asarray(values)
    if given.ndim != 1:
        raise InputError(f"outcomes: got values of shape {given.shape}; expected one value per {unit}")
    fields = dtype.names is not None
    packed = given if fields else given.astype(dtype)
    if given.dtype != dtype if fields else not np.array_equal(packed, given, equal_nan=dtype.kind == "f"):
        raise InputError(f"outcomes: got values that {codec} cannot hold; expected {found.meaning}")
    after = b"" if rest is None else rest.tobytes()
    if rest is not None and rest.dtype != found.rest:
        raise InputError(f"outcomes: got rows that {codec} cannot hold; expected {found.meaning}")
    return Outcomes(unit, codec, len(packed), packed.tobytes() + after)


def decode(outcomes: Outcomes) -> NDArray[Any]:
    """The values, (units,), in data set order. InputError for an unknown codec and for data of another length."""
    return _split(outcomes)[0]


def rest(outcomes: Outcomes) -> NDArray[Any]:
    """The rows that follow the values. InputError as `decode`, and for a codec without such rows."""
    if _codec(outcomes.codec).rest is None:
        raise InputError(f"outcomes: got codec {outcomes.codec}; expected one with rows after the values")
    return _split(outcomes)[1]


def _split(outcomes: Outcomes) -> tuple[NDArray[Any], NDArray[Any]]:
    codec = _codec(outcomes.codec)
    dtype, after = np.dtype(codec.dtype), np.dtype("|V1") if codec.rest is None else codec.rest
    size, data = outcomes.count * dtype.itemsize, outcomes.data
    left = len(data) - size
    if left < 0 or (left if codec.rest is None else left % after.itemsize):
        more = "" if codec.rest is None else f" and rows of {after.itemsize} bytes after them"
        raise InputError(
            f"outcomes: got {len(data)} bytes; expected {size}, for {outcomes.count} values of {outcomes.codec}{more}"
        )
    return np.frombuffer(data, dtype, outcomes.count), np.frombuffer(data, after, -1, size) if left else np.empty(
        0, after
    )


def right(outcomes: Outcomes) -> NDArray[np.bool_]:
    """Which units were answered right, (units,). InputError for a codec whose values are not right or wrong."""
    test = _codec(outcomes.codec).right
    if test is None:
        raise InputError(f"outcomes: got codec {outcomes.codec}; expected one of answers that are right or wrong")
    return test(decode(outcomes))


def share(holds: ArrayLike, weights: ArrayLike | None = None) -> float:
    """The (weighted) share of units for which something holds; of no units NaN. The mean, for values that are numbers.

    `weights`: (units,), how often each unit was drawn in a resampling.
    """
    values = np.asarray(holds, dtype=np.float64)
    if weights is None:
        return float(values.mean()) if len(values) else float("nan")
    drawn = np.asarray(weights, dtype=np.float64)
    return float((values * drawn).sum() / drawn.sum()) if drawn.sum() else float("nan")


def _codec(name: str) -> Codec:
    if name not in CODECS:
        raise unknown("codec of outcomes", name, CODECS)
    return CODECS[name]
