"""One forward pass before and one after a conversion, to see that the network still works as before.

Every replaced layer has to map the shapes that it is given to the same shapes as before. What the network returns may
depend on its data (a detector's boxes), so there only the structure is compared.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from drbench import trial
from drbench.errors import InputError
from drbench.models.foreign import one_line
from drbench.trial import Call

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerCall:
    """Shapes of what a layer was given (its first tensor) and of what it returned; () for anything else."""

    input: Shape
    output: Shape


@dataclass(frozen=True)
class Shapes:
    """What was seen in one forward pass.

    call: the inputs that were run.
    output: structure of what the network returned: types, keys, and the number of dimensions of tensors.
    layers: name -> every call of the layers that were watched and ran.
    """

    call: Call
    output: Any
    layers: Mapping[str, Sequence[LayerCall]]


def before(model: nn.Module, layers: Sequence[str], input_shape: object = None, inputs: object = None) -> Shapes:
    """Run the network as it is, watching `layers`; it is left as it was.

    Args:
        model: the network.
        layers: names of modules.
        input_shape: (C, H, W) of one random image.
        inputs: what to call the model with, see `trial.given`; with neither, usual shapes are tried.

    Raises:
        InputError: where the network fails on what the caller gave, or on everything that drbench tried.
    """
    if inputs is not None and input_shape is not None:
        raise InputError("inputs: got both inputs and input_shape; expected one of them")
    if inputs is not None:
        return _wanted(model, layers, trial.given(inputs), "inputs")
    if input_shape is not None:
        call = trial.image(model, trial.image_shape(input_shape))
        return _wanted(model, layers, call, "input_shape")
    failure: Exception | None = None
    shapes = trial.usual_shapes(model)
    for shape in shapes:
        try:
            return _run(model, layers, trial.image(model, shape))
        except Exception as error:  # whatever a network raises; the first one says most
            failure = failure or error
    tried = ", ".join("x".join(map(str, shape)) for shape in shapes)
    raise InputError(
        f"model: {type(model).__name__} fails on the images that drbench tried ({tried}): {one_line(failure)}. "
        "Give inputs= (what to call it with) or input_shape=(channels, height, width), or probe=False to run nothing"
    ) from failure


class UnfitError(InputError):
    """The network's code needs the convolution `name` itself; `reason` says what for, as "a layer ..."."""

    def __init__(self, operator: str, name: str, reason: str) -> None:
        super().__init__(
            f"operator {operator!r} can't replace {name!r}, {reason}. Leave it out of where, or skip such layers "
            "with unsuitable='skip' (--where-set unsuitable=skip)"
        )
        self.name = name
        self.reason = reason


def after(model: nn.Module, seen: Shapes, operator: str, replaced: Sequence[str], added: Sequence[str] = ()) -> Shapes:
    """Run the converted network on the same inputs, watching the replaced layers and `added` ones.

    Raises:
        UnfitError: for a layer that the network does not call, or whose attributes it reads in vain.
        InputError: naming the first layer, or output, whose shape differs.
    """
    try:
        now = _run(model, [*replaced, *added], seen.call)
    except Exception as error:  # of the operator, or of code in the network that expects a convolution
        if unfit := _read_in_vain(model, replaced, error):
            raise UnfitError(operator, *unfit) from error
        said = str(error) if isinstance(error, InputError) else one_line(error)
        raise InputError(
            f"operator {operator!r}: the converted {type(model).__name__} fails where the plain one works: {said}"
        ) from error
    for name, calls in ((name, seen.layers[name]) for name in replaced if name in seen.layers):
        if name not in now.layers:
            raise UnfitError(
                operator,
                name,
                "a layer that the network does not call by this name, but as an object that it holds elsewhere too",
            )
        _compare(name, calls, now.layers[name], operator)
    if not _alike(seen.output, now.output):
        raise InputError(f"operator {operator!r}: the network now gives {now.output}, not {seen.output}")
    return now


def _read_in_vain(model: nn.Module, layers: Iterable[str], error: BaseException) -> tuple[str, str] | None:
    """The layer whose missing attribute made the network fail, and the reason in words."""
    seen: set[int] = set()
    found: BaseException | None = error
    names = {id(model.get_submodule(name)): name for name in layers}
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        if isinstance(found, AttributeError) and id(found.obj) in names:
            place = traceback.extract_tb(found.__traceback__)
            reader = next((frame for frame in reversed(place) if frame.name != "__getattr__"), None)
            at = f" ({Path(reader.filename).name}, line {reader.lineno})" if reader else ""
            return names[id(found.obj)], f"a layer whose {found.name!r} the network reads{at}"
        found = found.__cause__ or found.__context__
    return None


def _compare(name: str, old: Sequence[LayerCall], new: Sequence[LayerCall], operator: str) -> None:
    """Equal inputs give equal outputs; where no input is equal, because it depends on data, all but sizes is equal."""
    before, after = ({call.input: call.output for call in calls} for calls in (old, new))
    pairs = [(before[shape], after[shape]) for shape in before if shape in after]
    for expected, found in pairs or [(_without_sizes(old[0].output), _without_sizes(new[0].output))]:
        if expected != found:
            raise InputError(f"operator {operator!r} in place of {name!r} gives {found}, not {expected}")


def _without_sizes(shape: Shape) -> Shape:
    return (len(shape), *shape[-3:-2])


def _alike(before: Any, after: Any) -> bool:
    """Whether two structures are equal; nothing is known of the items of an empty list."""
    if isinstance(before, list) and isinstance(after, list):
        return not before or not after or before == after
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(_alike(before[key], after[key]) for key in before)
    if isinstance(before, tuple) and isinstance(after, tuple):
        return len(before) == len(after) and all(map(_alike, before, after))
    return bool(before == after)


def _wanted(model: nn.Module, layers: Sequence[str], call: Call, argument: str) -> Shapes:
    try:
        return _run(model, layers, call)
    except Exception as error:  # whatever a network raises
        raise InputError(f"{argument}: {type(model).__name__} fails on {call}: {one_line(error)}") from error


def _run(model: nn.Module, layers: Sequence[str], call: Call) -> Shapes:
    seen: dict[str, list[LayerCall]] = {}
    with ExitStack() as stack:
        running = stack.enter_context(trial.undisturbed(model))
        for name in layers:

            def note(_module: nn.Module, args: Any, kwargs: Any, output: Any, name: str = name) -> None:
                given = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
                seen.setdefault(name, []).append(LayerCall(_shape(given), _shape(output)))

            stack.callback(running.get_submodule(name).register_forward_hook(note, with_kwargs=True).remove)
        output = call(running)
    return Shapes(call, _structure(output), seen)


def _shape(value: Any) -> Shape:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _structure(output: Any) -> Any:
    """Types, keys and dimensions; of a list, whose length may depend on the data, the kinds of its items."""
    if isinstance(output, Tensor):
        return f"{output.dim()}-d tensor"
    if isinstance(output, Mapping):
        return {key: _structure(value) for key, value in output.items()}
    if isinstance(output, tuple):
        return tuple(_structure(value) for value in output)
    if isinstance(output, list):
        return sorted({repr(_structure(value)) for value in output})
    return type(output).__name__
