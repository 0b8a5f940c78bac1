"""Recipes: which convolutions of a network are replaced.

A recipe looks for the blocks it knows, wherever they are in a module, so it works on a network of one's own that is
made of them. Squeeze-and-excitation layers, whose convolutions see a single position, are left alone.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from timm.models import _efficientnet_blocks as timm_blocks
from torch import nn
from torchvision.models import mobilenetv2, mobilenetv3, shufflenetv2
from torchvision.ops import SqueezeExcitation

from drbench import catalog
from drbench.errors import InputError, unknown
from drbench.models import convs, guided
from drbench.models.conversion import Skipped
from drbench.models.mobilefacenet import Bottleneck
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
    Bottleneck,
)
SQUEEZE = (SqueezeExcitation, timm_blocks.SqueezeExcite)
GUIDES = ("own", "block")
UNSUITABLE = ("error", "skip")
"""What to do with a selected layer that can't be replaced; an argument of every recipe, and of patterns too."""


@dataclass(frozen=True)
class Selection:
    """Names of the convolutions to replace, in the network's order, the blocks that share one guide, what is skipped.

    A module with several names goes by its first.
    """

    convs: tuple[str, ...]
    guided_blocks: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()


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
        for child_name, child in module._modules.items():  # every name of a module that has several
            if child is not None:
                yield from _walk(child, skip, f"{name}.{child_name}".lstrip("."))


def _pointwise(block: nn.Module) -> list[str]:
    """Names, inside the block, of its 1x1 convolutions, squeeze-and-excitation apart."""
    return [
        name
        for name, module in _walk(block, (*SQUEEZE, GuideConv2d))
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and not getattr(module, "stands_in", False)
    ]


def _in_blocks(model: nn.Module, pick: Callable[[nn.Module], list[str]], guide: str) -> Selection:
    if guide not in GUIDES:
        raise InputError(f"guide: got {guide!r}; expected {', '.join(GUIDES)}")
    names: list[str] = []
    blocks: list[str] = []
    for block_name, block in model.named_modules():
        if isinstance(block, BLOCKS) and (picked := pick(block)):
            names += [f"{block_name}.{name}".lstrip(".") for name in picked]
            blocks.append(block_name)
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
    "last-pointwise": Recipe(catalog.RECIPES["last-pointwise"], last_pointwise),
    "pointwise": Recipe(catalog.RECIPES["pointwise"], pointwise),
    "released": Recipe(
        catalog.RECIPES["released"],
        released,
        {name: {"initialisation": "released"} for name in ("drconv", "random-guide")},
    ),
}


def patterns_of(where: object) -> tuple[str, ...]:
    """`where` as names and patterns. InputError for what is neither a text nor several of them."""
    if isinstance(where, str):
        return (where,)
    if isinstance(where, Iterable) and not isinstance(where, (Mapping, bytes, bytearray, type)):
        found = sorted(where, key=str) if isinstance(where, (set, frozenset)) else list(where)
        if found and all(isinstance(pattern, str) for pattern in found):
            return tuple(found)
    raise InputError(
        f"where: got {where!r:.100}; expected a recipe ({', '.join(RECIPES)}), or one or several glob patterns over "
        "module names, as 'layer*.conv2'; '*' is every convolution"
    )


def recipe_of(patterns: Sequence[str]) -> Recipe | None:
    """The recipe that is named; None if it is glob patterns."""
    named = [pattern for pattern in patterns if pattern in RECIPES]
    if named and len(patterns) > 1:
        raise InputError(f"where: recipe {named[0]!r} can't be combined with others, got {', '.join(patterns):.200}")
    return RECIPES[named[0]] if named else None


def select(model: nn.Module, where: str | Iterable[str], where_args: Mapping[str, Any] | None = None) -> Selection:
    """The convolutions that `where` means: a recipe's, or those whose names match a glob pattern.

    InputError, with the candidates, when there are none, when a pattern matches none, or when a layer can't be replaced
    and `where_args` does not say {"unsuitable": "skip"}.
    """
    patterns = patterns_of(where)
    recipe = recipe_of(patterns)
    args = dict(where_args or {})
    unsuitable = args.pop("unsuitable", UNSUITABLE[0])
    if unsuitable not in UNSUITABLE:
        raise InputError(f"unsuitable: got {unsuitable!r}; expected one of {', '.join(UNSUITABLE)}")
    if recipe is None:
        if args:
            raise InputError(f"where_args: glob patterns take 'unsuitable' only, got {', '.join(map(str, args))}")
        selection = _matching(model, patterns)
    else:
        allowed = [name for name in inspect.signature(recipe.select).parameters if name != "model"]
        for name in args:
            if name not in allowed:
                raise unknown("recipe argument", name, [*allowed, "unsuitable"])
        selection = recipe.select(model, **args)
        if not selection.convs:
            raise InputError(
                f"where: recipe {patterns[0]!r} knows no block of {type(model).__name__}; "
                f"give glob patterns over module names instead. {_candidates(model)}"
            )
    return _suitable(model, selection, skip=unsuitable == "skip")


def _suitable(model: nn.Module, selection: Selection, skip: bool) -> Selection:
    """The selection without what can't be replaced; InputError if there is any and it must not be skipped."""
    first_names = {id(module): name for name, module in model.named_modules()}
    owners = _owners(model)
    bad_blocks = {name: guided.unsuitable(name, model.get_submodule(name)) for name in selection.guided_blocks}
    keep: list[str] = []
    skipped: list[Skipped] = []
    first = {name: first_names[id(model.get_submodule(name))] for name in selection.convs}
    for name in dict.fromkeys(first.values()):
        conv = model.get_submodule(name)
        reason = convs.unsuitable(conv) or _tied(name, conv, owners)
        reason = reason or next((why for block, why in bad_blocks.items() if why and inside(name, block)), None)
        if reason is None:
            keep.append(name)
        elif skip:
            skipped.append(Skipped(name, reason))
        else:
            raise InputError(
                f"where: got {name!r}, {reason}; expected layers that can be replaced. Leave it out, or skip such "
                "layers with unsuitable='skip' (--where-set unsuitable=skip)"
            )
    if not keep:
        raise InputError(
            f"where: none of the selected layers can be replaced: {skipped[0].name!r} is {skipped[0].reason}"
            f"{f', and {len(skipped) - 1} more' if len(skipped) > 1 else ''}. {_candidates(model)}"
        )
    blocks = (b for b in selection.guided_blocks if any(inside(name, b) and first[name] in keep for name in first))
    return Selection(tuple(keep), tuple(blocks), tuple(skipped))


def convolutions(model: nn.Module) -> int:
    """How many convolutions a network has left: those of converted layers and guides do not count."""
    found = {m for _, m in _walk(model, (GuideConv2d,)) if not getattr(m, "stands_in", False)}
    return sum(convs.convolution_like(module) for module in found)


def inside(name: str, block: str) -> bool:
    """Whether `block` is a part of the network that holds the module `name`."""
    return not block or name.startswith(f"{block}.")


def _owners(model: nn.Module) -> dict[int, list[str]]:
    """The modules that hold a parameter, by the parameter's id."""
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append(name)
    return owners


def _tied(name: str, conv: nn.Module, owners: Mapping[int, Sequence[str]]) -> str | None:
    for parameter in conv._parameters.values():
        others = [other for other in owners.get(id(parameter), ()) if other != name]
        if others:
            return f"a {convs.describe(conv)} that shares a parameter with {others[0]!r}"
    return None


def _matching(model: nn.Module, patterns: Sequence[str]) -> Selection:
    names: list[str] = []
    unmatched = dict.fromkeys(patterns)
    other: dict[str, nn.Module] = {}
    for name, module in _walk(model, (GuideConv2d,)):
        matching = [pattern for pattern in patterns if fnmatchcase(name, pattern)]
        if not matching:
            continue
        if getattr(module, "stands_in", False) or not convs.convolution_like(module):
            other.setdefault(name, module)
            continue
        names.append(name)
        for pattern in matching:
            unmatched.pop(pattern, None)
    for pattern in unmatched:
        raise InputError(f"where: {_why_not(pattern, other)}. {_candidates(model)}")
    return Selection(tuple(names))


def _why_not(pattern: str, other: Mapping[str, nn.Module]) -> str:
    """What is wrong with a pattern that matches no convolution; `other` are the modules that some pattern matches."""
    found = [(name, module) for name, module in other.items() if fnmatchcase(name, pattern)]
    if any(getattr(module, "stands_in", False) for _, module in found):
        return f"all convolutions that match {pattern!r:.100} are converted already"
    if found and found[0][0] == pattern:
        return f"{pattern!r:.100} is a {convs.describe(found[0][1])}, not a convolution"
    return f"no convolution matches {pattern!r:.100}"


def _candidates(model: nn.Module, shown: int = 12) -> str:
    found = {module: name for name, module in reversed(list(_walk(model, (GuideConv2d,)))) if not _hidden(module)}
    names = list(reversed(found.values()))
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    recipes = f"Recipes: {', '.join(RECIPES)}"
    return (
        f"Candidates: {', '.join(names[:shown])}{more}. {recipes}"
        if names
        else f"It has no nn.Conv2d to replace. {recipes}"
    )


def _hidden(module: nn.Module) -> bool:
    return getattr(module, "stands_in", False) or convs.unsuitable(module) is not None
