"""Build a network from its description: the plain one first, then what replaces its convolutions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from drbench import names
from drbench.catalog import MODELS, Model
from drbench.errors import InputError
from drbench.models.architectures import ARCHITECTURES, Architecture
from drbench.models.convert import apply
from drbench.models.foreign import one_line
from drbench.models.own import build_own, check_output
from drbench.models.weights import load_into
from drbench.records import PLAIN, Variant
from drbench.sources import source_hashes
from drbench.trial import image_shape
from drbench.variant_table import of_arguments

_OF_THEIR_OWN = ("num_classes", "width", "stem_stride")
"""Arguments of a network that a Variant has fields for."""


def create_model(
    name: str,
    *,
    operator: str = PLAIN,
    where: str | Sequence[str] = "last-pointwise",
    where_args: Mapping[str, Any] | None = None,
    regions: int | None = None,
    num_classes: int | None = None,
    input_shape: tuple[int, int, int] | None = None,
    stem_stride: int | None = None,
    width: float | None = None,
    init: str | None = None,
    weights: str | Path | Mapping[str, torch.Tensor] | None = None,
    seed: int | None = None,
    architecture_args: Mapping[str, Any] | None = None,
    **operator_args: Any,
) -> nn.Module:
    """Create a network by name, plain or converted.

    >>> import torch
    >>> options = dict(num_classes=10, input_shape=(3, 32, 32), seed=0)
    >>> plain = create_model("mobilenet_v1_0.25", **options)
    >>> model = create_model("mobilenet_v1_0.25", operator="drconv", regions=4, **options)
    >>> model(torch.randn(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    >>> torch.equal(model.features[0][0].weight, plain.features[0][0].weight)  # equal seeds, equal other layers
    True

    Args:
        name: a name in ARCHITECTURES, or "package.module:callable". It gets num_classes if it accepts it.
        operator, where, where_args, regions, operator_args: as in `convert`; operator "conv" is the plain network.
        num_classes: number of outputs; None is 1000 (of mobilefacenet 128). A callable's network must have that number.
        input_shape: (C,H,W) of the images; None is (3, 224, 224) (of mobilefacenet (3, 112, 112)).
        stem_stride: total stride of the first layers. None is the published stride (4 in ShuffleNet, 2 in MobileNet);
            use 1 for images under 64 pixels.
        width: width multiplier that replaces the published one.
        init: as in `convert`. None is 'preserve' with `weights` or a callable (which may return a trained network), and
            otherwise 'fresh'.
        weights: weights of the plain network: a state dict, or a file with one (.safetensors, or of torch.save).
        seed: equal seeds give equal layers, except those that are replaced. None uses the global generator.
        architecture_args: further arguments of the network.

    Returns:
        The network in training mode. Its attribute `variant` (a records.Variant) describes it; `conversion` lists the
        replaced layers.

    Raises:
        InputError (a ValueError): an argument is wrong; the message says what is allowed.
    """
    if regions is not None:
        operator_args["regions"] = regions
    may_be_trained = weights is not None or (isinstance(name, str) and names.is_import(name))
    known = MODELS.get(name) or Model(name, name, 1.0)
    variant = of_arguments(
        {
            "architecture": name,
            "operator": operator,
            "operator_args": operator_args,
            "where": (where,) if isinstance(where, str) else where,
            "where_args": {} if where_args is None else where_args,
            "init": init or ("preserve" if operator != PLAIN and may_be_trained else "fresh"),
            "input_shape": known.input_shape if input_shape is None else image_shape(input_shape),
            "num_classes": known.outputs if num_classes is None else num_classes,
            "stem_stride": stem_stride,
            "architecture_args": {} if architecture_args is None else architecture_args,
            "width": width,
        }
    )
    variant = replace(variant, sources=source_hashes((variant.architecture, variant.operator)))
    model = build(variant, seed=seed, weights=weights)
    if num_classes is not None and names.is_import(variant.architecture):
        check_output(model, variant)
    return model


def build(
    variant: Variant,
    *,
    seed: int | None = None,
    device: torch.device | str | None = None,
    weights: str | Path | Mapping[str, torch.Tensor] | None = None,
) -> nn.Module:
    """The network that `variant` describes, on `device`.

    With a seed, the plain network is drawn first under it and converted layers from generators of their own, so that
    what two variants of one architecture have in common starts equal; the global generator is left alone.
    `weights` are loaded into the plain network before it is converted.
    """
    if not isinstance(variant, Variant):
        raise InputError(f"variant: got a {type(variant).__name__}; expected a records.Variant")
    place = None if device is None else device_of(device)
    with _seeded(seed):
        model = plain(variant)
    if weights is not None:
        load_into(model, weights, f"{variant.architecture} with {variant.num_classes} classes")
    if variant.operator != PLAIN:
        model = apply(
            model,
            variant.where,
            variant.operator,
            variant.operator_args,
            variant.where_args,
            variant.init,
            inplace=True,
            input_shape=variant.input_shape,
            seed=seed,
        )
    elif variant.operator_args:
        raise InputError(f"operator 'conv' takes no arguments, got {', '.join(variant.operator_args)}")
    model.variant = variant  # type: ignore[assignment]
    return model if place is None else model.to(place)


def plain(variant: Variant, divisor: int | None = None) -> nn.Module:
    """The unconverted network; a matched one with the finest channel counts that its family has."""
    architecture = names.resolve("model", variant.architecture, ARCHITECTURES)
    channels = variant.input_shape[0]
    if isinstance(architecture, Architecture):
        for key in (*_OF_THEIR_OWN, "in_channels", "divisor", "input_size"):
            if key in variant.architecture_args:
                how = "is an argument of its own" if key in _OF_THEIR_OWN else "follows from the other arguments"
                raise InputError(f"architecture_args: {key!r} of {variant.architecture} {how}: leave it out")
        if divisor is None and variant.match is not None:
            divisor = architecture.fine_divisor
        return architecture.build(
            num_classes=variant.num_classes,
            width=variant.width,
            divisor=divisor,
            stem_stride=variant.stem_stride,
            in_channels=channels,
            input_size=variant.input_shape[1:],
            **variant.architecture_args,
        )
    wanted = {
        "num_classes": variant.num_classes,
        "width": variant.width,
        "stem_stride": variant.stem_stride,
        "in_channels": channels,
    }
    return build_own(variant.architecture, architecture, wanted, variant.architecture_args)


def device_of(given: torch.device | str) -> torch.device:
    """The device of this name. InputError if there is none on this machine."""
    try:
        return torch.empty(0, device=given).device
    except Exception as error:  # RuntimeError, AssertionError, NotImplementedError
        raise InputError(f"device: got {given!r}; expected one of this machine's: {one_line(error)}") from error


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise InputError(f"seed: got {seed!r}; expected a whole number from 0 on, below 2**63")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
