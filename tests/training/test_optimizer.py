from dataclasses import replace

import pytest
import torch
from torch import nn

from drbench.errors import InputError
from drbench.records import TrainSettings
from drbench.training.optimizer import learning_rate, make_optimizer
from drbench.training.presets import preset
from tests.training.test_loop import net

SETTINGS = preset("quick", {"epochs": 2, "batch_size": 16, "device": "cpu", "threads": 1})


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_learning_rates(schedule: str) -> None:
    settings = TrainSettings(epochs=10, learning_rate=0.4, warmup_epochs=0.0, schedule=schedule)
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.4)
    peers = {
        "cosine": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 70),
        "linear": torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 70),
        "constant": torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0, 1),
    }
    optimizer.param_groups[0]["lr"] = 0.4
    for step in range(70):
        assert learning_rate(settings, step, 7) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        peers[schedule].step()
    warm = replace(settings, warmup_epochs=1.5)
    assert [learning_rate(warm, step, 8) for step in range(12)] == pytest.approx(
        [0.4 * (i + 1) / 12 for i in range(12)]
    )
    assert learning_rate(warm, 12, 8) == 0.4
    assert all(0 < learning_rate(replace(settings, warmup_epochs=w), 69, 7) <= 0.4 for w in (0.0, 0.5, 10.0, 20.0))


def test_norms_and_biases_do_not_decay() -> None:
    model = net()
    model[3].weight.requires_grad_(False)
    decay = {id(p): g["weight_decay"] for g in make_optimizer(model, SETTINGS).param_groups for p in g["params"]}
    found = {name: decay.get(id(parameter)) for name, parameter in model.named_parameters()}
    assert found == {
        "0.weight": SETTINGS.weight_decay,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "3.weight": None,
        "3.bias": 0.0,
        "8.weight": SETTINGS.weight_decay,
        "8.bias": 0.0,
    }
    with pytest.raises(InputError, match="nothing to train"):
        make_optimizer(model.requires_grad_(False), SETTINGS)
