import hashlib

import numpy as np
import pytest

from drbench.data.splits import array_digest, hold_out
from drbench.errors import InputError


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.5])
def test_a_share_of_every_class_is_held_out_and_nothing_is_lost(fraction: float) -> None:
    labels = np.arange(1000) % 7
    kept, held = hold_out(labels, fraction)
    assert sorted([*kept, *held]) == list(range(1000))
    assert kept == sorted(kept)
    assert held == sorted(held)
    for label in range(7):
        members = int((labels == label).sum())
        assert int((labels[held] == label).sum()) == round(fraction * members)


def test_the_split_depends_on_labels_and_fraction_alone() -> None:
    labels = np.arange(500) % 5
    np.random.seed(1)
    first = hold_out(labels, 0.1)
    np.random.seed(2)
    assert hold_out(labels.tolist(), 0.1) == first
    assert hold_out(labels, 0.2) != first


def test_the_stored_split_of_this_version() -> None:
    # Results of different versions are compared on the same held-out images; a change here must be a conscious one.
    _, held = hold_out([0] * 50, 0.1)
    draws = np.random.Generator(np.random.PCG64(20200327)).random(50)
    assert held == sorted(np.argsort(draws)[:5].tolist())


def test_small_classes_stay_on_both_sides() -> None:
    kept, held = hold_out([0, 0, 1, 2, 2, 2], 0.01)
    assert [sum(index in part for index in (0, 1)) for part in (kept, held)] == [1, 1]
    assert 2 in kept  # the only image of its class is not held out


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, float("nan")])
def test_fractions_out_of_range(fraction: float) -> None:
    with pytest.raises(InputError, match="val_fraction"):
        hold_out([0, 1], fraction)


def test_digest_sees_content_shape_and_dtype() -> None:
    array = np.arange(6, dtype=np.int64)
    expected = hashlib.sha256(b"<i8(6,)" + array.tobytes()).hexdigest()
    assert array_digest(array) == expected
    assert len({array_digest(a) for a in (array, array[::-1], array.reshape(2, 3), array.astype(np.int32))}) == 4
