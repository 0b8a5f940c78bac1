"""Where a training stands, in one safetensors file that is either whole or not there.

Tensors: `model.*`, `ema.*` (if kept), `criterion.*` (of tasks whose criterion has tensors), `optimizer.<parameter>.*`,
`losses` of the running epoch. Metadata: everything
else, as JSON. No random state: all draws are functions of seed, epoch and step (see `drbench.data.seeds`).
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from drbench import atomic
from drbench.errors import FailedError, InputError
from drbench.records import Epoch

FORMAT = "drbench-checkpoint-1"


@dataclass
class Progress:
    """`epoch` epochs and `step` steps of the next one are done; `losses` (steps per epoch,) holds theirs.

    `seconds` were spent in the running epoch's training so far; `curve` has the finished epochs.
    """

    losses: Tensor
    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    curve: list[Epoch] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """The file, and the objects it is filled from and fills. `identity` is what a resumed training must share."""

    path: Path
    identity: Mapping[str, Any]
    model: nn.Module
    optimizer: torch.optim.Optimizer
    ema: nn.Module | None = None
    scaler: Any = None
    criterion: nn.Module | None = None

    def save(self, progress: Progress) -> None:
        """Write the file, in place of the former one. Errors as in `write`."""
        tensors = {"losses": progress.losses}
        tensors.update({f"model.{name}": value for name, value in _tensors(self.model)})
        if self.ema is not None:
            tensors.update({f"ema.{name}": value for name, value in _tensors(self.ema)})
        if self.criterion is not None:
            tensors.update({f"criterion.{name}": value for name, value in _tensors(self.criterion)})
        for number, state in self.optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if isinstance(value, Tensor):  # SGD's momentum is None before the first step
                    tensors[f"optimizer.{number}.{name}"] = value
        # Copies, for safetensors refuses tensors that share memory (tied weights).
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
        state = {
            "identity": self.identity,
            "epoch": progress.epoch,
            "step": progress.step,
            "seconds": progress.seconds,
            "curve": [asdict(epoch) for epoch in progress.curve],
            "scaler": self.scaler.state_dict() if self.scaler is not None else None,
        }
        write(self.path, tensors, {"format": FORMAT, "state": json.dumps(state)})

    def load(self, progress: Progress) -> Progress:
        """Fill model, optimizer and EMA from the file.

        InputError if it is damaged, or of a training with other settings, data, seed or network.
        """
        tensors, metadata = read(self.path)
        try:
            if metadata["format"] != FORMAT:
                raise KeyError("format")
            state = json.loads(metadata["state"])
            self._compare(state["identity"])
            _fill(self.model, "model.", tensors)
            if self.ema is not None:
                _fill(self.ema, "ema.", tensors)
            if self.criterion is not None:
                _fill(self.criterion, "criterion.", tensors)
            self._fill_optimizer(tensors)
            if self.scaler is not None and state["scaler"] is not None:
                self.scaler.load_state_dict(state["scaler"])
            progress.losses.copy_(tensors["losses"])
            return Progress(
                losses=progress.losses,
                epoch=state["epoch"],
                step=state["step"],
                seconds=state["seconds"],
                curve=[_epoch(epoch) for epoch in state["curve"]],
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"checkpoint {self.path} does not belong to this training ({type(error).__name__}: "
                f"{str(error).splitlines()[0]}): remove it to start over"
            ) from error

    def _compare(self, theirs: Mapping[str, Any]) -> None:
        ours = json.loads(json.dumps(self.identity))
        differing = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
        if differing:
            what = ", ".join(f"{name} {theirs.get(name)!r}, now {ours.get(name)!r}" for name in differing[:3])
            raise InputError(
                f"checkpoint {self.path} is of another training ({what}): go on with its settings, or remove it to "
                "start over"
            )

    def _fill_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        saved = self.optimizer.state_dict()
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer":
                number, _, key = rest.partition(".")
                like = parameters[int(number)]
                # In the parameter's own memory format: fused optimizers want the two alike.
                value = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
                state.setdefault(int(number), {})[key] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})


def _epoch(table: Mapping[str, Any]) -> Epoch:
    """An Epoch from its table; `val_score` was called `val_top1` before database schema 0003."""
    names = {"val_top1": "val_score"}
    return Epoch(**{names.get(name, name): value for name, value in table.items()})


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, whole or not at all (see drbench.atomic).

    FailedError if it cannot be written; the OSError of a full disk passes through.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path, save(dict(tensors), dict(metadata)))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # no fault of this training: the next one would meet it too
            raise
        raise FailedError(f"cannot write {path}: {error.strerror or error}") from error


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. InputError if it is missing, truncated or something else."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"checkpoint {path} is truncated or no checkpoint ({error}): remove it to start over"
        ) from error


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, value) for name, value in module.state_dict().items() if isinstance(value, Tensor)]


def _fill(module: nn.Module, prefix: str, tensors: Mapping[str, Tensor]) -> None:
    state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    module.load_state_dict(state)
