import copy
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from drbench.data import Splits, open_data
from drbench.data.seeds import derive, generator
from drbench.errors import FailedError, InputError
from drbench.records import DataSettings, Event
from drbench.training.evaluation import evaluate
from drbench.training.loop import CHECKPOINT, fit
from drbench.training.presets import preset

SETTINGS = preset("quick", {"epochs": 2, "batch_size": 16, "device": "cpu", "threads": 1})


@pytest.fixture(scope="module")
def splits() -> Splits:
    return open_data(DataSettings("shapes", args={"train": 120, "test": 40}))


def net(seed: int = 0, *, dropout: float = 0.0, classes: int = 10) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(64, classes),
        )


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def normalised(splits: Splits, images: Tensor) -> Tensor:
    mean, std = (torch.tensor(splits.preprocessing[key]).view(3, 1, 1) for key in ("mean", "std"))
    return (images / 255 - mean) / std


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_loop_equals_one_written_out(optimizer: str, splits: Splits, tmp_path: Path) -> None:
    settings = replace(
        SETTINGS, augment="none", optimizer=optimizer, learning_rate=0.01, label_smoothing=0.1, grad_clip=1.0
    )
    plain = replace(splits, augment=None)
    model, theirs = net().double(), net().double()
    result = fit(_Double(model), plain, settings, seed=3, workdir=tmp_path)

    images, labels = splits.train.images, splits.train.labels  # type: ignore[attr-defined]
    images = normalised(splits, images).double()
    decayed = [p for p in theirs.parameters() if p.dim() > 1]
    bare = [p for p in theirs.parameters() if p.dim() == 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": bare, "weight_decay": 0},
    ]
    stepper: torch.optim.Optimizer = (
        torch.optim.SGD(groups, lr=1.0, momentum=0.9, nesterov=True)
        if optimizer == "sgd"
        else torch.optim.AdamW(groups, lr=1.0)
    )
    steps = len(images) // 16
    means = []
    for epoch in range(2):
        order = torch.randperm(len(images), generator=generator(derive("order", 3, epoch)))
        total = 0.0
        for step in range(steps):
            chosen = order[16 * step : 16 * (step + 1)]
            for group in stepper.param_groups:
                group["lr"] = (
                    0.01 * (step + 1) / steps if epoch == 0 else 0.01 * (1 + math.cos(math.pi * step / steps)) / 2
                )
            loss = functional.cross_entropy(theirs(images[chosen]), labels[chosen], label_smoothing=0.1)
            stepper.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
            stepper.step()
            total += loss.item()
        means.append(total / steps)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=1e-5, atol=1e-6, msg=name)
    assert [epoch.train_loss for epoch in result.epochs] == pytest.approx(means, rel=1e-5)


class _Double(nn.Module):
    """Float32 images into a float64 network, so that rounding cannot hide a difference between two loops."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.inner(images.double())
        return out


def test_figures_are_those_of_the_weights_left_behind(splits: Splits, tmp_path: Path) -> None:
    model = net()
    result = fit(model, splits, SETTINGS, seed=0, workdir=tmp_path)
    model.eval()
    images, labels = splits.test.images, splits.test.labels  # type: ignore[attr-defined]
    logits = model(normalised(splits, images)).detach()
    found = {m.name: m for m in result.measurements}
    order = logits.argsort(1, descending=True)
    assert found["top1"].value == pytest.approx(float((order[:, 0] == labels).double().mean()))
    assert found["top5"].value == pytest.approx(float((order[:, :5] == labels[:, None]).any(1).double().mean()))
    assert list(result.outcomes.data) == (order == labels[:, None]).int().argmax(1).tolist()
    assert found["top1"].context == {"split": "test", "samples": 40, "epoch": 2}

    images, labels = splits.val.images, splits.val.labels  # type: ignore[union-attr]
    logits = model(normalised(splits, images)).detach()
    assert found["val_top1"].value == pytest.approx(float((logits.argmax(1) == labels).double().mean()))
    assert result.epochs[-1].val_loss == pytest.approx(float(functional.cross_entropy(logits, labels)), rel=1e-4)
    assert found["train_seconds"].value == pytest.approx(sum(e.seconds for e in result.epochs))
    assert [e.number for e in result.epochs] == [1, 2]

    measured, outcomes = evaluate(model, splits, SETTINGS)
    assert outcomes == result.outcomes
    assert [m.value for m in measured] == [found["top1"].value, found["top5"].value]
    assert not model.training


def test_training_learns(splits: Splits, tmp_path: Path) -> None:
    result = fit(net(), splits, replace(SETTINGS, epochs=15), seed=0, workdir=tmp_path)
    assert result.epochs[-1].train_loss < 0.7 * result.epochs[0].train_loss


def test_variants_see_the_same_images_whatever_their_layers_draw(splits: Splits, tmp_path: Path) -> None:
    seen: dict[str, list[Tensor]] = {"plain": [], "thirsty": [], "other seed": []}
    for name, model, seed in (("plain", net(), 5), ("thirsty", net(dropout=0.5), 5), ("other seed", net(), 6)):
        model.register_forward_pre_hook(lambda m, a, name=name: seen[name].append(a[0].clone()) if m.training else None)
        if name == "thirsty":
            model.register_forward_pre_hook(lambda m, a: (torch.rand(7), random.random(), None)[-1])
        fit(model, splits, SETTINGS, seed=seed, workdir=tmp_path / name)
    assert len(seen["plain"]) == 2 * (len(splits.train) // 16)  # type: ignore[arg-type]
    assert all(torch.equal(*pair) for pair in zip(seen["plain"], seen["thirsty"], strict=True))
    assert not torch.equal(seen["plain"][0], seen["other seed"][0])
    first, second = torch.cat(seen["plain"][: len(seen["plain"]) // 2]), torch.cat(seen["plain"][-6:])
    assert not torch.equal(first[:16], second[:16])  # another order in the second epoch


def test_the_surroundings_stay(splits: Splits, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(11)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    fit(net(dropout=0.1), splits, replace(SETTINGS, threads=threads + 1), seed=0, workdir=tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert capfd.readouterr() == ("", "")


def test_events_tell_steps_and_epochs(splits: Splits, tmp_path: Path) -> None:
    events: list[Event] = []
    result = fit(net(), splits, SETTINGS, seed=0, workdir=tmp_path, on_event=events.append)
    epochs = [event for event in events if event.kind == "epoch"]
    assert [event.payload for event in epochs] == list(result.epochs)
    assert [(event.done, event.total) for event in epochs] == [(1, 2), (2, 2)]
    steps = [event for event in events if event.kind == "step"]
    assert steps
    assert all(1 <= event.done <= event.total == len(splits.train) // 16 for event in steps)  # type: ignore[arg-type]


def test_the_moving_average_is_what_is_left(splits: Splits, tmp_path: Path) -> None:
    settings = replace(SETTINGS, ema_decay=0.9)
    raw = net()
    history: list[dict[str, Tensor]] = []
    raw.register_forward_pre_hook(lambda m, a: history.append(state(m)) if m.training else None)
    fit(raw, splits, SETTINGS, seed=0, workdir=tmp_path / "raw")  # the same steps, without the average
    steps = [*history[1:], state(raw)]
    weight = "0.weight"
    expected = steps[0][weight].double()
    for values in steps[1:]:
        expected = 0.9 * expected + 0.1 * values[weight].double()
    model = net()
    result = fit(model, splits, settings, seed=0, workdir=tmp_path / "ema")
    torch.testing.assert_close(model.state_dict()[weight].double(), expected, rtol=0, atol=1e-6)
    assert evaluate(model, splits, settings)[1] == result.outcomes


def test_a_loss_that_is_lost_is_told_with_its_step(splits: Splits, tmp_path: Path) -> None:
    model, count = net(), 0

    def poison(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        nonlocal count
        count += module.training
        return output * float("nan") if count == 9 else output

    model.register_forward_hook(poison)
    steps = len(splits.train) // 16  # type: ignore[arg-type]
    with pytest.raises(FailedError, match=f"became nan in epoch 2, step {9 - steps} of {steps}"):
        fit(model, splits, SETTINGS, seed=0, workdir=tmp_path)


def test_an_interrupt_passes_and_leaves_whole_files(splits: Splits, tmp_path: Path) -> None:
    def interrupt(event: Event) -> None:
        if event.kind == "epoch":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(net(), splits, SETTINGS, seed=0, workdir=tmp_path, on_event=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]
    model, whole = net(1), net()
    fit(model, splits, SETTINGS, seed=0, workdir=tmp_path)
    fit(whole, splits, SETTINGS, seed=0, workdir=tmp_path / "whole")
    assert_equal(state(model), state(whole))


def test_bf16_computes_in_bf16_and_leaves_no_wrapper(splits: Splits, tmp_path: Path) -> None:
    model = net()
    dtypes = set()
    model[3].register_forward_hook(lambda m, a, out: dtypes.add(out.dtype))
    before = set(vars(model))
    result = fit(model, splits, replace(SETTINGS, precision="bf16"), seed=0, workdir=tmp_path)
    assert dtypes == {torch.bfloat16}
    assert set(vars(model)) == before
    assert all(value.dtype != torch.bfloat16 for value in model.state_dict().values())
    assert model(torch.zeros(1, 3, 32, 32)).dtype == torch.float32
    assert math.isfinite(result.epochs[-1].train_loss)
    dtypes.clear()
    fit(model, splits, SETTINGS, seed=0, workdir=tmp_path / "next")  # another precision in the same process
    assert dtypes == {torch.float32}


def test_batches_larger_than_the_data_and_no_validation(tmp_path: Path) -> None:
    splits = open_data(DataSettings("shapes", val_fraction=0.0, args={"train": 30, "test": 10}))
    result = fit(net(), splits, replace(SETTINGS, batch_size=64), seed=0, workdir=tmp_path)
    assert result.epochs[0].val_loss is None
    assert "val_top1" not in {m.name for m in result.measurements}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there(splits: Splits, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device 'cuda' is not available"):
        fit(net(), splits, replace(SETTINGS, device="cuda"), seed=0, workdir=tmp_path)
    with pytest.raises(InputError, match="precision 'fp16' needs a GPU"):
        fit(net(), splits, replace(SETTINGS, precision="fp16"), seed=0, workdir=tmp_path)


def test_a_network_for_other_classes(splits: Splits, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="10 classes"):
        fit(net(classes=7), splits, SETTINGS, seed=0, workdir=tmp_path)
    with pytest.raises(InputError, match="10 classes"):
        evaluate(net(classes=7), splits, SETTINGS)


def test_copies_of_a_trained_network_stand_alone(splits: Splits, tmp_path: Path) -> None:
    model = net()
    fit(model, splits, SETTINGS, seed=0, workdir=tmp_path)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert model.eval()(torch.ones(1, 3, 32, 32)).abs().sum() > 0
