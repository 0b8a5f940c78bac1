"""Convert: replace convolutions of any network by an operator, and say what was replaced."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from drbench import names
from drbench.errors import InputError
from drbench.models import probe as probing
from drbench.models import recipes
from drbench.models.swap import Swap, parameters_of
from drbench.operators import OPERATORS

INITS = ("preserve", "fresh")


@dataclass(frozen=True)
class Replacement:
    """One convolution that gave way: the module's name, and the convolution in words."""

    name: str
    replaced: str


@dataclass(frozen=True)
class Conversion:
    """What `convert` did; `before` is an earlier conversion of the same network."""

    operator: str
    operator_args: Mapping[str, Any]
    where: tuple[str, ...]
    where_args: Mapping[str, Any]
    init: str
    replacements: tuple[Replacement, ...]
    guided_blocks: tuple[str, ...] = ()
    before: Conversion | None = field(default=None, repr=False)


def convert(
    model: nn.Module,
    where: str | Sequence[str] = "last-pointwise",
    operator: str | Callable[..., nn.Module] = "drconv",
    *,
    regions: int | None = None,
    init: str = "preserve",
    inplace: bool = False,
    input_shape: tuple[int, int, int] | None = None,
    inputs: Any = None,
    probe: bool = True,
    where_args: Mapping[str, Any] | None = None,
    seed: int | None = None,
    **operator_args: Any,
) -> nn.Module:
    """Replace convolutions of any nn.Module.

    Args:
        model: the network; left as it is unless `inplace`.
        where: a recipe's name, or glob patterns over module names ("features.*.conv.*"; * matches dots too).
        operator: a name in OPERATORS, "package.module:callable", or the callable itself.
        regions: short for the operator's argument of that name.
        init: 'preserve' keeps the network's function: each new layer takes over the weights of the convolution that it
            replaces, trained or not. 'fresh' draws the new layers at random and discards those weights.
        input_shape: (C,H,W) of the random image that is run before and after; None tries what the network's own
            configuration says, and usual ones.
        inputs: what to run in its place: a tensor, a tuple of arguments, a mapping of arguments by name, or a callable
            that makes one of these; anything else is the only argument.
        probe: False runs nothing, and so checks no shapes.
        where_args: the recipe's arguments, as {"guide": "block"}.
        seed: draws each new layer from a generator of its own, seeded with this and its name; None: the global one.
        operator_args: further arguments of the operator.

    Returns:
        The converted network; its attribute `conversion` (a Conversion) says what was replaced.

    Raises:
        InputError (a ValueError): where nothing matches, for what can't be replaced, for a wrong argument, or when a
            layer's output changed its shape. The model is then as it was.
    """
    if regions is not None:
        operator_args["regions"] = regions
    return apply(
        model,
        where,
        operator,
        operator_args,
        where_args or {},
        init,
        inplace=inplace,
        input_shape=input_shape,
        inputs=inputs,
        probe=probe,
        seed=seed,
    )


def apply(
    model: nn.Module,
    where: str | Sequence[str],
    operator: str | Callable[..., nn.Module],
    operator_args: Mapping[str, Any],
    where_args: Mapping[str, Any],
    init: str,
    *,
    inplace: bool,
    input_shape: tuple[int, int, int] | None,
    seed: int | None,
    inputs: Any = None,
    probe: bool = True,
) -> nn.Module:
    """`convert` with the free tables as tables, whatever their keys are."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model: got a {type(model).__name__}, allowed is a torch.nn.Module")
    if init not in INITS:
        raise InputError(f"init: got {init!r}; expected one of {', '.join(INITS)}")
    operator_name = operator if isinstance(operator, str) else _name(operator)
    make = names.resolve("operator", operator, OPERATORS) if isinstance(operator, str) else operator
    recipe = recipes.recipe_of(where)
    args = {**(recipe.operator_args.get(operator_name, {}) if recipe else {}), **operator_args}
    _check_arguments(operator_name, make, args)
    model = model if inplace else copy.deepcopy(model)
    selection = recipes.select(model, where, where_args)
    seen = probing.before(model, selection.convs, input_shape, inputs) if probe else None
    swap = Swap(model)
    try:
        described = swap.replace(selection, operator_name, make, args, init, seed)
        if seen is not None:
            probing.after(swap.root, seen, operator_name)
    except BaseException:
        swap.undo()
        raise
    swap.root.conversion = Conversion(  # type: ignore[assignment]
        operator_name,
        args,
        (where,) if isinstance(where, str) else tuple(where),
        dict(where_args),
        init,
        tuple(Replacement(*found) for found in described),
        swap.guided,
        getattr(model, "conversion", None),
    )
    return swap.root


_CONV_ARGUMENTS = frozenset(inspect.signature(nn.Conv2d).parameters)


def _check_arguments(operator: str, make: Callable[..., nn.Module], args: Mapping[str, Any]) -> None:
    parameters = parameters_of(make)
    for name in args:
        if name in _CONV_ARGUMENTS:
            raise InputError(f"operator argument {name!r} comes from the convolution that is replaced: leave it out")
        if parameters is not None and name not in parameters:
            allowed = [p for p in parameters if p not in _CONV_ARGUMENTS]
            raise InputError(
                f"operator {operator!r} has no argument {name!r}, allowed are {', '.join(allowed) or 'none'}"
            )


def _name(operator: Callable[..., nn.Module]) -> str:
    return f"{operator.__module__}:{getattr(operator, '__qualname__', type(operator).__name__)}"
