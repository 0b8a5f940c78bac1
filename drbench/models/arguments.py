"""The arguments of `convert`, checked one by one before anything is touched."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Mapping
from numbers import Integral
from typing import Any

import torch
from torch import nn

from drbench.errors import InputError
from drbench.models.swap import parameters_of
from drbench.operators import OPERATORS

INITS = ("preserve", "fresh")
_CONV_ARGUMENTS = frozenset(inspect.signature(nn.Conv2d).parameters)


def table(name: str, given: object) -> dict[str, Any]:
    """`given` as a dictionary with names as keys, {} for None. InputError for anything else."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise InputError(f"{name}: got {given!r:.100}; expected a mapping of names to values")
    return dict(given)


def check(model: object, operator: object, init: object, inplace: object, probe: object, seed: object) -> None:
    """InputError for the first argument of `convert` that is of a wrong kind."""
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError("model: got a TorchScript module; expected the module that was scripted: convert it first")
    if not isinstance(model, nn.Module):
        raise InputError(f"model: got {_one(model)}; expected a torch.nn.Module")
    try:
        deque(model.named_modules(remove_duplicate=False), maxlen=0)
    except RecursionError as error:
        raise InputError("model: got modules that hold one another, or are nested too deeply") from error
    if not isinstance(operator, str) and not callable(operator):
        raise InputError(
            f"operator: got {_one(operator)}; expected a name ({', '.join(OPERATORS)}), 'package.module:callable' or a "
            "callable"
        )
    if isinstance(operator, nn.Module):
        raise InputError(f"operator: got {_one(operator)}; expected its class, which is called once for each layer")
    if not isinstance(init, str) or init not in INITS:
        raise InputError(f"init: got {init!r:.100}; expected one of {', '.join(INITS)}")
    for name, flag in (("inplace", inplace), ("probe", probe)):
        if not isinstance(flag, bool):
            raise InputError(f"{name}: got {flag!r:.100}; expected True or False")
    if seed is not None and (not isinstance(seed, Integral) or isinstance(seed, bool)):
        raise InputError(f"seed: got {seed!r:.100}; expected a whole number or None")


def _one(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"an object of type {type(value).__name__}"


def check_operators(operator: str, make: Callable[..., nn.Module], args: Mapping[str, Any]) -> None:
    """InputError for an argument that the operator does not take, or that comes from the convolution."""
    parameters = parameters_of(make)
    for name in args:
        if name in _CONV_ARGUMENTS:
            raise InputError(f"operator argument {name!r} comes from the convolution that is replaced: leave it out")
        if parameters is not None and name not in parameters:
            allowed = [p for p in parameters if p not in _CONV_ARGUMENTS]
            raise InputError(f"operator {operator!r} has no argument {name!r}; expected {', '.join(allowed) or 'none'}")
