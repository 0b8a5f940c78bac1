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
from drbench.models import convs, guided
from drbench.models.foreign import one_line
from drbench.models.recipes import Selection

Operator = Callable[..., nn.Module]


class Swap:
    """The exchange of layers, which can be undone."""

    def __init__(self, model: nn.Module) -> None:
        self.root = model
        self.guided: tuple[str, ...] = ()
        self._old: list[tuple[str, nn.Module]] = []

    def replace(
        self,
        selection: Selection,
        operator: str,
        make: Operator,
        args: Mapping[str, Any],
        init: str,
        seed: int | None,
    ) -> tuple[tuple[str, str], ...]:
        """Replace what is selected; (name, the convolution in words) of each. May fail half-way: then `undo`."""
        aliases = _aliases(self.root)
        # before any of it changes: what is put in need not say how many channels it sees
        seen = {name: guided.input_channels(self.root.get_submodule(name)) for name in selection.guided_blocks}
        blocks = {name: [n for n in selection.convs if _inside(n, name)] for name in selection.guided_blocks}
        extra = {"own_guide": False} if blocks and _accepts(make, "own_guide") else {}
        replacements = []
        for name in selection.convs:
            conv = self.root.get_submodule(name)
            with _drawn(seed, name):
                layer = _layer(name, conv, operator, make, {**args, **extra}, init)
            for alias in aliases[id(conv)]:
                self._set(alias, layer)
            replacements.append((name, repr(conv)))
        for block_name, inside in blocks.items():
            self._share(block_name, inside, seen[block_name], operator, seed)
        return tuple(replacements)

    def _share(self, block_name: str, inside: Sequence[str], channels: int, operator: str, seed: int | None) -> None:
        layer: Any = self.root.get_submodule(inside[-1])
        if not guided.shares_guide(layer):
            raise InputError(f"guide='block': operator {operator!r} takes no guide from outside; use guide='own'")
        block = self.root.get_submodule(block_name)
        like = next(layer.parameters())
        with _drawn(seed, f"{block_name}.guide"):
            guide = layer.make_guide(channels, layer.regions, device=_cpu(like), dtype=like.dtype)
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
        """Put everything back."""
        for name in self.guided:
            guided.unshare(self.root.get_submodule(name))
        for name, module in reversed(self._old):
            if name:
                self.root.set_submodule(name, module)
            else:
                self.root = module


def _layer(name: str, conv: nn.Module, operator: str, make: Operator, args: Mapping[str, Any], init: str) -> nn.Module:
    arguments = convs.arguments(name, conv)
    weight: torch.Tensor = conv.weight  # type: ignore[assignment]
    try:
        # drawn on the CPU, so that a seed means the same weights on every device
        layer = make(**arguments, **args, device=_cpu(weight), dtype=weight.dtype)
    except InputError as error:
        raise InputError(f"operator {operator!r} in place of {name!r}: {error}") from error
    except Exception as error:  # a user's operator: whatever it raises is the user's to mend, in one line
        raise InputError(f"operator {operator!r} in place of {name!r}: {one_line(error)}") from error
    if not isinstance(layer, nn.Module):
        raise InputError(f"operator {operator!r} made a {type(layer).__name__}, allowed is a torch.nn.Module")
    layer = layer.to(weight.device).train(conv.training)
    if init == "preserve":
        preserve = getattr(layer, "preserve_", None)
        if preserve is None:
            raise InputError(
                f"init: got 'preserve'; expected 'fresh', because operator {operator!r} has no preserve_(conv) to take "
                "over a convolution's weights. With init='fresh' its layers are drawn at random"
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


def _inside(name: str, block: str) -> bool:
    return not block or name.startswith(f"{block}.")
