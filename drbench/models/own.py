"""A network from a user's callable: what it is called with, and whether it does what it was asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from drbench import trial
from drbench.errors import InputError
from drbench.models.foreign import one_line
from drbench.names import load
from drbench.records import Variant

ASKED = ("width", "stem_stride")
"""Arguments that are only set where somebody asks for them: a callable that does not take them is an error."""

CHANNELS = 3
"""Of images, unless the input shape says otherwise."""


def build_own(name: str, factory: Callable[..., Any], wanted: Mapping[str, Any], args: Mapping[str, Any]) -> nn.Module:
    """A network from a user's callable.

    Args:
        name: of the callable, for messages.
        factory: the callable.
        wanted: num_classes, width, stem_stride, in_channels; None is not asked for. Passed where the callable takes it
            by name or in **kwargs; in_channels in **kwargs only where it is not 3.
        args: passed as they are, in place of `wanted` where both name the same.

    Raises:
        InputError: for a width or stem stride that it does not take, an unknown argument, or whatever it raises.
    """
    parameters = _parameters(factory)
    unknown = [key for key in args if key not in parameters]
    if unknown and parameters and not _open_ended(parameters):
        raise InputError(
            f"architecture_args: {name!r} has no argument {unknown[0]!r}; expected {', '.join(parameters)}"
        )
    passed = {}
    for key, value in wanted.items():
        if value is None or key in args:
            continue
        if key in parameters or (_open_ended(parameters) and (key, value) != ("in_channels", CHANNELS)):
            passed[key] = value
        elif key in ASKED:
            raise InputError(f"{key}: got {value!r}, but {name!r} has no argument {key!r} to take it")
    model = _call(name, factory, passed, args)
    if not isinstance(model, nn.Module):
        raise InputError(f"architecture {name!r} made a {type(model).__name__}, allowed is a torch.nn.Module")
    return model


def check_output(model: nn.Module, variant: Variant) -> None:
    """InputError where a user's network gives another number of classes, or fails on the variant's images."""
    parameters = _parameters(load("model", variant.architecture))
    takes = "num_classes" in parameters or "num_classes" in variant.architecture_args
    how = "" if takes else ". It has no argument 'num_classes' to change that"
    try:
        with trial.undisturbed(model) as running:
            output = trial.image(running, variant.input_shape)(running)
    except Exception as error:  # whatever a user's network raises
        raise InputError(f"input_shape: {_who(variant)} fails on {variant.input_shape}: {one_line(error)}") from error
    if isinstance(output, Tensor) and output.dim() == 2 and output.shape[1] != variant.num_classes:
        raise InputError(
            f"num_classes: got {variant.num_classes}, but {_who(variant)} gives {output.shape[1]} classes{how}"
        )


def _who(variant: Variant) -> str:
    return repr(variant.architecture)


def _call(name: str, factory: Callable[..., Any], passed: Mapping[str, Any], args: Mapping[str, Any]) -> Any:
    """Call the factory; again without what its **kwargs hand on to something that does not take it."""
    given = dict(passed)
    while True:
        try:
            return factory(**given, **args)
        except Exception as error:  # whatever a user's code raises is the user's to mend, in one line
            refused = [key for key in given if isinstance(error, TypeError) and _refuses(error, key)]
            asked = [key for key in refused if key in ASKED]
            if asked:
                raise InputError(
                    f"{asked[0]}: got {given[asked[0]]!r}, but {name!r} does not take it: {one_line(error)}"
                ) from error
            if not refused:
                raise InputError(f"architecture {name!r} failed: {one_line(error)}") from error
            for key in refused:
                del given[key]


def _refuses(error: TypeError, key: str) -> bool:
    text = str(error)
    return repr(key) in text and ("unexpected keyword argument" in text or "multiple values for" in text)


def _parameters(factory: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a builtin without a signature: give it what the user gave
        return {}


def _open_ended(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
