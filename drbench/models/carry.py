"""What a convolution carries besides weights: flags, hooks and attributes that others put on it.

Whatever has the same meaning on the new layer is moved there. All else makes a convolution unsuitable, so that nothing
is lost without a word.
"""

from __future__ import annotations

from types import MethodType

from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from drbench.errors import InputError

_OWN = frozenset(vars(nn.Conv2d(1, 1, 1, device="meta")))
_HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_backward_pre_hooks",
    "_backward_hooks",
)
"""Of inputs, outputs and their gradients, which are those of the convolution."""
_STATE_HOOKS = (
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
"""Of names and tensors that the new layer does not have."""


def lost(conv: nn.Module) -> str | None:
    """What of `conv` a replacement would lose, as "with ..."; None if nothing."""
    if parametrize.is_parametrized(conv):
        return (
            f"with a parametrization of {', '.join(conv.parametrizations)}: "  # type: ignore[arg-type]
            "torch.nn.utils.parametrize.remove_parametrizations folds it into the weight"
        )
    for kind, found in (
        ("parameter", [name for name in conv._parameters if name not in ("weight", "bias")]),
        ("buffer", list(conv._buffers)),
        ("module", list(conv._modules)),
    ):
        if found:
            return (
                f"with a {kind} of its own, {found[0]!r} (of a weight norm or pruning it is folded into the weight by "
                "its function in torch.nn.utils)"
            )
    for name, parameter in conv._parameters.items():
        if isinstance(parameter, UninitializedParameter):
            return "without weights, because it has seen no input yet"
        if parameter is not None and not parameter.is_floating_point():
            return f"with a {name} of {str(parameter.dtype).removeprefix('torch.')}"
        if parameter is not None and (parameter._backward_hooks or parameter._post_accumulate_grad_hooks):
            return f"with a gradient hook on its {name}"
    if any(getattr(conv, kind) for kind in _STATE_HOOKS):
        return "with hooks on its state dict"
    if conv._backward_hooks and not conv._is_full_backward_hook:
        return "with a hook of register_backward_hook: register_full_backward_hook makes one that can be moved"
    if conv._compiled_call_impl is not None:
        return "that is compiled: convert first, then compile"
    for name in _added(conv):
        value = vars(conv)[name]
        if name == "forward" or (isinstance(value, MethodType) and value.__self__ is conv):
            return f"whose method {name!r} was replaced"
    return None


def carry(conv: nn.Module, layer: nn.Module) -> tuple[str, ...]:
    """Move to `layer` what `conv` carries; what was moved, in words.

    Hooks keep their handles. The layer is as frozen as the convolution: all of it where the weight is, and its own
    `bias` where the bias is.

    Raises:
        InputError: where the layer has an attribute of a name that was added to the convolution.
    """
    layer.train(conv.training)
    notes = []
    if any(getattr(conv, kind) for kind in _HOOKS):
        _move_hooks(conv, layer)
        notes.append("hooks moved")
    for name in _added(conv):
        if hasattr(layer, name):
            raise InputError(f"the convolution's attribute {name!r} is one of {type(layer).__name__} too; rename it")
        vars(layer)[name] = vars(conv)[name]  # past nn.Module, which would register a module
    if _freeze(conv, layer):
        notes.append("frozen")
    return tuple(notes)


def _added(conv: nn.Module) -> list[str]:
    return [name for name in vars(conv) if name not in _OWN]


def _move_hooks(conv: nn.Module, layer: nn.Module) -> None:
    if any(getattr(layer, kind) for kind in _HOOKS):
        raise InputError(f"the convolution carries hooks, and {type(layer).__name__} has some of its own; remove them")
    for kind in _HOOKS:
        setattr(layer, kind, getattr(conv, kind))  # the same dictionary: a handle finds its hook by it
    layer._is_full_backward_hook = conv._is_full_backward_hook


def _freeze(conv: nn.Module, layer: nn.Module) -> bool:
    weight, bias = conv._parameters["weight"], conv._parameters.get("bias")
    own = layer._parameters.get("bias")
    if weight is not None and not weight.requires_grad:
        for parameter in layer.parameters():
            if parameter is not own:
                parameter.requires_grad_(False)
    if own is not None and bias is not None and not bias.requires_grad:
        own.requires_grad_(False)
    return any(parameter is not None and not parameter.requires_grad for parameter in (weight, bias))
