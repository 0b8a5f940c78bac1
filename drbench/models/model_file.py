"""Model files: weights and all that is needed to build the network around them, in one safetensors file."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from drbench import __version__, atomic, identity, paths, trust, variant_table
from drbench.bounds import wrong
from drbench.errors import FailedError, InputError
from drbench.models.architectures import ARCHITECTURES
from drbench.models.create import build, device_of
from drbench.models.weights import load_into, read
from drbench.operators import OPERATORS
from drbench.records import PLAIN, Variant
from drbench.sources import source_hashes

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
        "variant": identity.table(variant),
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
    try:
        atomic.write(Path(path), save(state, metadata={KEY: text}))
    except OSError as error:
        raise FailedError(f"can't write {str(path)!r}: {error.strerror or error}") from error


def _state(model: nn.Module) -> Sequence[tuple[str, torch.Tensor]]:
    return [(name, value) for name, value in model.state_dict().items() if isinstance(value, torch.Tensor)]


def read_header(path: str | Path) -> dict[str, Any]:
    """The header of a model file: format, drbench, torch, variant, classes, preprocessing, extra.

    InputError, in one line, for a file that is missing, truncated, none of ours, or newer than this drbench.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"weights: got {path!r:.80}; expected the path of a model file")
    target = paths.regular(path, "weights")
    try:
        with safe_open(target, framework="pt") as opened:
            metadata = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"weights: {str(target)!r} is truncated or not safetensors: {error}") from error
    if KEY not in metadata:
        raise InputError(f"weights: {str(target)!r} has no drbench header; use create_model(name, weights=FILE)")
    try:
        header = json.loads(metadata[KEY])
        version = header["format"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"weights: the drbench header of {str(target)!r} is damaged: {error!r:.200}") from error
    if type(version) is not int or version < 1:
        raise InputError(f"weights: the drbench header of {str(target)!r} is damaged: format {version!r:.50}")
    if version > FORMAT:
        raise InputError(
            f"weights: {str(target)!r} has header format {version}, written by drbench {header.get('drbench')!r:.50}; "
            f"this drbench {__version__} reads up to {FORMAT}: update it"
        )
    return _checked(header, f"weights: the drbench header of {str(target)!r}")


def _checked(header: dict[str, Any], what: str) -> dict[str, Any]:
    """The header, every field of the type that `save_model` gives it. The variant is for `variant_of` to check."""
    if message := wrong({key: value for key, value in header.items() if key != "variant"}):
        raise InputError(f"{what} is damaged: {message}")
    tables: dict[str, tuple[type, str]] = {
        "preprocessing": (dict, "a table"),
        "extra": (dict, "a table"),
        "classes": (list, "a list"),
    }
    for name, (kind, allowed) in tables.items():
        if not isinstance(header.setdefault(name, kind()), kind):
            raise InputError(f"{what} is damaged: {name}: got {header[name]!r:.50}; expected {allowed}")
    extra = header["extra"]
    kinds = {"label": str, "seed": int, "train": dict, "data_digest": str}
    for name, kind in kinds.items():
        if extra.get(name) is not None and type(extra[name]) is not kind:
            raise InputError(f"{what} is damaged: extra.{name}: got {extra[name]!r:.50}; expected {kind.__name__}")
    if not all(isinstance(name, str) for name in header["classes"]):
        raise InputError(f"{what} is damaged: classes: expected a list of names")
    return header


def load_model(
    path: str | Path,
    *,
    device: torch.device | str | None = None,
    trust: Collection[str] = (),
    make: Callable[..., nn.Module] = build,
) -> nn.Module:
    """The network in a model file, in evaluation mode, on `device`; nothing but the file is needed.

    >>> import tempfile, torch
    >>> from drbench import create_model, load_model
    >>> model = create_model("mobilenet_v1_0.25", operator="drconv", regions=4, num_classes=10).eval()
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     save_model(f"{directory}/net.safetensors", model, model.variant)
    ...     loaded = load_model(f"{directory}/net.safetensors")
    >>> images = torch.randn(1, 3, 64, 64)
    >>> torch.equal(loaded(images), model(images))
    True

    Args:
        path: what `save_model` wrote.
        device: where the network goes.
        trust: the names of the form package.module:callable that may be imported because the file names them. Give
            only what you know: to import a module is to run its code. Names of drbench's registries need none.
        make: builds the network of a variant from a seed.

    Returns:
        The network; `header` is the file's header, `variant` the records.Variant that describes it.

    Raises:
        InputError: for a file that can't be read, that names code which `trust` does not, or whose weights don't fit
            the network it describes.
    """
    place = None if device is None else device_of(device)
    header = read_header(path)
    variant = variant_of(header, path)
    allow(variant, trust, path, "trust=('NAME',)")
    for name, digest in source_hashes((variant.architecture, variant.operator)).items():
        if variant.sources.get(name, digest) != digest:
            warnings.warn(f"{name} has changed since {str(path)!r} was saved", UserWarning, stacklevel=2)
    # the layers are about to be overwritten: none needs a convolution to preserve
    variant_of_layers = replace(variant, init="fresh")
    _check_size(variant_of_layers, path, make)
    model = make(variant_of_layers, seed=0)
    load_into(model, read(Path(path), safetensors=True), "the network that its header describes")
    model.variant = variant  # type: ignore[assignment]
    model.header = header  # type: ignore[assignment]
    return model.eval() if place is None else model.to(place).eval()


def allow(variant: Variant, allowed: Collection[str], path: str | Path, how: str) -> None:
    """InputError where a model file's network names code that `allowed` does not; see `drbench.trust`."""
    trust.require((variant.architecture, variant.operator, variant.task), allowed, f"model file {str(path)!r}", how)


def variant_of(header: Mapping[str, Any], path: str | Path) -> Variant:
    """The Variant in the header of the model file `path`. InputError if there is none, or it can't be the file's."""
    source = f"weights: the header of {str(path)!r} describes no network that this drbench knows"
    variant = variant_table.variant_of(header.get("variant"), source)
    if variant.architecture in ARCHITECTURES and variant.num_classes > Path(path).stat().st_size:
        # each class has weights: said before a classifier of that size is allocated
        raise InputError(f"{source}: num_classes {variant.num_classes:,} is more than the file has bytes")
    return variant


def _check_size(variant: Variant, path: str | Path, make: Callable[..., nn.Module]) -> None:
    """InputError where the network would hold more numbers than the file has bytes: said before memory is taken.

    Only for drbench's own networks: a user's code may not be able to build without memory.
    """
    if variant.architecture not in ARCHITECTURES or variant.operator not in {PLAIN, *OPERATORS}:
        return
    with torch.device("meta"):
        network = make(variant, seed=0)
    numbers, size = sum(tensor.numel() for tensor in network.state_dict().values()), Path(path).stat().st_size
    if numbers > size:
        raise InputError(f"weights: {str(path)!r} describes a network of {numbers:,} numbers, and has {size:,} bytes")
