"""Model files: weights and all that is needed to build the network around them, in one safetensors file."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from drbench import __version__, names
from drbench.errors import FailedError, InputError
from drbench.models.create import build
from drbench.models.weights import load_into, read
from drbench.records import Variant

FORMAT = 1
"""Of the header. A reader refuses a newer one."""

KEY = "drbench"
"""Where the header is, in the metadata that safetensors keeps."""


def save_model(
    path: str | Path,
    model: nn.Module,
    variant: Variant,
    *,
    classes: Sequence[str] = (),
    preprocessing: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write the model's weights with a header that says how to build it, whole or not at all.

    Args:
        path: the file, by habit *.safetensors.
        model: the network that `variant` describes.
        variant: what `load_model` builds.
        classes: names of the classes, in order.
        preprocessing: what was done to the images, as the data room says it.
        extra: anything else that JSON can hold.

    Raises:
        InputError: if the header can't be written as JSON.
        FailedError: if the file can't be written.
    """
    header = {
        "format": FORMAT,
        "drbench": __version__,
        "torch": str(torch.__version__),
        "variant": dataclasses.asdict(variant),
        "classes": list(classes),
        "preprocessing": dict(preprocessing or {}),
        "extra": dict(extra or {}),
    }
    try:
        text = json.dumps(header)
    except TypeError as error:
        raise InputError(f"save_model: the header must be plain JSON: {error}") from error
    # clones: safetensors takes neither tensors that share memory nor those in channels_last
    state = {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in _state(model)}
    target = Path(path)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(save(state, metadata={KEY: text}))
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FailedError(f"can't write {str(target)!r}: {error.strerror or error}") from error


def _state(model: nn.Module) -> Sequence[tuple[str, torch.Tensor]]:
    return [(name, value) for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)]


def read_header(path: str | Path) -> dict[str, Any]:
    """The header of a model file: format, drbench, torch, variant, classes, preprocessing, extra.

    InputError, in one line, for a file that is missing, truncated, none of ours, or newer than this drbench.
    """
    target = Path(path)
    if not target.is_file():
        raise InputError(f"weights: no file {str(target)!r}")
    try:
        with safe_open(target, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"weights: {str(target)!r} is truncated or not safetensors: {error}") from error
    if KEY not in metadata:
        raise InputError(f"weights: {str(target)!r} has no drbench header; use create_model(name, weights=FILE)")
    try:
        header: dict[str, Any] = json.loads(metadata[KEY])
        version = int(header["format"])
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"weights: the drbench header of {str(target)!r} is damaged: {error!r}") from error
    if version > FORMAT:
        raise InputError(
            f"weights: {str(target)!r} has header format {version}, written by drbench {header.get('drbench')}; this "
            f"drbench {__version__} reads up to {FORMAT}: update it"
        )
    return header


def load_model(path: str | Path, *, device: torch.device | str | None = None) -> nn.Module:
    """The network in a model file, in evaluation mode, on `device`; nothing but the file is needed.

    (And, where the network or operator is a user's own, the module that defines it.) `model.header` is the header.

    Raises:
        InputError: for a file that can't be read, or whose weights don't fit the network it describes.
    """
    header = read_header(path)
    variant = variant_of(header)
    for name, digest in names.source_hashes(variant.sources).items():
        if variant.sources[name] != digest:
            warnings.warn(f"{name} has changed since {str(path)!r} was saved", UserWarning, stacklevel=2)
    # the layers are about to be overwritten: none needs a convolution to preserve
    model = build(dataclasses.replace(variant, init="fresh"), seed=0)
    load_into(model, read(Path(path), safetensors=True), "the network that its header describes")
    model.variant = variant  # type: ignore[assignment]
    model.header = header  # type: ignore[assignment]
    return model.eval() if device is None else model.to(device).eval()


def variant_of(header: Mapping[str, Any]) -> Variant:
    """The Variant in a header, with JSON's lists as tuples again. InputError if there is none."""
    try:
        table = dict(header["variant"])
        table["where"] = tuple(table["where"])
        table["input_shape"] = tuple(table["input_shape"])
        return Variant(**table)
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"weights: the header describes no network that this drbench knows: {error}") from error
