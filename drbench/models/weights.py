"""Weights from a file or a mapping into a network that must fit them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from drbench import paths
from drbench.errors import InputError
from drbench.models.foreign import one_line


def load_into(model: nn.Module, weights: str | Path | Mapping[str, torch.Tensor], what: str) -> None:
    """Load a state dict, or a file with one (.safetensors, or what torch.save wrote), into `model`.

    InputError if the file can't be read, or for the first names and shapes that don't fit `what`.
    """
    state = weights if isinstance(weights, Mapping) else read(Path(weights))
    own = model.state_dict()
    wrong = [f"{name} is missing" for name in own if name not in state]
    wrong += [f"{name} is unknown" for name in state if name not in own]
    wrong += [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(f"weights don't fit {what}: {', '.join(wrong[:3])}{more}")
    model.load_state_dict(state)


def read(path: Path, *, safetensors: bool = False) -> Mapping[str, torch.Tensor]:
    """The state dict in a file; `safetensors` whatever it is called. InputError, in one line, if there is none."""
    path = paths.regular(path, "weights")
    try:
        if safetensors or path.suffix == ".safetensors":
            return load_file(path)
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise InputError(f"weights: {str(path)!r} is truncated or not safetensors: {error}") from error
    except Exception as error:  # torch.load raises many kinds for a file that is not its own
        raise InputError(f"weights: torch can't read {str(path)!r}: {one_line(error)}") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"weights: {str(path)!r} holds no state dict (names and tensors)")
    return state
