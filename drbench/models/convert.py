"""Convert: replace convolutions of any network by an operator, and say what was replaced."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from drbench import names
from drbench.models import arguments, recipes, rows
from drbench.models import probe as probing
from drbench.models.conversion import Conversion, Skipped
from drbench.models.copying import copied
from drbench.models.swap import Swap
from drbench.operators import OPERATORS


def convert(
    model: nn.Module,
    where: str | Iterable[str] = "last-pointwise",
    operator: str | Callable[..., nn.Module] = "drconv",
    *,
    regions: int | None = None,
    init: str = "preserve",
    unsuitable: str = "error",
    inplace: bool = False,
    input_shape: tuple[int, int, int] | None = None,
    inputs: Any = None,
    probe: bool = True,
    where_args: Mapping[str, Any] | None = None,
    seed: int | None = None,
    **operator_args: Any,
) -> nn.Module:
    """Replace convolutions of any nn.Module.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 1)).eval()
    >>> converted = convert(model, "2", regions=4)
    >>> [replacement.name for replacement in converted.conversion.replacements]
    ['2']
    >>> images = torch.randn(2, 3, 32, 32)
    >>> torch.allclose(converted(images), model(images), atol=1e-5)  # init="preserve" keeps the function
    True

    Args:
        model: the network. A copy of it is converted, unless `inplace` is set.
        where: the name of a recipe, or glob patterns of module names ("features.*.conv.*"; * matches dots too).
        operator: a name in OPERATORS, "package.module:callable", or the callable itself.
        regions: m, the number of regions; None leaves it to the operator (8 for DRConv). Only for operators that have
            regions.
        init: 'preserve' keeps the network's function: each new layer takes the weights of the convolution that it
            replaces. 'fresh' initialises the new layers at random and discards those weights.
        unsuitable: what to do with a selected layer that cannot be replaced: 'error', or 'skip' to keep it.
            The same as where_args={"unsuitable": ...}.
        input_shape: (C,H,W) of the random image that is passed to the network before and after the conversion. None
            takes the shape from the network's configuration, or tries common shapes (3x224x224, 1x28x28, ...).
        inputs: what is passed in place of that image: a tensor, a tuple of arguments, a mapping of
            arguments by name, or a callable that returns one of these. Any other value is the only argument.
        probe: False does not call the network, so no shapes are checked.
        where_args: arguments of the recipe, such as {"guide": "block"}. Patterns take only 'unsuitable'.
        seed: makes the random weights of the new layers reproducible: the weights of a layer depend on `seed` and on
            its name only. None draws them from torch's global random state.
        operator_args: further arguments of the operator.

    Returns:
        The converted network. Print its attribute `conversion` (a Conversion) to see what was replaced, what it costs,
        and what was skipped. A new layer is frozen if the convolution was frozen. It keeps the forward and backward
        hooks and the additional attributes of the convolution. Create the optimiser after the conversion, because the
        parameters are new.

    Raises:
        InputError (a ValueError): nothing matches, a layer cannot be replaced, an argument is wrong, or the shape of
            a layer's output changed. The model is unchanged then, also with `inplace`.

    Warns:
        UserWarning: a layer with several regions has only one output position, so its regions have no effect.
    """
    if regions is not None:
        operator_args["regions"] = regions
    if unsuitable != "error":
        where_args = {**arguments.table("where_args", where_args), "unsuitable": unsuitable}
    converted = apply(
        model,
        where,
        operator,
        operator_args,
        where_args,
        init,
        inplace=inplace,
        input_shape=input_shape,
        inputs=inputs,
        probe=probe,
        seed=seed,
    )
    conversion: Any = converted.conversion
    if conversion.one_position:
        warnings.warn(conversion.notes()[0], UserWarning, stacklevel=2)
    return converted


def apply(
    model: nn.Module,
    where: str | Iterable[str],
    operator: str | Callable[..., nn.Module],
    operator_args: Mapping[str, Any],
    where_args: Mapping[str, Any] | None,
    init: str,
    *,
    inplace: bool,
    input_shape: tuple[int, int, int] | None,
    seed: int | None,
    inputs: Any = None,
    probe: bool = True,
) -> nn.Module:
    """`convert` with the free tables as tables, whatever their keys are, and without its warning."""
    patterns, where_args = recipes.patterns_of(where), arguments.table("where_args", where_args)
    arguments.check(model, operator, init, inplace, probe, seed)
    operator_name = operator if isinstance(operator, str) else _name(operator)
    make = names.resolve("operator", operator, OPERATORS) if isinstance(operator, str) else operator
    recipe = recipes.recipe_of(patterns)
    args = {**(recipe.operator_args.get(operator_name, {}) if recipe else {}), **operator_args}
    arguments.check_operators(operator_name, make, args)
    with torch.inference_mode(False):  # or the new parameters could never be trained
        model = model if inplace else copied(model)
        selection = recipes.select(model, patterns, where_args)
        seen = probing.before(model, selection.convs, input_shape, inputs) if probe else None
        convolutions, seems_trained = recipes.convolutions(model), seen_data(model)
        swap, skipped = Swap(model), list(selection.skipped)
        try:
            swap.replace(selection, operator_name, make, args, init, seed)
            now = None
            if seen is not None:
                now = _probe(swap, seen, operator_name, skipped if where_args.get("unsuitable") == "skip" else None)
        except BaseException:
            swap.undo()
            raise
    swap.root.conversion = Conversion(  # type: ignore[assignment]
        operator_name,
        args,
        patterns,
        where_args,
        init,
        tuple(rows.replacement(name, *layer, seen, now) for name, layer in swap.layers.items()),
        tuple(rows.guide(name, swap.root.get_submodule(name), now) for name in swap.guides),
        tuple(skipped),
        convolutions,
        None if seen is None else seen.call.shape,
        seems_trained,
        getattr(model, "conversion", None),
    )
    return swap.root


def _probe(swap: Swap, seen: probing.Shapes, operator: str, skipped: list[Skipped] | None) -> probing.Shapes:
    """Run the converted network. With `skipped`, layers that its code needs as they were are put back, and noted."""
    while True:
        try:
            return probing.after(swap.root, seen, operator, list(swap.layers), swap.guides)
        except probing.UnfitError as error:
            if skipped is None or error.name not in swap.layers or len(swap.layers) == 1:
                raise
            swap.restore(error.name)
            skipped.append(Skipped(error.name, error.reason))


def _name(operator: Callable[..., nn.Module]) -> str:
    return f"{operator.__module__}:{getattr(operator, '__qualname__', type(operator).__name__)}"


def seen_data(model: nn.Module) -> bool:
    """Whether a batch norm of the model has seen data, as those of a trained network have (if it has any)."""
    means = (getattr(module, "running_mean", None) for module in model.modules())
    return any(bool(mean.any()) for mean in means if _has_values(mean))


def _has_values(mean: object) -> TypeGuard[torch.Tensor]:
    return isinstance(mean, torch.Tensor) and not (mean.is_meta or is_lazy(mean))
