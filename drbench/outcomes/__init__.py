"""Outcomes: what a task kept of each image, pair or probe of the test set, and the figures that follow from it.

An `Outcomes` (drbench.records) holds one value per unit, packed by a codec. Figures are functions of these values and
of weights, so that intervals and paired tests need neither the network nor torch. numpy only.

To add a codec: a `Codec` here. Codecs are written to databases, so a codec never changes its meaning; a better one gets
another name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drbench.errors import InputError, unknown
from drbench.records import Outcomes


@dataclass(frozen=True)
class Codec:
    """How values are packed: `dtype`, little-endian, one after the other.

    `right`: which values count as a correct answer; None where an answer is not right or wrong.
    """

    dtype: str
    meaning: str
    right: Callable[[NDArray[np.generic]], NDArray[np.bool_]] | None = None


CODECS: Mapping[str, Codec] = {
    "rank-u8": Codec(
        "|u1",
        "rank of the true class: 0 is right, 255 stands for 255 and above",
        lambda values: np.asarray(values == 0),
    ),
    "right-u8": Codec("|u1", "1: right, 0: wrong", lambda values: np.asarray(values == 1)),
    "value-f64": Codec("<f8", "a figure of each unit, whose mean is reported"),
}
"""Name -> codec."""


def encode(unit: str, codec: str, values: ArrayLike) -> Outcomes:
    """Pack one value per unit, in data set order.

    Args:
        unit: what a value belongs to: "image", "pair", "probe".
        codec: a name in CODECS.
        values: (units,), of numbers that the codec's dtype can hold.

    Raises:
        InputError: for an unknown codec, and for values of another shape or range.
    """
    dtype = np.dtype(_codec(codec).dtype)
    given = np.asarray(values)
    if given.ndim != 1:
        raise InputError(f"outcomes: got values of shape {given.shape}; expected one value per {unit}")
    packed = given.astype(dtype)
    if not np.array_equal(packed, given, equal_nan=dtype.kind == "f"):
        raise InputError(f"outcomes: got values that {codec} cannot hold; expected {_codec(codec).meaning}")
    return Outcomes(unit, codec, len(packed), packed.tobytes())


def decode(outcomes: Outcomes) -> NDArray[np.generic]:
    """The values, (units,), in data set order. InputError for an unknown codec and for data of another length."""
    dtype = np.dtype(_codec(outcomes.codec).dtype)
    if len(outcomes.data) != outcomes.count * dtype.itemsize:
        raise InputError(
            f"outcomes: got {len(outcomes.data)} bytes; expected {outcomes.count * dtype.itemsize}, for "
            f"{outcomes.count} values of {outcomes.codec}"
        )
    return np.frombuffer(outcomes.data, dtype)


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
