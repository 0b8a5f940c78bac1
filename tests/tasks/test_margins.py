"""The criteria of face recognition against their formulas, in float64 and one person after the other."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from drbench.tasks.margins import EDGE, ArcFace, CosFace


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def loss_by_loop(criterion: Any, embeddings: Tensor, people: Tensor, margin: float, arc: bool) -> float:
    total = 0.0
    centres = criterion.centres.double().tolist()
    for embedding, person in zip(embeddings.double().tolist(), people.tolist(), strict=True):
        logits = []
        for number, centre in enumerate(centres):
            value = cosine(embedding, centre)
            if number == person:
                value = math.cos(math.acos(value) + margin) if arc else value - margin
            logits.append(criterion.scale * value)
        total += math.log(sum(math.exp(logit - logits[person]) for logit in logits))
    return total / len(people)


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("arc", [False, True])
def test_losses_against_their_formulas(arc: bool, progress: float) -> None:
    torch.manual_seed(0)
    criterion = (ArcFace if arc else CosFace)(7, 16, scale=12.0, margin=0.4)
    embeddings, people = torch.randn(10, 16), torch.randint(7, (10,))
    margin = 0.4 * min(1.0, 3 * progress)
    expected = loss_by_loop(criterion, embeddings, people, margin, arc)
    assert float(criterion(embeddings, people, progress).detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", [CosFace, ArcFace])
def test_complaint_9_an_exact_match_has_a_finite_gradient(kind: type[CosFace]) -> None:
    """An embedding equal to its centre, and one opposite to it: the slope of the angle is infinite there."""
    criterion = kind(3, 4, scale=64.0, margin=0.5)
    embeddings = torch.stack([criterion.centres[0].detach(), -criterion.centres[1].detach()]).requires_grad_()
    loss = criterion(embeddings, torch.tensor([0, 1]))
    loss.backward()
    assert bool(loss.isfinite())
    assert embeddings.grad is not None
    assert bool(embeddings.grad.isfinite().all())
    assert bool(criterion.centres.grad.isfinite().all())
    assert EDGE < 1


def test_the_loss_is_float32_under_autocast() -> None:
    criterion = CosFace(5, 8)
    embeddings, people = torch.randn(6, 8), torch.randint(5, (6,))
    with torch.autocast("cpu", torch.bfloat16):
        narrow = criterion(embeddings.bfloat16(), people)
    assert narrow.dtype == torch.float32
    assert float(narrow.detach()) == pytest.approx(float(criterion(embeddings.bfloat16().float(), people).detach()))
