"""Mean IoU and pixel accuracy against loops over pixels and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from drbench import outcomes
from drbench.outcomes import confusion

IGNORED = 255


def drawn(seed: int, classes: int, images: int = 6, size: int = 9):
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, (images, size, size))
    answer = np.where(random.random(truth.shape) < 0.6, truth, random.integers(0, classes, truth.shape))
    truth[random.random(truth.shape) < 0.1] = IGNORED
    return truth, answer


def kept(truth: np.ndarray, answer: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    cells = [confusion.cells_of(t, a, classes, IGNORED) for t, a in zip(truth, answer, strict=True)]
    images = np.zeros(len(cells), confusion.IMAGE)
    images["cells"] = [len(one) for one in cells]
    return images, np.concatenate(cells)


@pytest.mark.parametrize(("classes", "seed"), [(2, 0), (5, 1), (21, 2), (300, 3)])
def test_against_a_loop_and_scikit_learn(classes: int, seed: int) -> None:
    truth, answer = drawn(seed, classes)
    found = confusion.matrix(*kept(truth, answer, classes), classes)
    expected = [[0] * (classes + 1) for _ in range(classes)]
    for t, a in zip(truth.ravel().tolist(), answer.ravel().tolist(), strict=True):
        if t != IGNORED:
            expected[t][a] += 1
    assert found.tolist() == expected
    here = truth != IGNORED
    assert found[:, :-1].tolist() == confusion_matrix(truth[here], answer[here], labels=range(classes)).tolist()
    present = sorted({*truth[here].tolist(), *answer[here].tolist()})
    peer = jaccard_score(truth[here], answer[here], labels=present, average="macro", zero_division=0)
    assert confusion.mean_iou(found) == pytest.approx(peer)
    assert confusion.pixel_accuracy(found) == pytest.approx((truth[here] == answer[here]).mean())


def test_truth_as_answer_scores_one() -> None:
    truth, _ = drawn(4, 7)
    found = confusion.matrix(*kept(truth, truth, 7), 7)
    assert (confusion.mean_iou(found), confusion.pixel_accuracy(found)) == (1.0, 1.0)


def test_weights_are_how_often_an_image_was_drawn() -> None:
    truth, answer = drawn(5, 4)
    weights = [0, 2, 1, 0, 3, 1]
    resampled = np.repeat(np.arange(6), weights)
    found = confusion.matrix(*kept(truth, answer, 4), 4, weights)
    assert found.tolist() == confusion.matrix(*kept(truth[resampled], answer[resampled], 4), 4).tolist()


def test_a_class_that_never_occurs_does_not_count() -> None:
    truth = np.array([[[0, 0, 1, 1]]])
    found = confusion.matrix(*kept(truth, np.array([[[0, 0, 1, 0]]]), 5), 5)
    assert confusion.mean_iou(found) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert np.isnan(confusion.intersection_over_union(found)[2:]).all()


def test_a_class_that_was_only_answered_counts_as_zero() -> None:
    found = confusion.matrix(*kept(np.array([[[0, 0]]]), np.array([[[0, 3]]]), 5), 5)
    assert confusion.mean_iou(found) == pytest.approx((1 / 2 + 0) / 2)


def test_answers_that_are_no_class_are_wrong_and_change_no_other_class() -> None:
    found = confusion.matrix(*kept(np.array([[[0, 1]]]), np.array([[[-1, 1]]]), 2), 2)
    assert found.tolist() == [[0, 0, 1], [0, 1, 0]]
    assert confusion.mean_iou(found) == 0.5


def test_nothing_but_ignored_pixels() -> None:
    truth = np.full((2, 3, 3), IGNORED)
    found = confusion.matrix(*kept(truth, np.zeros_like(truth), 3), 3)
    assert math.isnan(confusion.mean_iou(found))
    assert math.isnan(confusion.pixel_accuracy(found))


def test_packed_and_unpacked() -> None:
    images, cells = kept(*drawn(6, 3), 3)
    packed = outcomes.encode("image", "confusion-1", images, cells)
    assert (packed.count, len(packed.data)) == (6, 6 * 4 + len(cells) * 8)
    assert outcomes.decode(packed).tolist() == images.tolist()
    assert outcomes.rest(packed).tolist() == cells.tolist()
