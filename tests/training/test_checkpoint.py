import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from drbench.data import Splits, open_data
from drbench.errors import FailedError, InputError
from drbench.models import create_model
from drbench.records import DataSettings, Event, TrainSettings
from drbench.tasks import Classify, Task, Verify
from drbench.training.loop import CHECKPOINT, fit
from drbench.training.presets import preset

DATA = DataSettings("shapes", args={"train": 120, "test": 20})
BASE = preset("quick", {"epochs": 3, "batch_size": 16, "device": "cpu", "threads": 1})
RECIPES = {
    "sgd, average": {"ema_decay": 0.9},
    "adamw, clipped": {"optimizer": "adamw", "learning_rate": 0.003, "grad_clip": 1.0},
    "faces": {"batch_size": 12, "criterion": "arcface"},
}
"""Name -> training settings over BASE. "faces" is of task `verify`, whose criterion has weights of its own."""
FACES = DataSettings(
    "identities",
    val_fraction=0.25,
    args={"people": 16, "test_people": 4, "images": 6, "pairs": 40, "distractors": 5, "size": 32},
)


def net(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1800, 10)
        )


def face_net(seed: int = 0) -> nn.Module:
    options: dict[str, Any] = {"input_shape": (3, 32, 32), "stem_stride": 1, "num_classes": 16, "width": 0.125}
    return create_model("mobilefacenet", operator="drconv", regions=2, seed=seed, **options)


def case(recipe: str) -> tuple[Callable[..., nn.Module], DataSettings, type[Task]]:
    """The network, the data set and the task of a recipe."""
    return (face_net, FACES, Verify) if recipe == "faces" else (net, DATA, Classify)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return open_data(DATA)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


CHILD = """
import sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
from test_checkpoint import BASE, RECIPES, case
from dataclasses import replace
from drbench.data import open_data
from drbench.training.loop import fit

make, data, task = case({recipe!r})
model, steps = make(), 0

def count(module, arguments):
    global steps
    steps += module.training
    if steps == {stop}:
        print("here", flush=True)
        time.sleep(300)

model.register_forward_pre_hook(count)
settings = replace(BASE, **RECIPES[{recipe!r}])
fit(model, open_data(data), settings, task=task, seed=4, workdir=Path({workdir!r}), checkpoint_steps=2)
"""


@pytest.mark.parametrize("recipe", RECIPES)
def test_killed_in_the_middle_of_an_epoch_and_resumed(recipe: str, tmp_path: Path) -> None:
    # 6 steps an epoch; killed in step 11, the fifth of the second epoch, whose checkpoint holds four.
    workdir = tmp_path / "killed"
    child = CHILD.format(here=str(Path(__file__).parent), stop=11, recipe=recipe, workdir=str(workdir))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.kill()
    assert process.returncode == -signal.SIGKILL

    make, data, task = case(recipe)
    splits, settings = open_data(data), replace(BASE, **RECIPES[recipe])
    resumed, whole = make(seed=9), make()
    forwards = 0

    def count(module: nn.Module, arguments: object) -> None:
        nonlocal forwards
        forwards += module.training

    resumed.register_forward_pre_hook(count)
    second = fit(resumed, splits, settings, task=task, seed=4, workdir=workdir)
    assert forwards == 18 - 10
    straight = fit(whole, splits, settings, task=task, seed=4, workdir=tmp_path / "whole")
    assert_equal(state(resumed), state(whole))
    assert second.outcomes == straight.outcomes
    curves = [[(e.number, e.train_loss, e.val_loss, e.val_score) for e in run.epochs] for run in (second, straight)]
    assert curves[0] == curves[1]


def stopped(splits: Splits, settings: TrainSettings, workdir: Path) -> None:
    def stop(event: Event) -> None:
        if event.kind == "epoch":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(net(), splits, settings, seed=4, workdir=workdir, on_event=stop)


def test_a_finished_training_is_not_done_again(splits: Splits, tmp_path: Path) -> None:
    first = net()
    result = fit(first, splits, BASE, seed=4, workdir=tmp_path)
    again = net(seed=8)
    again.register_forward_pre_hook(lambda m, a: pytest.fail("trained again") if m.training else None)
    assert fit(again, splits, BASE, seed=4, workdir=tmp_path) == result
    assert_equal(state(first), state(again))


def test_without_resume_it_starts_over(splits: Splits, tmp_path: Path) -> None:
    stopped(splits, BASE, tmp_path)
    seen = 0

    def count(module: nn.Module, arguments: object) -> None:
        nonlocal seen
        seen += module.training

    model = net()
    model.register_forward_pre_hook(count)
    fit(model, splits, BASE, seed=4, workdir=tmp_path, resume=False)
    assert seen == 18


@pytest.mark.parametrize("length", [0, 7, 500, -1])
def test_a_truncated_checkpoint_is_named(length: int, splits: Splits, tmp_path: Path) -> None:
    stopped(splits, BASE, tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"checkpoint.safetensors is truncated .*: remove it to start over") as caught:
        fit(net(), splits, BASE, seed=4, workdir=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_text_file_is_no_checkpoint(splits: Splits, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_text("hello\n" * 100)
    with pytest.raises(InputError, match="remove it to start over"):
        fit(net(), splits, BASE, seed=4, workdir=tmp_path)


def test_the_checkpoint_of_another_training_is_refused(splits: Splits, tmp_path: Path) -> None:
    stopped(splits, BASE, tmp_path)
    with pytest.raises(InputError, match=r"learning_rate 0.05, now 0.1\)"):
        fit(net(), splits, replace(BASE, learning_rate=0.1), seed=4, workdir=tmp_path)
    with pytest.raises(InputError, match=r"seed 4, now 5\)"):
        fit(net(), splits, BASE, seed=5, workdir=tmp_path)
    other = open_data(replace(DATA, args={**DATA.args, "seed": 1}))
    with pytest.raises(InputError, match=r"\(data "):
        fit(net(), other, BASE, seed=4, workdir=tmp_path)
    wider = net()
    wider[0] = nn.Conv2d(3, 8, 3, 2, bias=False)
    with pytest.raises(InputError, match=r"\(network "):
        fit(wider, splits, BASE, seed=4, workdir=tmp_path)
    fit(net(), splits, replace(BASE, threads=2), seed=4, workdir=tmp_path)  # where it runs may change


def test_a_file_that_cannot_be_written_whole_leaves_the_old_one(splits: Splits, tmp_path: Path) -> None:
    stopped(splits, BASE, tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(FailedError, match=r"cannot write .*checkpoint.safetensors") as caught:
            fit(net(), splits, BASE, seed=4, workdir=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_tied_weights_are_kept(splits: Splits, tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
            self.one = nn.Linear(10, 10)
            self.two = nn.Linear(10, 10)
            self.two.weight = self.one.weight

        def forward(self, images: Tensor) -> Tensor:
            out: Tensor = self.two(self.one(self.body(images)))
            return out

    def stop(event: Event) -> None:
        if event.kind == "epoch":
            raise KeyboardInterrupt

    torch.manual_seed(0)
    start = Tied().state_dict()
    results = []
    settings = replace(BASE, learning_rate=0.001)
    for on_event in (stop, lambda event: None):
        model = Tied()
        model.load_state_dict(start)
        try:
            fit(model, splits, settings, seed=4, workdir=tmp_path / "stopped", on_event=on_event)
        except KeyboardInterrupt:
            continue
        results.append(state(model))
    model = Tied()
    model.load_state_dict(start)
    fit(model, splits, settings, seed=4, workdir=tmp_path / "whole")
    assert_equal(results[0], state(model))
