"""Build a network from its description: the plain one first, then what replaces its convolutions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from drbench import names
from drbench.errors import InputError
from drbench.models.architectures import ARCHITECTURES, Architecture, build_own
from drbench.models.convert import apply
from drbench.models.weights import load_into
from drbench.records import PLAIN, Variant


def create_model(
    name: str,
    *,
    operator: str = PLAIN,
    where: str | Sequence[str] = "last-pointwise",
    where_args: Mapping[str, Any] | None = None,
    regions: int | None = None,
    num_classes: int = 1000,
    input_shape: tuple[int, int, int] = (3, 224, 224),
    stem_stride: int | None = None,
    width: float | None = None,
    init: str | None = None,
    weights: str | Path | Mapping[str, torch.Tensor] | None = None,
    seed: int | None = None,
    architecture_args: Mapping[str, Any] | None = None,
    **operator_args: Any,
) -> nn.Module:
    """Create a network by name, plain or converted.

    Args:
        name: in ARCHITECTURES, or "package.module:callable" (called with num_classes if it takes that).
        operator, where, where_args, regions, operator_args: as in `convert`; operator "conv" is the plain network.
        num_classes: outputs of the classifier.
        input_shape: (C,H,W) of the images.
        stem_stride: total stride of the first layers; None is as published (4 in ShuffleNet, 2 in MobileNet), 1 suits
            images under 64 pixels.
        width: multiplier in place of the published one.
        init: of converted layers; None is 'preserve' with `weights`, else 'fresh'.
        weights: of the plain network: a state dict, or a file with one (.safetensors, or what torch.save wrote).
        seed: equal seeds give equal unconverted layers, whatever the operator; None draws from the global generator.
        architecture_args: further arguments of the network.

    Returns:
        The network in training mode; `variant` (a records.Variant) describes it, `conversion` what was replaced.

    Raises:
        InputError (a ValueError): for any argument that is wrong, saying what is allowed.
    """
    if regions is not None:
        operator_args["regions"] = regions
    variant = Variant(
        architecture=name,
        operator=operator,
        operator_args=operator_args,
        where=(where,) if isinstance(where, str) else tuple(where),
        where_args=dict(where_args or {}),
        init=init or ("fresh" if weights is None or operator == PLAIN else "preserve"),
        input_shape=_shape(input_shape),
        num_classes=num_classes,
        stem_stride=stem_stride,
        architecture_args=dict(architecture_args or {}),
        width=width,
        sources=names.source_hashes((name, operator)),
    )
    return build(variant, seed=seed, weights=weights)


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
    return model if device is None else model.to(device)


def plain(variant: Variant, divisor: int | None = None) -> nn.Module:
    """The unconverted network; a matched one with the finest channel counts that its family has."""
    architecture = names.resolve("model", variant.architecture, ARCHITECTURES)
    channels = variant.input_shape[0]
    if isinstance(architecture, Architecture):
        if divisor is None and variant.match is not None:
            divisor = architecture.fine_divisor
        return architecture.build(
            num_classes=variant.num_classes,
            width=variant.width,
            divisor=divisor,
            stem_stride=variant.stem_stride,
            in_channels=channels,
            **variant.architecture_args,
        )
    wanted = {
        "num_classes": variant.num_classes,
        "width": variant.width,
        "stem_stride": variant.stem_stride,
        "in_channels": channels,
    }
    return build_own(variant.architecture, architecture, wanted, variant.architecture_args)


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _shape(given: Sequence[int]) -> tuple[int, int, int]:
    if len(given) != 3 or not all(isinstance(size, int) and size > 0 for size in given):
        raise InputError(f"input_shape: got {given!r}, allowed is (channels, height, width) in whole numbers above 0")
    return given[0], given[1], given[2]
