"""Weights from a file or a mapping into a network that must fit them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from drbench import paths
from drbench.errors import InputError
from drbench.models.foreign import one_line

KEYS = ("state_dict", "model_state_dict", "model", "model_state", "net", "network", "weights")
"""Keys under which training scripts store the state dict of the network."""

COUNTER = "num_batches_tracked"
"""The last part of a batch norm's step counter; old files and other libraries lack it."""

SAVED = "what torch.save(model.state_dict(), FILE) writes"
SHOWN = 3


def load_into(model: nn.Module, weights: str | Path | Mapping[str, Tensor], what: str) -> None:
    """Load a state dict, or a file with one (.safetensors, or what torch.save wrote), into `model`.

    What all names begin with ("module.", "_orig_mod.", "model.") is taken away unless the model's names begin so too;
    floating point numbers of another precision are converted; batch norm's step counters may be missing.

    Args:
        model: the network; changed only if all fits.
        weights: names and tensors, or the path of a file that `read` reads.
        what: the network in words, for messages.

    Raises:
        InputError: if the file can't be read, or for the first names and shapes that don't fit.
    """
    if not isinstance(weights, (str, Path, Mapping)):
        raise InputError(f"weights: got a {type(weights).__name__}; expected a path or a mapping of names to tensors")
    given = weights if isinstance(weights, Mapping) else read(Path(weights))
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    state, prefix = _without_prefix(given, own)
    if wrong := _wrong(state, own):
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        stripped = f" (after {prefix!r}, with which all names begin, was taken away)" if prefix else ""
        raise InputError(f"weights don't fit {what}{stripped}: {', '.join(wrong[:SHOWN])}{more}{_hint(state, own)}")
    try:
        model.load_state_dict({**own, **state}, strict=False)
    except Exception as error:  # of a module that loads its state in its own way
        raise InputError(f"weights don't fit {what}: {one_line(error)}") from error


def read(path: Path, *, safetensors: bool = False) -> Mapping[str, Tensor]:
    """The state dict in a file; `safetensors` whatever it is called.

    A file of torch.save may hold it under one of KEYS, or under any key if it is the only one. Nothing but tensors and
    plain values is ever unpickled. InputError, in one line, if there is no state dict.
    """
    found = paths.regular(path, "weights")
    shown = paths.shown(found)
    if safetensors or found.suffix == ".safetensors":
        try:
            return load_file(found)
        except Exception as error:  # several kinds, KeyError for a dtype that torch lacks
            raise InputError(f"weights: {shown} is truncated or not safetensors: {one_line(error)}") from error
    try:
        with warnings.catch_warnings(action="ignore"):  # of pickle protocols
            content: Any = torch.load(found, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"weights: can't read {shown}: {error.strerror or error}") from error
    except Exception as error:  # torch.load raises many kinds for a file that is not its own
        raise InputError(f"weights: {shown} {_refused(error)}") from error
    return _state_dict(content, shown)


def _refused(error: Exception) -> str:
    """Why torch did not load a file, without torch's advice."""
    if "TorchScript" in str(error):
        return f"is a TorchScript program; expected {SAVED}"
    if named := re.search(r"GLOBAL ([\w.]{1,200})(?!\S)", str(error)):
        return (
            f"holds {named[1]}, and only tensors and plain values are loaded, since anything else can run code. If you "
            "trust the file, save its state dict alone: torch.save(model.state_dict(), FILE)"
        )
    if "weights only" in str(error).lower():
        return f"is no file of tensors that torch can load; expected {SAVED}"
    return f"can't be read by torch ({one_line(error)}); expected {SAVED}"


def _state_dict(content: Any, shown: str) -> Mapping[str, Tensor]:
    if not isinstance(content, Mapping):
        raise InputError(
            f"weights: {shown} holds a {type(content).__name__}; expected a state dict (names and tensors)"
        )
    if any(isinstance(value, Tensor) for value in content.values()):
        return content
    nested = [key for key, value in content.items() if _is_state_dict(value)]
    usual = [key for key in KEYS if key in nested]
    if not usual and len(nested) > 1:
        raise InputError(
            f"weights: {shown} holds several state dicts, under {_list(nested)}; expected one, or one under "
            f"{_list(KEYS)}: hand it over as weights=torch.load(FILE)[KEY]"
        )
    if not nested:
        keys = f"keys {_list(list(content))}" if content else "nothing"
        raise InputError(f"weights: {shown} holds no state dict (names and tensors), but {keys}")
    found: Mapping[str, Tensor] = content[(usual or nested)[0]]
    return found


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(item, Tensor) for item in value.values())


def _without_prefix(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], str]:
    """The state without what all of its names begin with and the network's own do not; and what that was."""
    prefix = ""
    while state and all(isinstance(name, str) for name in state):
        first = next(iter(state)).partition(".")[0] + "."
        if not all(name.startswith(first) for name in state) or any(name.startswith(first) for name in own):
            break
        state, prefix = {name.removeprefix(first): tensor for name, tensor in state.items()}, prefix + first
    return state, prefix


def _wrong(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[str]:
    wrong = [f"{name} is missing" for name in own if name not in state and name.rpartition(".")[2] != COUNTER]
    for name, value in state.items():
        expected = own.get(name)
        if not isinstance(value, Tensor):
            wrong.append(f"{_name(name)} is a {type(value).__name__}, not a tensor")
        elif expected is None:
            wrong.append(f"{_name(name)} is unknown")
        elif is_lazy(expected):
            continue
        elif value.shape != expected.shape:
            wrong.append(f"{name} is {tuple(value.shape)} instead of {tuple(expected.shape)}")
        elif not _converts(value, expected):
            wrong.append(f"{name} is {_kind(value)} instead of {_kind(expected)}")
    return wrong


def _converts(value: Tensor, expected: Tensor) -> bool:
    """Whether the numbers are of one kind: precision may differ, but not real and complex, numbers and codes."""
    if value.is_quantized or value.layout is not torch.strided or value.is_meta:
        return False
    kinds = [(t.is_floating_point(), t.is_complex(), t.dtype is torch.bool) for t in (value, expected)]
    return kinds[0] == kinds[1]


def _kind(tensor: Tensor) -> str:
    place = "on the meta device, without data" if tensor.is_meta else ""
    layout = "" if tensor.layout is torch.strided else str(tensor.layout).removeprefix("torch.")
    return " ".join(filter(None, (str(tensor.dtype).removeprefix("torch."), layout, place)))


def _hint(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """A hint for names that would fit without their first part, such as "model.conv.weight" of a training module."""
    for first in dict.fromkeys(name.partition(".")[0] + "." for name in state if isinstance(name, str)):
        inner = {name.removeprefix(first) for name in state if isinstance(name, str) and name.startswith(first)}
        if inner & own.keys() and not any(name.startswith(first) for name in own):
            return f". {len(inner)} of {len(state)} names begin with {first!r}: hand over those, without it"
    return ""


def _name(name: object) -> str:
    return name if isinstance(name, str) else repr(name)


def _list(names: Sequence[object]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(f"{name!r:.60}" for name in names[:8]) + more
