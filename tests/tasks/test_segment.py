"""Segmentation: losses and figures against loops, networks of every family, and a small set learnt by heart."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from drbench.data import Splits, open_data
from drbench.data.masks import IGNORED, Masks
from drbench.errors import InputError
from drbench.models import ARCHITECTURES, save_model
from drbench.models.segmenter import LRASPP
from drbench.models.taps import backbone
from drbench.outcomes import confusion, decode, rest
from drbench.records import DataSettings, TrainSettings, Variant
from drbench.tasks import Batch, Segment, networks
from drbench.training.loop import fit

FAMILIES = {one.family: name for name, one in reversed(ARCHITECTURES.items())}


@pytest.fixture(scope="module")
def splits() -> Splits:
    return open_data(DataSettings("scenes", args={"train": 24, "test": 12, "size": 48}))


def variant(name: str = "mobilenet_v2_0.35", operator: str = "conv", side: int = 48) -> Variant:
    args = {} if operator == "conv" else {"regions": 4}
    return Variant(
        name, operator=operator, operator_args=args, input_shape=(3, side, side), num_classes=6, task="segment"
    )


class Fixed(nn.Module):
    """Gives the same scores whatever it sees."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.given = scores

    def forward(self, input: Tensor) -> Tensor:
        return self.given


def test_losses_and_answers_against_a_loop(splits: Splits) -> None:
    torch.manual_seed(0)
    scores, masks = torch.randn(2, 6, 5, 4), torch.randint(6, (2, 5, 4), dtype=torch.uint8)
    masks[0, 0] = IGNORED
    scores[1, 2, 3, 3] = math.nan
    task = Segment(splits, TrainSettings())
    batch = Batch(torch.zeros(2, 3, 5, 4), masks, range(2))
    found = task.predict(Fixed(scores), batch)
    for number in range(2):
        expected = [[0] * 7 for _ in range(6)]
        total, count = 0.0, 0
        for y in range(5):
            for x in range(4):
                truth = int(masks[number, y, x])
                if truth == IGNORED:
                    continue
                row = scores[number, :, y, x].double().tolist()
                bad = any(map(math.isnan, row))
                expected[truth][6 if bad else max(range(6), key=row.__getitem__)] += 1
                total += math.nan if bad else math.log(sum(math.exp(one - row[truth]) for one in row))
                count += 1
        cells = found.values[number]
        assert {(int(c["truth"]), int(c["answer"]), int(c["pixels"])) for c in cells} == {
            (t, a, n) for t, answers in enumerate(expected) for a, n in enumerate(answers) if n
        }
        assert found.losses is not None
        assert float(found.losses[number]) == pytest.approx(total / count, rel=1e-5, nan_ok=True)
    scores[1, 2, 3, 3] = 0.0
    each = [
        task.predict(Fixed(scores[n : n + 1]), Batch(batch.inputs[:1], masks[n : n + 1], [0])).losses for n in (0, 1)
    ]
    pixels = [int((masks[n] != IGNORED).sum()) for n in (0, 1)]
    mean = sum(float(loss) * n for loss, n in zip(each, pixels, strict=True)) / sum(pixels)  # type: ignore[arg-type]
    (loss,) = task.losses(Fixed(scores), nn.Module(), batch).values()
    assert float(loss) == pytest.approx(mean, rel=1e-5)


def test_an_image_without_a_counted_pixel_has_no_loss_and_no_cells(splits: Splits) -> None:
    task, masks = Segment(splits, TrainSettings()), torch.full((1, 4, 4), IGNORED, dtype=torch.uint8)
    batch = Batch(torch.zeros(1, 3, 4, 4), masks, [0])
    (loss,) = task.losses(Fixed(torch.randn(1, 6, 4, 4)), nn.Module(), batch).values()
    found = task.predict(Fixed(torch.randn(1, 6, 4, 4)), batch)
    assert (float(loss), len(found.values[0])) == (0.0, 0)


def test_truth_as_prediction_scores_one(splits: Splits) -> None:
    task, masks = Segment(splits, TrainSettings()), splits.test.masks  # type: ignore[attr-defined]
    scores = nn.functional.one_hot(masks.long(), 6).permute(0, 3, 1, 2).float()
    found = task.predict(Fixed(scores), Batch(torch.zeros(len(masks), 3, 48, 48), masks, range(len(masks))))
    outcomes = task.judge(found.values, splits.test)
    assert task.measure(outcomes) == {"miou": 1.0, "pixel_accuracy": 1.0}
    assert task.about(outcomes)["miou"]["classes"] == 6


def test_figures_are_at_the_size_of_the_masks(splits: Splits) -> None:
    """A network that sees images of 24 px is judged on masks of 48 px."""
    task, masks = Segment(splits, TrainSettings()), torch.zeros(1, 48, 48, dtype=torch.uint8)
    found = task.predict(Fixed(torch.randn(1, 6, 24, 24)), Batch(torch.zeros(1, 3, 24, 24), masks, [0]))
    assert int(found.values[0]["pixels"].sum()) == 48 * 48


@pytest.mark.parametrize("operator", ["conv", "drconv"])
@pytest.mark.parametrize("family", FAMILIES)
def test_networks_of_every_family(family: str, operator: str) -> None:
    built = variant(FAMILIES[family], operator, 64)
    network = networks.build(built, seed=0).eval()
    with torch.no_grad():
        assert network(torch.randn(2, 3, 64, 64)).shape == (2, 6, 64, 64)
    assert network.variant == built  # type: ignore[union-attr]
    if operator == "drconv":
        modules = dict(network.named_modules())
        rows = network.conversion.replacements  # type: ignore[union-attr]
        assert rows
        assert all(type(modules[row.name]).__name__ == "DRConv2d" for row in rows)


@pytest.mark.parametrize("operator", ["conv", "drconv"])
def test_an_image_does_not_depend_on_its_batch(operator: str) -> None:
    network = networks.build(variant(operator=operator), seed=0).eval()
    images = torch.randn(4, 3, 48, 48)
    with torch.no_grad():
        together = network(torch.cat([images[:1], 50 * images[1:]]))[0]
        alone = network(images[:1])[0]
    assert torch.allclose(together, alone, atol=1e-4)


def test_variants_of_equal_seed_start_with_equal_heads() -> None:
    plain, converted = (networks.build(variant(operator=name), seed=3) for name in ("conv", "drconv"))
    other = networks.build(variant(), seed=4)
    heads = [dict(n.named_parameters())["head.low_classifier.weight"] for n in (plain, converted, other)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("name", ["mobilenet_v2_0.35", "mobilenetv4_conv_small"])
def test_a_network_of_a_task_is_saved_and_loaded(name: str, tmp_path: Path) -> None:
    import drbench

    built = variant(name, "drconv", 64)
    network = networks.build(built, seed=5).eval()
    save_model(tmp_path / "net.safetensors", network, built, classes=[str(n) for n in range(6)])
    loaded = drbench.load_model(tmp_path / "net.safetensors")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(images), network(images))


@pytest.mark.parametrize("output", [torch.zeros(1, 5, 48, 48), torch.zeros(1, 6, 12, 12), {"out": torch.zeros(1)}])
def test_outputs_of_another_shape_are_refused(splits: Splits, output: Any) -> None:
    masks = torch.zeros(1, 48, 48, dtype=torch.uint8)
    with pytest.raises(InputError, match=r"expected scores of shape \(1, 6, 48, 48\)"):
        Segment(splits, TrainSettings()).predict(Fixed(output), Batch(torch.zeros(1, 3, 48, 48), masks, [0]))


class Fine(nn.Sequential):
    """A network with maps as fine as the image: no stride of its own limits the figures."""

    taps = ("detail", "context")

    def __init__(self) -> None:
        def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
            )

        super().__init__()
        self.detail = nn.Sequential(block(3, 24, 1), block(24, 24, 1), block(24, 24, 1))
        self.context = nn.Sequential(block(24, 48, 2), block(48, 48, 2))


def test_a_small_set_is_learnt_by_heart(tmp_path: Path) -> None:
    """20 images, seen again in the test: mean IoU above 0.9."""
    splits = open_data(DataSettings("scenes", args={"train": 24, "test": 12, "size": 32, "objects": 2}))
    some = Masks(splits.train.images[:20], splits.train.masks[:20])  # type: ignore[attr-defined]
    own = replace(splits, train=some, val=None, test=some, augment=None)
    settings = TrainSettings(epochs=120, batch_size=10, learning_rate=0.1, device="cpu", threads=1)
    torch.manual_seed(0)
    network = LRASPP(backbone(Fine(), (3, 32, 32)), 6)
    result = fit(network, own, settings, task=Segment, seed=0, workdir=tmp_path)
    assert result.epochs[-1].train_loss < result.epochs[0].train_loss / 10
    assert {m.name: m.value for m in result.measurements}["miou"] > 0.9
    table = confusion.matrix(decode(result.outcomes), rest(result.outcomes), 6)
    assert int(table.sum()) == 20 * 32 * 32
