from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from drbench import outcomes
from drbench.errors import InputError
from drbench.outcomes.ranks import top
from drbench.records import Outcomes


def test_bytes_are_those_that_earlier_versions_stored_as_ranks() -> None:
    assert outcomes.encode("image", "rank-u8", [0, 3, 255]) == Outcomes("image", "rank-u8", 3, bytes([0, 3, 255]))


def test_values_are_little_endian_doubles() -> None:
    found = outcomes.encode("image", "value-f64", [1.5, -2.25])
    assert found.data == struct.pack("<2d", 1.5, -2.25)
    assert outcomes.decode(found).tolist() == [1.5, -2.25]


NUMBERS = [name for name, codec in outcomes.CODECS.items() if np.dtype(codec.dtype).names is None]


@pytest.mark.parametrize("codec", NUMBERS)
def test_every_codec_gives_back_what_it_packed(codec: str) -> None:
    values = [0, 1, 1, 0]
    assert outcomes.decode(outcomes.encode("pair", codec, values)).tolist() == values
    assert len(outcomes.decode(outcomes.encode("pair", codec, []))) == 0


def test_not_a_number_is_kept() -> None:
    assert math.isnan(float(outcomes.decode(outcomes.encode("image", "value-f64", [float("nan")]))[0]))


@pytest.mark.parametrize(
    ("codec", "values", "message"),
    [
        ("rank-u8", [256], "cannot hold"),
        ("rank-u8", [-1], "cannot hold"),
        ("rank-u8", [0.5], "cannot hold"),
        ("rank-u8", [[0, 1]], "shape \\(1, 2\\); expected one value per image"),
        ("rank-u9", [0], "unknown codec of outcomes 'rank-u9': did you mean 'rank-u8'"),
    ],
)
def test_values_that_do_not_fit_are_refused(codec: str, values: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        outcomes.encode("image", codec, values)


def test_data_of_another_length_is_refused() -> None:
    with pytest.raises(InputError, match="got 3 bytes; expected 16, for 2 values of value-f64"):
        outcomes.decode(Outcomes("image", "value-f64", 2, b"abc"))


def test_right_answers() -> None:
    assert outcomes.right(Outcomes("image", "rank-u8", 3, bytes([0, 1, 255]))).tolist() == [True, False, False]
    assert outcomes.right(Outcomes("pair", "right-u8", 2, bytes([0, 1]))).tolist() == [False, True]
    with pytest.raises(InputError, match="right or wrong"):
        outcomes.right(outcomes.encode("image", "value-f64", [1.0]))


@pytest.mark.parametrize("k", [1, 5, 256])
def test_top_against_a_loop(k: int) -> None:
    ranks = np.random.default_rng(0).integers(0, 256, 1000)
    found = outcomes.encode("image", "rank-u8", ranks)
    assert top(found, k) == pytest.approx(sum(int(rank) < k for rank in ranks) / 1000)


def test_weights_stand_for_repeated_units() -> None:
    ranks, weights = [0, 3, 0, 7], [2, 0, 1, 3]
    repeated = [rank for rank, times in zip(ranks, weights, strict=True) for _ in range(times)]
    found = outcomes.encode("image", "rank-u8", ranks)
    assert top(found, 1, weights) == pytest.approx(top(outcomes.encode("image", "rank-u8", repeated), 1))


def test_of_no_units_a_share_is_not_a_number() -> None:
    assert math.isnan(outcomes.share([]))
    assert math.isnan(outcomes.share([1.0], [0]))
