"""Swap: put operators where convolutions were, so that it can be undone."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from drbench.errors import InputError
from drbench.models import carry, convs, guided
from drbench.models.foreign import one_line
from drbench.models.recipes import Selection, inside

Operator = Callable[..., nn.Module]


class Swap:
    """The exchange of layers, which can be undone, for one layer or all.

    root: the network, or the layer that replaced it where the network was one convolution.
    layers: name -> (the convolution, what replaced it, notes about it).
    guides: names of the guides that were added.
    """

    def __init__(self, model: nn.Module) -> None:
        self.root = model
        self.layers: dict[str, tuple[nn.Conv2d, nn.Module, tuple[str, ...]]] = {}
        self._aliases = _aliases(model)
        self._guided: list[str] = []

    @property
    def guides(self) -> tuple[str, ...]:
        """Names of the guides that were added."""
        return tuple(_join(block, "guide") for block in self._guided)

    def replace(
        self,
        selection: Selection,
        operator: str,
        make: Operator,
        args: Mapping[str, Any],
        init: str,
        seed: int | None,
    ) -> None:
        """Replace what is selected. May fail half-way: then `undo`."""
        # before any of it changes: what is put in need not say how many channels it sees
        seen = {name: guided.input_channels(self.root.get_submodule(name)) for name in selection.guided_blocks}
        extra = {"own_guide": False} if seen and _accepts(make, "own_guide") else {}
        for name in selection.convs:
            conv: Any = self.root.get_submodule(name)
            with _drawn(seed, name):
                layer, notes = _layer(name, conv, operator, make, {**args, **extra}, init)
            self.layers[name] = conv, layer, notes
            self._set(name, layer)
        for block, channels in seen.items():
            self._share(block, channels, operator, seed)

    def _share(self, block_name: str, channels: int, operator: str, seed: int | None) -> None:
        layers: list[Any] = self._in_block(block_name)
        if not guided.shares_guide(layers[-1]):
            raise InputError(f"guide='block': operator {operator!r} takes no guide from outside; use guide='own'")
        block = self.root.get_submodule(block_name)
        like = next(layers[-1].parameters())
        with _drawn(seed, _join(block_name, "guide")):
            guide = layers[-1].make_guide(channels, layers[-1].regions, device=_cpu(like), dtype=like.dtype)
        if guide is not None:
            guide = guide.to(like.device).train(block.training)
            if not any(parameter.requires_grad for layer in layers for parameter in layer.parameters()):
                guide.requires_grad_(False)
            guided.share(block, guide)
            self._guided.append(block_name)

    def _in_block(self, block: str) -> list[nn.Module]:
        found = self.layers.items()
        return [layer for name, (conv, layer, _) in found if any(inside(n, block) for n in self._names(name, conv))]

    def _names(self, name: str, conv: nn.Module) -> Sequence[str]:
        return self._aliases.get(id(conv), (name,))

    def _set(self, name: str, module: nn.Module) -> None:
        for alias in self._names(name, self.layers[name][0]):
            if alias:
                self.root.set_submodule(alias, module)
            else:
                self.root = module

    def restore(self, name: str) -> None:
        """Put one convolution back."""
        self._set(name, self.layers[name][0])
        del self.layers[name]
        for block in [block for block in self._guided if not self._in_block(block)]:
            guided.unshare(self.root.get_submodule(block))
            self._guided.remove(block)

    def undo(self) -> None:
        """Put everything back."""
        for name in reversed(list(self.layers)):
            self.restore(name)


def _layer(
    name: str, conv: nn.Conv2d, operator: str, make: Operator, args: Mapping[str, Any], init: str
) -> tuple[nn.Module, tuple[str, ...]]:
    """The new layer, and what is to be noted about it."""
    weight = conv.weight
    place = f"operator {operator!r} in place of {name!r}"
    with _in_one_line(place):
        # drawn on the CPU, so that a seed means the same weights on every device
        layer = make(**convs.arguments(conv), **args, device=_cpu(weight), dtype=weight.dtype)
    if not isinstance(layer, nn.Module):
        raise InputError(f"operator {operator!r} made a {type(layer).__name__}, allowed is a torch.nn.Module")
    layer = layer.to(weight.device)
    if init == "preserve":
        preserve = getattr(layer, "preserve_", None)
        if preserve is None:
            raise InputError(
                f"init: got 'preserve'; expected 'fresh', because operator {operator!r} has no preserve_(conv) to take "
                "over a convolution's weights. With init='fresh' its layers are drawn at random"
            )
        with _in_one_line(place):
            preserve(conv)
    with _in_one_line(place):
        notes = carry.carry(conv, layer)
    layer.stands_in = True  # type: ignore[assignment]  # a later conversion stays out of its inside
    return layer, notes


@contextmanager
def _in_one_line(place: str) -> Iterator[None]:
    """Whatever a user's operator raises is the user's to mend: an InputError that names the layer."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
    except Exception as error:
        raise InputError(f"{place}: {one_line(error)}") from error


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


def _accepts(make: Operator, argument: str) -> bool:
    parameters = parameters_of(make)
    return parameters is None or argument in parameters


def parameters_of(make: Operator) -> Mapping[str, inspect.Parameter] | None:
    """The arguments that a callable takes by name; None if it takes any."""
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):
        return None
    return None if any(p.kind is p.VAR_KEYWORD for p in parameters.values()) else parameters


def _aliases(model: nn.Module) -> dict[int, list[str]]:
    """All names of every module, so that one used twice stays one."""
    found: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        found.setdefault(id(module), []).append(name)
    return found


def _join(block: str, name: str) -> str:
    return f"{block}.{name}".lstrip(".")
