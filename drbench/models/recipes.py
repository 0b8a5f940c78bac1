"""Recipes: which convolutions of a network are replaced.

A recipe looks for the blocks it knows, wherever they are in a module, so it works on a network of one's own that is
made of them. Squeeze-and-excitation layers, whose convolutions see a single position, are left alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from timm.models import _efficientnet_blocks as timm_blocks
from torch import nn
from torchvision.models import mobilenetv2, mobilenetv3, shufflenetv2
from torchvision.ops import SqueezeExcitation

from drbench.errors import InputError, unknown
from drbench.models import convs, guided
from drbench.models.mobilenet_v1 import DepthwiseSeparable
from drbench.operators import GuideConv2d

BLOCKS: tuple[type[nn.Module], ...] = (
    shufflenetv2.InvertedResidual,
    DepthwiseSeparable,
    mobilenetv2.InvertedResidual,
    mobilenetv3.InvertedResidual,
    timm_blocks.DepthwiseSeparableConv,
    timm_blocks.InvertedResidual,
    timm_blocks.UniversalInvertedResidual,
    timm_blocks.EdgeResidual,
)
SQUEEZE = (SqueezeExcitation, timm_blocks.SqueezeExcite)
GUIDES = ("own", "block")


@dataclass(frozen=True)
class Selection:
    """Names of the convolutions to replace, in the network's order, and the blocks that share one guide."""

    convs: tuple[str, ...]
    guided_blocks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """`select(model, **where_args)` finds the convolutions; `operator_args` are its defaults for the operator."""

    description: str
    select: Callable[..., Selection]
    operator_args: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def _walk(module: nn.Module, skip: tuple[type[nn.Module], ...], name: str = "") -> Iterator[tuple[str, nn.Module]]:
    """`named_modules` without the inside of what an earlier conversion put there, and without what is in `skip`."""
    if isinstance(module, skip):
        return
    yield name, module
    if not getattr(module, "stands_in", False):
        for child_name, child in module.named_children():
            yield from _walk(child, skip, f"{name}.{child_name}".lstrip("."))


def _pointwise(block: nn.Module) -> list[str]:
    """Names, inside the block, of its 1x1 convolutions, squeeze-and-excitation apart."""
    return [
        name
        for name, module in _walk(block, (*SQUEEZE, GuideConv2d))
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
    ]


def _in_blocks(model: nn.Module, pick: Callable[[nn.Module], list[str]], guide: str) -> Selection:
    if guide not in GUIDES:
        raise InputError(f"guide: got {guide!r}, allowed are {', '.join(GUIDES)}")
    names: list[str] = []
    blocks: list[str] = []
    for block_name, block in model.named_modules():
        if isinstance(block, BLOCKS) and (picked := pick(block)):
            names += [f"{block_name}.{name}".lstrip(".") for name in picked]
            blocks.append(block_name)
            if guide == "block":
                guided.check(block_name, block)
    return Selection(tuple(names), tuple(blocks) if guide == "block" else ())


def last_pointwise(model: nn.Module, *, guide: str = "own") -> Selection:
    """The last 1x1 convolution of every block: ShuffleNetV2's right branch, MobileNet's projection."""
    return _in_blocks(model, lambda block: _pointwise(block)[-1:], guide)


def pointwise(model: nn.Module, *, guide: str = "own") -> Selection:
    """All 1x1 convolutions inside blocks."""
    return _in_blocks(model, _pointwise, guide)


def released(model: nn.Module) -> Selection:
    """ShuffleNetV2 as in the authors' code: both 1x1 of every right branch, one guide for the block."""
    if not any(isinstance(module, shufflenetv2.InvertedResidual) for module in model.modules()):
        raise InputError("recipe 'released' is about ShuffleNetV2, and there is none here: use 'pointwise'")
    return _in_blocks(model, lambda block: [n for n in _pointwise(block) if n.startswith("branch2.")], "block")


RECIPES: dict[str, Recipe] = {
    "last-pointwise": Recipe("the last 1x1 convolution of every block (guide='own' or 'block')", last_pointwise),
    "pointwise": Recipe("all 1x1 convolutions inside blocks (guide='own' or 'block')", pointwise),
    "released": Recipe(
        "ShuffleNetV2 as in the authors' code: both 1x1 of every right branch, one guide per block",
        released,
        {name: {"initialisation": "released"} for name in ("drconv", "random-guide")},
    ),
}


def recipe_of(where: str | Sequence[str]) -> Recipe | None:
    """The recipe that `where` names; None if it is glob patterns."""
    patterns = [where] if isinstance(where, str) else list(where)
    named = [pattern for pattern in patterns if pattern in RECIPES]
    if named and len(patterns) > 1:
        raise InputError(
            f"where: recipe {named[0]!r} can't be combined with others, got {', '.join(map(str, patterns))}"
        )
    return RECIPES[named[0]] if named else None


def select(model: nn.Module, where: str | Sequence[str], where_args: Mapping[str, Any] | None = None) -> Selection:
    """The convolutions that `where` means: a recipe's, or those whose names match a glob pattern.

    InputError, with the candidates, when there are none, or when a match is a convolution that can't be replaced.
    """
    args = dict(where_args or {})
    recipe = recipe_of(where)
    if recipe is None:
        if args:
            raise InputError(f"where_args: glob patterns take none, got {', '.join(args)}")
        return _matching(model, [where] if isinstance(where, str) else list(where))
    allowed = [name for name in inspect.signature(recipe.select).parameters if name != "model"]
    for name in args:
        if name not in allowed:
            raise unknown("recipe argument", name, allowed)
    selection = recipe.select(model, **args)
    if not selection.convs:
        name = where if isinstance(where, str) else where[0]
        raise InputError(
            f"where: recipe {name!r} knows no block of {type(model).__name__}; "
            f"give glob patterns over module names instead. {_candidates(model)}"
        )
    return selection


def _matching(model: nn.Module, patterns: list[str]) -> Selection:
    names = []
    for name, module in _walk(model, (GuideConv2d,)):
        if getattr(module, "stands_in", False) or not any(fnmatchcase(name, str(p)) for p in patterns):
            continue
        if convs.convolution_like(module):
            convs.arguments(name, module)
            names.append(name)
        elif name in patterns:
            raise InputError(f"where: {name!r} is a {convs.describe(module)}, not a convolution. {_candidates(model)}")
    if not names:
        raise InputError(f"where: no convolution matches {', '.join(map(repr, patterns))}. {_candidates(model)}")
    return Selection(tuple(names))


def _candidates(model: nn.Module, shown: int = 12) -> str:
    names = [name for name, module in _walk(model, (GuideConv2d,)) if convs.replaceable(module)]
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    recipes = f"Recipes: {', '.join(RECIPES)}"
    return f"Candidates: {', '.join(names[:shown])}{more}. {recipes}" if names else f"It has no nn.Conv2d. {recipes}"
