import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_accuracy

from drbench.errors import InputError
from drbench.outcomes import encode
from drbench.records import Outcomes, TrainSettings
from drbench.tasks import Batch, Classify
from drbench.tasks.classify import ranks

NAN = float("nan")


def slow_rank(row: list[float], label: int) -> int:
    if any(math.isnan(value) for value in row):
        return 255
    return min(sum(value >= row[label] for i, value in enumerate(row) if i != label), 255)


def task(classes: int, smoothing: float = 0.0) -> Classify:
    splits: Any = SimpleNamespace(classes=tuple(map(str, range(classes))))
    return Classify(splits, TrainSettings(label_smoothing=smoothing))


def batch(logits: Any, labels: Tensor) -> Batch:
    """The network of these tests is the identity."""
    return Batch(logits, labels, range(len(labels)))


def kept(ranks: Tensor) -> Outcomes:
    return encode("image", "rank-u8", ranks.numpy())


@pytest.mark.parametrize(("classes", "rounded"), [(3, False), (10, True), (300, False), (1000, True)])
def test_ranks_against_a_loop(classes: int, rounded: bool) -> None:
    logits = torch.randn(64, classes)
    logits = (3 * logits).round() if rounded else logits  # rounding makes ties
    logits[5, 2] = NAN
    logits[6, 1], logits[7, 0] = math.inf, -math.inf
    labels = torch.randint(classes, (64,))
    expected = [slow_rank(row.tolist(), int(label)) for row, label in zip(logits, labels, strict=True)]
    assert ranks(logits, labels).dtype == torch.uint8
    assert ranks(logits, labels).tolist() == expected
    assert task(classes).predict(nn.Identity(), batch(logits, labels)).values == expected


def test_top1_and_top5_agree_with_torchmetrics() -> None:
    logits, labels = torch.randn(500, 20), torch.randint(20, (500,))
    logits[torch.arange(500), labels] += 1.5
    figures = task(20).measure(kept(ranks(logits, labels)))
    for name, k in (("top1", 1), ("top5", 5)):
        peer = multiclass_accuracy(logits, labels, 20, average="micro", top_k=k)
        assert figures[name] == pytest.approx(float(peer))
    assert figures["top1"] < figures["top5"]


def test_few_classes_have_a_top5_of_one() -> None:
    found = ranks(torch.randn(50, 3), torch.randint(3, (50,)))
    assert task(3).measure(kept(found))["top5"] == 1.0


def test_a_network_that_says_nothing_is_wrong() -> None:
    assert ranks(torch.zeros(4, 10), torch.arange(4)).tolist() == [9] * 4


def smoothed(logits: Tensor, labels: Tensor, smoothing: float) -> float:
    total = 0.0
    for row, label in zip(logits.double(), labels, strict=True):
        log_probabilities = [float(value) - math.log(sum(math.exp(float(v)) for v in row)) for value in row]
        target = [smoothing / len(row) + (1 - smoothing) * (i == int(label)) for i in range(len(row))]
        total -= sum(t * p for t, p in zip(target, log_probabilities, strict=True))
    return float(total) / len(logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_against_its_formula(smoothing: float) -> None:
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    losses = task(4, smoothing).losses(nn.Identity(), nn.Module(), batch(logits, labels))
    assert [float(loss) for loss in losses.values()] == pytest.approx([smoothed(logits, labels, smoothing)], rel=1e-5)
    plain = task(4, smoothing).predict(nn.Identity(), batch(logits, labels)).losses
    assert plain is not None
    assert float(plain.mean()) == pytest.approx(smoothed(logits, labels, 0.0), rel=1e-5)


@pytest.mark.parametrize("output", [torch.zeros(2, 7), torch.zeros(2, 10, 1), (torch.zeros(2, 10),)])
def test_outputs_of_another_shape_are_refused(output: object) -> None:
    with pytest.raises(InputError, match="10 classes"):
        task(10).predict(nn.Identity(), batch(output, torch.zeros(2, dtype=torch.long)))
