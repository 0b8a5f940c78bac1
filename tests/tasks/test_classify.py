import math

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy

from drbench.errors import InputError
from drbench.outcomes import encode
from drbench.records import Outcomes
from drbench.tasks import TASKS, Classify

NAN = float("nan")


def slow_rank(row: list[float], label: int) -> int:
    if any(math.isnan(value) for value in row):
        return 255
    return min(sum(value >= row[label] for i, value in enumerate(row) if i != label), 255)


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
    ranks = Classify(classes).ranks(logits, labels)
    assert ranks.dtype == torch.uint8
    assert ranks.tolist() == expected


def test_top1_and_top5_agree_with_torchmetrics() -> None:
    logits, labels = torch.randn(500, 20), torch.randint(20, (500,))
    logits[torch.arange(500), labels] += 1.5
    task = Classify(20)
    top1, top5 = task.measurements(kept(task.ranks(logits, labels)), epoch=3)
    for measurement, k in ((top1, 1), (top5, 5)):
        peer = multiclass_accuracy(logits, labels, 20, average="micro", top_k=k)
        assert measurement.value == pytest.approx(float(peer))
        assert (measurement.unit, measurement.direction) == ("fraction", "higher")
        assert measurement.context == {"split": "test", "samples": 500, "epoch": 3}
    assert top1.value < top5.value


def test_few_classes_have_a_top5_of_one() -> None:
    task = Classify(3)
    _, top5 = task.measurements(kept(task.ranks(torch.randn(50, 3), torch.randint(3, (50,)))))
    assert top5.value == 1.0


def test_a_network_that_says_nothing_is_wrong() -> None:
    task = Classify(10)
    ranks = task.ranks(torch.zeros(4, 10), torch.arange(4))
    assert ranks.tolist() == [9] * 4


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
    task = Classify(4, smoothing)
    assert float(task.loss(logits, labels)) == pytest.approx(smoothed(logits, labels, smoothing), rel=1e-5)
    assert float(task.losses(logits, labels).mean()) == pytest.approx(smoothed(logits, labels, 0.0), rel=1e-5)


@pytest.mark.parametrize("output", [torch.zeros(2, 7), torch.zeros(2, 10, 1), (torch.zeros(2, 10),)])
def test_outputs_of_another_shape_are_refused(output: object) -> None:
    with pytest.raises(InputError, match="10 classes"):
        TASKS["classify"](10).ranks(output, torch.zeros(2, dtype=torch.long))  # type: ignore[arg-type]
