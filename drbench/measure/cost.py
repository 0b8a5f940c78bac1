"""The cost of a network: multiply-adds by the convention, executed multiply-adds, parameters, activations.

The convention is that of the ShuffleNet and MobileNet papers: multiply-adds of convolutions and linear layers for one
sample; no normalisation, activation, pooling or bias. A module with a method

    cost(input_shape) -> {part: multiply-adds per sample}          input_shape (C, H, W)

declares its own figure, for everything that runs inside it (DRConv2d: region_conv, guide, routing, mixing; one filter
per position). All else is counted operation by operation, see `counter`. Executed multiply-adds are a second figure,
never combined with the first: those of the operations that ran. They include work on weights alone, once per call
(weights in a parametrization, embeddings of positions). The convention excludes it: it does not grow with the samples.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any

import drbench_kernels
import torch
from drbench_kernels.layer import expert_layer_madds
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

import drbench
from drbench import trial
from drbench.errors import InputError
from drbench.measure.counter import Formula, OperationCounter
from drbench.records import LayerCost
from drbench.trial import Call

_MISTAKES = (AttributeError, AssertionError, IndexError, KeyError, NameError, TypeError)


@dataclass(frozen=True)
class Cost:
    """The cost of one network for one sample.

    madds: multiply-adds by the convention; None if an operator in the network declares no cost (`undeclared`).
    executed: multiply-adds of the operations that ran.
    params: elements of all parameters; a shared parameter counts once.
    activations: elements written by the counted operations (convolutions, linear layers, matrix products; as in
        fvcore's ActivationCountAnalysis), not by normalisation, activation or pooling.
    parts: part -> multiply-adds, summed over the modules that declare them; the rest of `madds` was counted.
    layers: one row for each module that multiplies or has parameters; each column sums to the total.
    uncounted: "module (reason)" for modules that may have multiplied without being counted; both figures are then
        lower bounds.
    undeclared: names of replaced convolutions whose operator has no `cost`.
    data_dependent: whether the cost depends on the values of the input, so that other images may cost more or less.
    """

    madds: int | None
    executed: int
    params: int
    activations: int
    parts: Mapping[str, int]
    layers: tuple[LayerCost, ...]
    uncounted: tuple[str, ...] = ()
    undeclared: tuple[str, ...] = ()
    data_dependent: bool = False


def count(model: nn.Module, input_shape: tuple[int, int, int] | None = None, *, inputs: Any = None) -> Cost:
    """Cost of `model` in eval mode. The model is not changed.

    Runs a copy on fake tensors, which have shapes but no data: that takes no memory and compiles no kernel. A model
    whose operations depend on the values of its input runs with data, the same random numbers each time.

    Args:
        model: the network.
        input_shape: (C, H, W) of one image. Without it and `inputs`: the shape in the network's own configuration.
        inputs: the arguments of the call, instead of an image (see `trial.given`). The cost is that of this one call.

    Raises:
        InputError: the model fails on these inputs, or declares an invalid cost.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model: got a {type(model).__name__}; expected a torch.nn.Module")
    model = _unwrapped(model)
    given = _inputs(model, input_shape, inputs)
    data_dependent = False
    try:
        with _without_log():
            fake = FakeTensorMode(allow_non_fake_inputs=True)
            with fake:  # an image of any size takes no memory here
                call = given.changed(fake.from_tensor) if isinstance(given, Call) else trial.image(model, given)
            return _count(trial.copied(model, fake.from_tensor), call, fake)
    except InputError:
        raise
    except (DataDependentOutputException, DynamicOutputShapeException):
        data_dependent = True
    except Exception as error:  # no fake implementation, not copyable, ...: run the network with data instead
        if _is_a_bug(error):
            raise
    try:
        call = given.changed(torch.clone) if isinstance(given, Call) else trial.image(model, given)
        return replace(_count(model, call), data_dependent=data_dependent)
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        name = given if isinstance(given, Call) else f"an input of shape {(1, *given)}"
        raise InputError(f"{type(model).__name__} fails on {name}: {type(error).__name__}: {reason}") from error


def _is_a_bug(error: Exception) -> bool:
    """Whether the error is a mistake in drbench's own code. Running with data would hide it."""
    frames = traceback.extract_tb(error.__traceback__)
    return isinstance(error, _MISTAKES) and Path(frames[-1].filename).is_relative_to(Path(drbench.__file__).parent)


def _unwrapped(model: nn.Module) -> nn.Module:
    """The module inside the wrappers of torch.compile and data parallelism, in which layers have their own names."""
    while (inner := getattr(model, "_orig_mod", None)) is not None or (
        isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel))
        and (inner := model.module) is not None
    ):
        model = inner
    return model


def _inputs(model: nn.Module, input_shape: object, inputs: object) -> Call | tuple[int, ...]:
    """The caller's inputs, or the shape (C, H, W) of an image."""
    if inputs is not None and input_shape is not None:
        raise InputError("inputs: got both inputs and input_shape; expected one of them")
    if inputs is not None:
        return trial.given(inputs)
    if input_shape is not None:
        return trial.image_shape(input_shape)
    if own := trial.own_shapes(model):
        return own[0]
    raise InputError(
        f"input_shape: got none, and {type(model).__name__} has no default; "
        "expected (channels, height, width), or inputs="
    )


@contextmanager
def _without_log() -> Iterator[None]:
    """Suppress torch's log message on an operation that fails on fake tensors: it is run again with data."""
    log = logging.getLogger(fake_tensor.__name__)
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _executed_formulas() -> dict[Any, Formula]:
    """drbench's operations whose executed multiply-adds differ from the convention, depending on the code path."""

    def convolution(inputs: Sequence[Any], outputs: Sequence[Any], regions: int) -> int:
        image = inputs[0]
        executed = drbench_kernels.expert_region_conv2d_executed
        return int(executed(outputs[0].shape, inputs[1].shape, regions, image.device.type, image.dtype))

    def expert_region_conv2d(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        return convolution(inputs, outputs, inputs[2].shape[1])

    def expert_layer(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        experts, routing, guide = inputs[1].shape, inputs[2].shape, inputs[4].shape
        _, choices = expert_layer_madds(outputs[0].shape, experts, routing, guide)
        return convolution(inputs, outputs, guide[0]) + choices

    return {
        torch.ops.drbench.expert_region_conv2d: expert_region_conv2d,
        torch.ops.drbench.expert_layer: expert_layer,
    }


def _count(model: nn.Module, call: Call, fake: FakeTensorMode | None = None) -> Cost:
    """The cost of one call. The model is not changed."""
    with trial.undisturbed(model, restore=fake is None) as running, fake or nullcontext():
        walk = _walked(running, call)
        if any(walk.counter.fixed.values()):
            _reduce_fixed(walk.counter, running, call)
        return walk.cost()


def _walked(model: nn.Module, call: Call) -> _Walk:
    walk = _Walk(model)
    walk.counter.follow(trial.tensors((call.args, call.kwargs)))
    with _separate_operations(), walk:
        model(*call.args, **call.kwargs)
    return walk


def _reduce_fixed(counter: OperationCounter, model: nn.Module, call: Call) -> None:
    """Reduce `counter.fixed` to the work that does not grow with the number of samples, by a run with twice as many.

    Learned queries, for example, do not depend on the inputs but are repeated for each sample.
    """
    samples = next((len(t) for t in trial.tensors((call.args, call.kwargs)) if t.dim()), 0)
    try:
        twice = _walked(model, call.changed(lambda t: torch.cat([t, t]) if t.dim() and len(t) == samples else t))
    except Exception:  # the first dimension is not a batch: then `fixed` stays as it is
        return
    for owner, fixed in counter.fixed.items():
        counter.fixed[owner] = min(fixed, max(0, 2 * fixed - twice.counter.fixed[owner]))


@contextmanager
def _separate_operations() -> Iterator[None]:
    """Let recurrent and attention layers run as separate operations, not as one operation without a formula."""
    mkldnn: Any = torch.backends.mkldnn
    settings = mkldnn.enabled, torch.backends.mha.get_fastpath_enabled()
    try:
        mkldnn.enabled = False
        torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        mkldnn.enabled = settings[0]
        torch.backends.mha.set_fastpath_enabled(settings[1])


class _Walk:
    """Follows one forward pass through the modules, while the counter follows its operations.

    A module is closed if it declares its cost, or should and does not: all that runs inside is attributed to it.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules = {module: name for name, module in model.named_modules()}
        self.undeclared = _undeclared(model)
        self.counter = OperationCounter(_executed_formulas())
        self.parts: dict[str, dict[str, int]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.running: list[str] = []
        self.closed_at: int | None = None  # depth of the closed module that is running, if any
        self.cleanup = ExitStack()

    def __enter__(self) -> None:
        for module in self.modules:
            if isinstance(
                module, torch.jit.ScriptModule
            ):  # does not support hooks; its operations are counted as its parent's
                continue
            before = module.register_forward_pre_hook(self._enter, with_kwargs=True)
            after = module.register_forward_hook(self._leave, always_call=True)
            self.cleanup.callback(before.remove)
            self.cleanup.callback(after.remove)
        self.cleanup.enter_context(self.counter)

    def __exit__(self, *exception: object) -> None:
        self.cleanup.close()

    def _enter(self, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        name = self.modules[module]
        self.running.append(name)
        if self.closed_at is None:
            self.counter.owner = name
            declares = callable(getattr(module, "cost", None))
            if declares:
                parts = self.parts.setdefault(name, {})
                for part, madds in _declared(module, name, [*args, *kwargs.values()]).items():
                    parts[part] = parts.get(part, 0) + madds
            if declares or name in self.undeclared:
                self.closed_at = len(self.running)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if self.closed_at == len(self.running):
            self.closed_at = None
        name = self.running.pop()
        if self.closed_at is None and self.running:
            self.counter.owner = self.running[-1]
        tensor = _first_tensor(output)
        self.shapes[name] = () if tensor is None else tuple(tensor.shape)

    def cost(self) -> Cost:
        layers = tuple(self._layers())
        parts: dict[str, int] = {}
        for declared in self.parts.values():
            for part, madds in declared.items():
                parts[part] = parts.get(part, 0) + madds
        return Cost(
            madds=None if self.undeclared else sum(layer.madds or 0 for layer in layers),
            executed=sum(layer.executed for layer in layers),
            params=sum(layer.params for layer in layers),
            activations=sum(self.counter.elements.values()),
            parts=parts,
            layers=layers,
            uncounted=tuple(self._uncounted()),
            undeclared=tuple(self.undeclared),
        )

    def _layers(self) -> Iterator[LayerCost]:
        """A row for each module that multiplies or has parameters, in the order of definition."""
        counted: set[int] = set()
        closed = [*self.parts, *self.undeclared]
        for module, name in self._open_modules():
            new = {id(p): p.numel() for p in module.parameters(recurse=name in closed) if id(p) not in counted}
            counted |= new.keys()
            executed, params = self.counter.executed.get(name, 0), sum(new.values())
            if not executed and not params and name not in closed:
                continue
            declared = self.parts.get(name, {})
            madds = (
                sum(declared.values()) if name in self.parts else self.counter.madds[name] - self.counter.fixed[name]
            )
            yield LayerCost(
                name=name,
                kind=type(module).__name__,
                output_shape=self.shapes.get(name, ()),
                madds=None if name in self.undeclared else madds,
                executed=executed,
                params=params,
                parts=declared,
            )

    def _open_modules(self) -> Iterator[tuple[nn.Module, str]]:
        """All modules that are not inside a closed one, with their names."""
        closed = {*self.parts, *self.undeclared}
        within: str | None = None  # modules are in depth-first order: those inside a closed one follow it directly
        for module, name in self.modules.items():
            if within is None or not _inside(name, within) or name == within:
                within = name if name in closed else None
                yield module, name

    def _uncounted(self) -> Iterator[str]:
        """Modules with an operation without a formula, or with a product of inputs and weights, element by element."""
        for owner, operation in self.counter.unknown:
            yield f"{owner or 'the network'} ({operation})"
        owners = {owner for owner, _ in self.counter.unknown} | {
            owner for owner, n in self.counter.executed.items() if n
        }
        for module, name in self._open_modules():
            weights = [p for p in module.parameters(recurse=False) if sum(size > 1 for size in p.shape) > 1]
            idle = not any(_inside(owner, name) for owner in owners)
            if weights and idle and name in self.counter.by_hand and name not in self.parts:
                yield f"{name or 'the network'} ({type(module).__name__} with weights, no counted operation)"


def _inside(name: str, other: str) -> bool:
    return not other or name == other or name.startswith(other + ".")


def _first_tensor(values: Any) -> Tensor | None:
    if isinstance(values, Tensor):
        return values
    items = values.values() if isinstance(values, Mapping) else values if isinstance(values, (list, tuple)) else ()
    return next((tensor for item in items if (tensor := _first_tensor(item)) is not None), None)


def _declared(module: nn.Module, name: str, inputs: Sequence[Any]) -> dict[str, int]:
    """The module's declared cost, for all samples of its input."""
    tensor = _first_tensor(inputs)
    if tensor is None:
        raise InputError(f"{name or type(module).__name__} has a method `cost` but was called without a tensor")
    samples, shape = (tensor.shape[0], tensor.shape[1:]) if tensor.dim() > 3 else (1, tensor.shape)
    cost: Any = module.cost
    parts = cost(tuple(shape))
    if not isinstance(parts, Mapping) or not all(isinstance(n, Integral) and int(n) >= 0 for n in parts.values()):
        raise InputError(
            f"{type(module).__name__}.cost({tuple(shape)}): got {parts!r}; expected {{part: multiply-adds per sample}} "
            "with whole numbers of at least 0"
        )
    return {str(part): samples * int(madds) for part, madds in parts.items()}


def _undeclared(model: nn.Module) -> tuple[str, ...]:
    """Names of replaced convolutions whose operator has no `cost`, unless it consists of modules of torch.nn only.

    drbench.convert sets `model.conversion`; its field `before` is an earlier conversion, if any.
    """
    modules = dict(model.named_modules())
    replaced: dict[str, None] = {}
    conversion = getattr(model, "conversion", None)
    while conversion is not None:
        replaced |= dict.fromkeys(replacement.name for replacement in conversion.replacements)
        conversion = conversion.before
    return tuple(
        name
        for name in replaced
        if name in modules
        and not callable(getattr(modules[name], "cost", None))
        and not all(type(module).__module__.startswith("torch.nn.") for module in modules[name].modules())
    )
