"""Face recognition: criteria and figures against formulas and loops, what is refused, a small set learnt by heart."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from drbench.data import Splits, open_data
from drbench.data.verification import Protocol, protocol_of
from drbench.errors import InputError
from drbench.models import create_model
from drbench.outcomes import decode, pairs, rest
from drbench.records import DataSettings, TrainSettings
from drbench.tasks import Batch, Verify
from drbench.tasks.verify import ranks
from drbench.training.evaluation import evaluate
from drbench.training.loop import fit

SMALL = {"people": 8, "test_people": 8, "images": 6, "pairs": 80, "distractors": 20, "size": 32}


@pytest.fixture(scope="module")
def splits() -> Splits:
    return open_data(DataSettings("identities", val_fraction=0.25, args=SMALL))


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_ranks_against_a_loop() -> None:
    """Ties count against the network, and NaN is worse than every distractor."""
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(900, 6)).round(1)
    embeddings[3] = embeddings[1]  # a distractor exactly as near as the mate
    embeddings[5] = np.nan
    probes, mates, distractors = (
        np.array([0, 2, 4, 5, *[9] * 600]),
        np.array([1, 6, 7, 8, *[10] * 600]),
        np.array([3, *range(11, 900)]),
    )
    expected = []
    for probe, mate in zip(probes, mates, strict=True):
        own = sum(a * b for a, b in zip(embeddings[probe], embeddings[mate], strict=True))
        others = [sum(a * b for a, b in zip(embeddings[probe], embeddings[d], strict=True)) for d in distractors]
        expected.append(sum(not other < own - 1e-9 for other in others))
    assert abs(ranks(embeddings, probes, mates, distractors) - np.array(expected)).max() == 0


class Flat(nn.Module):
    """An embedding that is easily computed by hand: the means of the quarters of an image."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(input[:, :1], 2).flatten(1)


def test_similarities_use_the_mirror_image_and_are_cosines(splits: Splits) -> None:
    task, test = Verify(splits, TrainSettings()), splits.test
    asked = protocol_of(test)
    assert asked is not None
    images = torch.stack([test[n][0] for n in range(len(test))]).float()  # type: ignore[arg-type]
    found = task.predict(Flat(), Batch(images, None, range(len(images)))).values
    kept = decode(task.judge(found, test))
    for row, one, other in zip(kept[:50], asked.first[:50], asked.second[:50], strict=True):
        by_hand = []
        for index in (one, other):
            quarters = Flat()(images[index : index + 1])[0].tolist()
            mirrored = [quarters[1], quarters[0], quarters[3], quarters[2]]
            by_hand.append([a + b for a, b in zip(quarters, mirrored, strict=True)])
        assert row["similarity"] == pytest.approx(cosine(*by_hand), abs=1e-6)
        assert bool(row["same"]) == (asked.people[one] == asked.people[other])


@pytest.mark.parametrize("operator", ["conv", "drconv"])
def test_complaint_12_an_embedding_does_not_depend_on_its_batch(splits: Splits, operator: str) -> None:
    options: dict[str, Any] = {
        "input_shape": (3, 32, 32),
        "stem_stride": 1,
        "num_classes": 16,
        "width": 0.25,
        "seed": 0,
    }
    network = create_model("mobilefacenet", operator=operator, **options).eval()
    task = Verify(splits, TrainSettings())
    images = torch.randn(6, 3, 32, 32)
    with torch.no_grad():
        together = np.stack(task.predict(network, Batch(images, None, range(6))).values)
        alone = np.stack([task.predict(network, Batch(images[n : n + 1], None, [n])).values[0] for n in range(6)])
        worse = task.predict(network, Batch(torch.cat([images[:1], 50 * images[1:]]), None, range(6))).values
    np.testing.assert_allclose(together, alone, atol=2e-5)
    np.testing.assert_allclose(worse[0], alone[0], atol=2e-5)


def test_truth_as_embedding_scores_one(splits: Splits) -> None:
    asked = protocol_of(splits.test)
    assert asked is not None
    task = Verify(splits, TrainSettings())
    outcomes = task.judge(list(np.eye(asked.count)[asked.people]), splits.test)
    assert task.measure(outcomes) == {"accuracy": 1.0, "tar": 1.0, "rank1": 1.0}
    about = task.about(outcomes)
    assert about["accuracy"] == {"standard_error": 0.0, "folds": 4}
    assert about["rank1"] == {"samples": 40}
    assert len(rest(outcomes)) == 40


def test_without_distractors_there_is_no_rank(splits: Splits) -> None:
    asked = protocol_of(splits.val)
    assert asked is not None
    task = Verify(splits, TrainSettings())
    outcomes = task.judge(list(np.eye(asked.count)[asked.people]), splits.val)  # type: ignore[arg-type]
    assert set(task.measure(outcomes)) == {"accuracy", "tar"}


@pytest.mark.parametrize("output", [torch.zeros(2, 7, 1), (torch.zeros(2, 10),)])
def test_outputs_that_are_no_embeddings_are_refused(splits: Splits, output: object) -> None:
    with pytest.raises(InputError, match="expected embeddings"):
        Verify(splits, TrainSettings()).check(output)  # type: ignore[arg-type]


def test_a_small_set_is_learnt_by_heart(splits: Splits, tmp_path: Path) -> None:
    """The people of training, asked about in pairs of their own training images: verification accuracy of 1.0."""
    images = splits.train
    labels = images.labels.numpy()  # type: ignore[attr-defined]
    pair_list = [(a, b) for a in range(len(labels)) for b in range(a)]
    same = np.array([labels[a] == labels[b] for a, b in pair_list])
    first, second = np.array(pair_list).T
    none = np.zeros(0, np.int64)
    protocol = Protocol(labels, first, second, same, np.arange(len(same)) % 10, none, none, none)

    class Seen(type(images)):  # type: ignore[misc]
        pass

    seen = Seen(images.images, images.labels)  # type: ignore[attr-defined]
    seen.protocol = protocol
    own = replace(splits, test=seen, val=None)
    settings = TrainSettings(epochs=100, batch_size=12, learning_rate=0.05, device="cpu", threads=1)
    torch.manual_seed(0)
    network = create_model("mobilefacenet", num_classes=16, input_shape=(3, 32, 32), stem_stride=1, width=0.25, seed=0)
    result = fit(network, own, settings, task=Verify, seed=0, workdir=tmp_path)
    assert result.epochs[-1].train_loss < result.epochs[0].train_loss / 4
    assert {m.name: m.value for m in result.measurements}["accuracy"] == 1.0
    measurements, outcomes = evaluate(network, own, settings, Verify)
    assert outcomes == result.outcomes
    context = measurements[0].context
    assert (context["samples"], context["folds"]) == (len(same), 10)
    assert pairs.accuracy(decode(outcomes)).value == 1.0
