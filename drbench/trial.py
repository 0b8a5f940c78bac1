"""Running somebody's network once: with which inputs, and so that the network is afterwards what it was before.

Inputs are what the caller gives, or images of a size that the network itself names, or of usual sizes. Random ones are
drawn from a generator of their own, so that two runs see the same numbers.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from drbench.errors import InputError

SIDES = (64, 224, 32, 28)
"""Image sizes to try where neither the caller nor the network names one."""

SEED = 0
CONTAINERS = (dict, list, set)


@dataclass(frozen=True)
class Call:
    """Arguments of one forward call. `shape`: of the single image that drbench made, without the batch dimension."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None

    def __call__(self, model: nn.Module) -> Any:
        """The output of the model; a forward that writes to its inputs writes to copies."""
        copied = self.changed(torch.clone)
        return model(*copied.args, **copied.kwargs)

    def changed(self, change: Callable[[Tensor], Tensor]) -> Call:
        """The same call with every tensor changed."""
        args, kwargs = _changed((self.args, dict(self.kwargs)), change)
        return Call(args, kwargs, self.shape)

    def __str__(self) -> str:
        """The shapes in words."""
        if self.shape is not None:
            return f"an input of shape {(1, *self.shape)}"
        parts = [_in_words(value) for value in self.args]
        return f"inputs ({', '.join(parts + [f'{key}={_in_words(value)}' for key, value in self.kwargs.items()])})"


def given(inputs: object) -> Call:
    """The call that a caller means by `inputs`.

    A tuple holds the positional arguments, a mapping those by name; a callable makes one of these; all else (a tensor,
    a list of images) is the only argument.
    """
    if callable(inputs) and not isinstance(inputs, Tensor):
        try:
            inputs = inputs()
        except Exception as error:  # whatever the caller's code raises
            raise InputError(f"inputs: the callable failed: {type(error).__name__}: {_line(error)}") from error
    if isinstance(inputs, Mapping):
        if not all(isinstance(key, str) for key in inputs):
            raise InputError(f"inputs: got a mapping with keys {list(inputs)!r:.80}; expected names of arguments")
        call = Call(kwargs=inputs)
    else:
        call = Call(inputs if isinstance(inputs, tuple) else (inputs,))
    if next(tensors((call.args, call.kwargs)), None) is None:
        raise InputError(
            f"inputs: got {_in_words(inputs)}; expected a tensor, a tuple of arguments, a mapping of them by name, or "
            "a callable that makes one of these"
        )
    return call


def image(model: nn.Module, shape: tuple[int, ...]) -> Call:
    """One random image of `shape` without the batch dimension, of the model's device and dtype."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    # drawn on the CPU, so that a seed means the same numbers on every device
    drawn = torch.rand(1, *shape, generator=torch.Generator().manual_seed(SEED), device="cpu")
    return Call((drawn.to(like.device, like.dtype),), shape=shape)


def image_shape(given: object) -> tuple[int, int, int]:
    """Return (C, H, W) as given. InputError unless it is such a shape."""
    shape = tuple(given) if isinstance(given, (tuple, list)) else ()
    if len(shape) != 3 or not all(isinstance(n, Integral) and not isinstance(n, bool) and int(n) > 0 for n in shape):
        raise InputError(
            f"input_shape: got {given!r}; expected (channels, height, width), three positive numbers, as (3, 224, 224)"
        )
    channels, height, width = map(int, shape)
    return channels, height, width


def own_shapes(model: nn.Module) -> list[tuple[int, ...]]:
    """Shapes that the network names itself: timm's configuration, or the weights that torchvision has for its kind."""
    config: Any = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    size = config.get("input_size") if isinstance(config, Mapping) else getattr(config, "input_size", None)
    if isinstance(size, (tuple, list)) and len(size) == 3 and all(isinstance(n, int) and n > 0 for n in size):
        return [(channels, *size[1:]) for channels in dict.fromkeys((size[0], *_channels(model)))]
    module = type(model).__module__
    if not module.startswith("torchvision.models."):
        return []
    crops = [
        crop
        for name, weights in vars(sys.modules[module]).items()
        if name.endswith("_Weights")
        for one in weights
        if (crop := getattr(one.transforms, "keywords", {}).get("crop_size"))
    ]
    sides = [(crop, crop) if isinstance(crop, int) else tuple(crop) for crop in crops]
    frames = (16,) if module.startswith("torchvision.models.video.") else ()
    return [(3, *frames, *min(sides))] if sides else []


def usual_shapes(model: nn.Module) -> list[tuple[int, ...]]:
    """All that is worth trying where the caller names no shape: the network's own first."""
    usual = [(channels, side, side) for channels in _channels(model) for side in SIDES]
    return list(dict.fromkeys([*own_shapes(model), *usual]))


def _channels(model: nn.Module) -> list[int]:
    """Channels that the image may have: of the convolution defined first, then of a colour image, then of any other."""
    sizes: list[Any] = [getattr(module, "in_channels", None) for module in model.modules()]
    found = [n for n in sizes if isinstance(n, int) and n > 0]  # of a lazy layer it is 0
    first = found[:1]
    return list(dict.fromkeys([*first, 3, *(n for n in (1, 4) if n in found)]))


@contextmanager
def undisturbed(model: nn.Module, restore: bool = True) -> Iterator[nn.Module]:
    """What to run in place of `model`: itself, or a copy where running would change what its lazy layers are.

    Within it holds: evaluation mode, no gradients, torch's random numbers from a seed, nothing compiled. Afterwards the
    modes, attributes, weights, buffers and random numbers are as before; without `restore`, for a copy that is thrown
    away, the random numbers alone.
    """
    if restore and any(is_lazy(tensor) for tensor in _held(model)):
        model = copied(model)
    devices = {p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"}
    with (
        torch.random.fork_rng(sorted(devices)),
        torch.inference_mode(False),
        torch.no_grad(),
        _nothing_compiled(),
        _restored(model) if restore else nullcontext(),
    ):
        torch.manual_seed(SEED)
        model.eval()
        yield model


def copied(model: nn.Module, change: Callable[[Tensor], Tensor] = torch.clone) -> nn.Module:
    """A deep copy; `change` makes its parameters and buffers from the model's.

    Lazy ones stay as they are in both. Tensors that are the result of a computation, as the weight of a layer under
    torch.nn.utils.weight_norm or a pruned one, are copied as values: such layers compute them anew in every call.
    """
    memo = memo_of(model)
    for tensor in _held(model):
        if change is not torch.clone and not is_lazy(tensor):
            memo[id(tensor)] = change(tensor)
    return copy.deepcopy(model, memo)


def memo_of(model: nn.Module) -> dict[int, Any]:
    """Copies of what copy.deepcopy refuses or changes, by the id of what they are copies of."""
    computed = (value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor))
    memo: dict[int, Any] = {id(value): value.detach().clone() for value in computed if not value.is_leaf}
    for tensor in _held(model):
        if is_lazy(tensor):  # torch copies lazy parameters, but not lazy buffers
            kind: Any = type(tensor)
            memo[id(tensor)] = kind(tensor.requires_grad, tensor.device, tensor.dtype)
    return memo


def _held(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _nothing_compiled() -> AbstractContextManager[object]:
    """Compiled parts run as they were written. Loading the compiler takes seconds, so only where it is loaded."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    """Put back what a forward may write: attributes, what is in their containers, weights and buffers."""
    before = [(vars(module), dict(vars(module))) for module in model.modules()]
    held = [value for _, values in before for value in values.values() if isinstance(value, CONTAINERS)]
    inside = [(container, copy.copy(container)) for container in held]
    weights = [(t, t.data, t.data.clone()) for t in _held(model) if not (is_lazy(t) or t.is_meta)]
    try:
        yield
    finally:
        for attributes, values in before:
            attributes.clear()
            attributes.update(values)
        for container, content in inside:
            _refill(container, content)
        for tensor, data, value in weights:
            if tensor.data_ptr() != data.data_ptr():  # a forward may write `weight.data = ...`
                tensor.data = data
            if not torch.equal(data, value):
                with torch.inference_mode(data.is_inference()):
                    data.copy_(value)


def _refill(container: Any, values: Any) -> None:
    container.clear()
    if isinstance(container, list):
        container.extend(values)
    else:
        container.update(values)


def tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in `value`; tuples, lists and mappings are looked into."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list, Mapping)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from tensors(item)


def _changed(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _changed(item, change) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_changed(item, change) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(_changed(item, change) for item in value)
    return value


def _in_words(value: Any) -> str:
    if isinstance(value, Tensor) and not value.is_nested:  # a nested one has no shape
        return "x".join(map(str, value.shape)) or "a scalar tensor"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_in_words, value))}]"
    return f"a {type(value).__name__}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
