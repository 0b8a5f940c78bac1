"""Convert: replace convolutions of any network by an operator, and say what was replaced."""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from drbench import names
from drbench.errors import InputError
from drbench.models import convs, guided, probe, recipes
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
    init: str | None = None,
    inplace: bool = False,
    input_shape: tuple[int, int, int] | None = None,
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
        init: 'preserve' keeps the network's function, 'fresh' draws the new layers. None is 'preserve' where the model
            carries trained weights, which is judged by its batch norms: have they seen a batch?
        input_shape: (C,H,W) of the dummy input that is run before and after; None tries usual ones.
        where_args: the recipe's arguments, as {"guide": "block"}.
        seed: draws each new layer from a generator of its own, seeded with this and its name; None: the global one.
        operator_args: further arguments of the operator.

    Returns:
        The converted network; its attribute `conversion` (a Conversion) says what was replaced.

    Raises:
        InputError (a ValueError): where nothing matches, for what can't be replaced, for a wrong argument, or when an
            output's shape changed. The model is then as it was.
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
        seed=seed,
    )


def apply(
    model: nn.Module,
    where: str | Sequence[str],
    operator: str | Callable[..., nn.Module],
    operator_args: Mapping[str, Any],
    where_args: Mapping[str, Any],
    init: str | None,
    *,
    inplace: bool,
    input_shape: tuple[int, int, int] | None,
    seed: int | None,
) -> nn.Module:
    """`convert` with the free tables as tables, whatever their keys are."""
    if not isinstance(model, nn.Module):
        raise InputError(f"model: got a {type(model).__name__}, allowed is a torch.nn.Module")
    if init not in (*INITS, None):
        raise InputError(f"init: got {init!r}, allowed are {', '.join(INITS)}")
    operator_name = operator if isinstance(operator, str) else f"{operator.__module__}:{operator.__qualname__}"
    make = names.resolve("operator", operator, OPERATORS) if isinstance(operator, str) else operator
    recipe = recipes.recipe_of(where)
    args = {**(recipe.operator_args.get(operator_name, {}) if recipe else {}), **operator_args}
    _check_arguments(operator_name, make, args)
    model = model if inplace else copy.deepcopy(model)
    selection = recipes.select(model, where, where_args)
    init = init or ("preserve" if trained(model) else "fresh")
    before = probe.shapes(model, selection.convs, input_shape)
    swap = _Swap(model)
    try:
        described = swap.replace(selection, operator_name, make, args, init, seed)
        probe.compare(before, probe.shapes(swap.root, selection.convs, before.input_shape), operator_name)
    except BaseException:
        swap.undo()
        raise
    swap.root.conversion = Conversion(  # type: ignore[assignment]
        operator_name,
        args,
        (where,) if isinstance(where, str) else tuple(where),
        dict(where_args),
        init,
        described,
        swap.guided,
        getattr(model, "conversion", None),
    )
    return swap.root


def trained(model: nn.Module) -> bool:
    """Whether the model's batch norms have seen a batch (or were loaded from ones that had)."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            steps = module.num_batches_tracked
            if (steps is not None and steps.item() > 0) or bool(module.running_mean.any()):
                return True
    return False


class _Swap:
    """The exchange of layers, which can be undone."""

    def __init__(self, model: nn.Module) -> None:
        self.root = model
        self.guided: tuple[str, ...] = ()
        self._old: list[tuple[str, nn.Module]] = []

    def replace(
        self,
        selection: recipes.Selection,
        operator: str,
        make: Callable[..., nn.Module],
        args: Mapping[str, Any],
        init: str,
        seed: int | None,
    ) -> tuple[Replacement, ...]:
        aliases = _aliases(self.root)
        blocks = {name: [n for n in selection.convs if _inside(n, name)] for name in selection.guided_blocks}
        extra = {"own_guide": False} if blocks and _accepts(make, "own_guide") else {}
        replacements = []
        for name in selection.convs:
            conv = self.root.get_submodule(name)
            with _drawn(seed, name):
                layer = _layer(name, conv, operator, make, {**args, **extra}, init)
            for alias in aliases[id(conv)]:
                self._set(alias, layer)
            replacements.append(Replacement(name, repr(conv)))
        for block_name, inside in blocks.items():
            self._share(block_name, inside, operator, seed)
        return tuple(replacements)

    def _share(self, block_name: str, inside: Sequence[str], operator: str, seed: int | None) -> None:
        layer: Any = self.root.get_submodule(inside[-1])
        if not guided.shares_guide(layer):
            raise InputError(f"guide='block': operator {operator!r} takes no guide from outside; use guide='own'")
        block = self.root.get_submodule(block_name)
        like = next(layer.parameters())
        with _drawn(seed, f"{block_name}.guide"):
            guide = layer.make_guide(guided.input_channels(block), layer.regions, device=_cpu(like), dtype=like.dtype)
        if guide is not None:
            guided.share(block, guide.to(like.device).train(block.training))
            self.guided += (block_name,)

    def _set(self, name: str, module: nn.Module) -> None:
        self._old.append((name, self.root.get_submodule(name)))
        if name:
            self.root.set_submodule(name, module)
        else:
            self.root = module

    def undo(self) -> None:
        for name in self.guided:
            guided.unshare(self.root.get_submodule(name))
        for name, module in reversed(self._old):
            if name:
                self.root.set_submodule(name, module)
            else:
                self.root = module


def _layer(
    name: str, conv: nn.Module, operator: str, make: Callable[..., nn.Module], args: Mapping[str, Any], init: str
) -> nn.Module:
    arguments = convs.arguments(name, conv)
    weight: torch.Tensor = conv.weight  # type: ignore[assignment]
    try:
        # drawn on the CPU, so that a seed means the same weights on every device
        layer = make(**arguments, **args, device=_cpu(weight), dtype=weight.dtype)
    except InputError as error:
        raise InputError(f"operator {operator!r} in place of {name!r}: {error}") from error
    except Exception as error:  # a user's operator: whatever it raises is the user's to mend, in one line
        raise InputError(f"operator {operator!r} in place of {name!r}: {type(error).__name__}: {error}") from error
    if not isinstance(layer, nn.Module):
        raise InputError(f"operator {operator!r} made a {type(layer).__name__}, allowed is a torch.nn.Module")
    layer = layer.to(weight.device).train(conv.training)
    if init == "preserve":
        preserve = getattr(layer, "preserve_", None)
        if preserve is None:
            raise InputError(
                f"operator {operator!r} has no preserve_(conv), so it can't take weights over: init='fresh'"
            )
        preserve(conv)
    layer.stands_in = True  # type: ignore[assignment]  # a later conversion stays out of its inside
    return layer


def _cpu(like: torch.Tensor) -> torch.device:
    return like.device if like.device.type == "meta" else torch.device("cpu")


@contextmanager
def _drawn(seed: int | None, name: str) -> Iterator[None]:
    """Draw from a generator that depends on seed and name alone; from the global one without a seed."""
    if seed is None:
        yield
        return
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest[:7], "big"))
        yield


def _accepts(make: Callable[..., nn.Module], argument: str) -> bool:
    parameters = _parameters(make)
    return parameters is None or argument in parameters


def _parameters(make: Callable[..., nn.Module]) -> Mapping[str, inspect.Parameter] | None:
    """The arguments that a callable takes by name; None if it takes any."""
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):
        return None
    return None if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) else parameters


_CONV_ARGUMENTS = frozenset(inspect.signature(nn.Conv2d).parameters)


def _check_arguments(operator: str, make: Callable[..., nn.Module], args: Mapping[str, Any]) -> None:
    parameters = _parameters(make)
    for name in args:
        if name in _CONV_ARGUMENTS:
            raise InputError(f"operator argument {name!r} comes from the convolution that is replaced: leave it out")
        if parameters is not None and name not in parameters:
            allowed = [p for p in parameters if p not in _CONV_ARGUMENTS]
            raise InputError(
                f"operator {operator!r} has no argument {name!r}, allowed are {', '.join(allowed) or 'none'}"
            )


def _aliases(model: nn.Module) -> dict[int, list[str]]:
    """All names of every module, so that one used twice stays one."""
    found: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        found.setdefault(id(module), []).append(name)
    return found


def _inside(name: str, block: str) -> bool:
    return not block or name.startswith(f"{block}.")
