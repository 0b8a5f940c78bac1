"""Backbones: the part of a network up to its last tap, which returns the feature maps of all taps.

Detection and segmentation read a network at strides 4, 8, 16 and 32. A tap is the name of the last module before the
next stride. torch.fx traces the network and removes what lies behind the last tap, such as a classifier; layers that
depend on their input (DRConv) are kept whole.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torchvision.models.feature_extraction import create_feature_extractor

from drbench import trial
from drbench.errors import InputError
from drbench.models.architectures import ARCHITECTURES
from drbench.models.foreign import one_line

WHOLE = ("drbench.operators", "drbench.models.guided")
"""Where the layers are defined that torch.fx does not trace into."""


@dataclass(frozen=True)
class Tap:
    """A feature map: the name of its module, its channels, and the input's side divided by the map's."""

    name: str
    channels: int
    stride: int


class Backbone(nn.Module):
    """The network up to its last tap. `taps`: in the order in which it returns their maps."""

    def __init__(self, body: GraphModule, taps: tuple[Tap, ...]) -> None:
        super().__init__()
        self.body = body
        self.taps = taps

    def forward(self, input: Tensor) -> OrderedDict[str, Tensor]:
        """Images (N,C,H,W) -> name of a tap -> its map (N,channels,H/stride,W/stride)."""
        maps = self.body(input)
        return OrderedDict((tap.name, maps[tap.name]) for tap in self.taps)


def backbone(
    model: nn.Module,
    input_shape: tuple[int, int, int],
    names: Sequence[str] | None = None,
    architecture: str | None = None,
) -> Backbone:
    """The backbone of a network, plain or converted. It shares the network's weights.

    Args:
        model: the network; it is not changed.
        input_shape: (C,H,W) of the images, for which strides and channels are measured.
        names: of the taps. None takes those of the architecture, or `model.taps`.
        architecture: the network's name in ARCHITECTURES; None takes that of `model.variant`, if it has one.

    Raises:
        InputError: the taps are not known, a tap is not a module of the network, a tap does not give a feature map, or
            torch.fx cannot trace the network.
    """
    wanted = tuple(_names(model, architecture) if names is None else names)
    modules = dict(model.named_modules())
    for name in wanted:
        if name not in modules:
            raise InputError(f"taps: got {name!r:.80}; expected names of modules of the {type(model).__name__}")
    whole = {type(module) for module in modules.values() if type(module).__module__.startswith(WHOLE)}
    conversion: Any = getattr(model, "conversion", None)
    if conversion is not None:  # a user's operator may branch on values
        whole |= {type(modules[row.name]) for row in conversion.replacements if row.name in modules}
    was_training = model.training
    try:
        body = create_feature_extractor(
            model, {name: name for name in wanted}, tracer_kwargs={"leaf_modules": sorted(whole, key=str)}
        )
    except Exception as error:  # whatever torch.fx or the network raises while it is traced
        raise InputError(f"taps: the {type(model).__name__} cannot be traced by torch.fx: {one_line(error)}") from error
    finally:
        model.train(was_training)
    _without_asserts(body)
    with trial.undisturbed(body) as running, torch.no_grad():
        maps = trial.image(running, input_shape)(running)
    taps = []
    for name in wanted:
        found = maps[name]
        if not isinstance(found, Tensor) or found.dim() != 4:
            raise InputError(f"taps: {name!r} gives {_kind(found)}; expected a feature map (N, channels, H, W)")
        taps.append(Tap(name, found.shape[1], round(input_shape[1] / found.shape[2])))
    return Backbone(body, tuple(taps))


def _without_asserts(body: GraphModule) -> None:
    """Remove the assertions of traced layers. Some are behind the last tap and would keep the layers there alive."""
    mode = body.training
    for training in (not mode, mode):
        body.train(training)  # it has a graph for each mode
        for node in reversed(list(body.graph.nodes)):
            if node.op == "call_function" and node.target is torch._assert:
                body.graph.erase_node(node)
        body.graph.eliminate_dead_code()
        body.recompile()
    body.delete_all_unused_submodules()


def _names(model: nn.Module, architecture: str | None) -> Sequence[str]:
    variant: Any = getattr(model, "variant", None)
    known = ARCHITECTURES.get(architecture or (variant.architecture if variant is not None else ""))
    found = known.taps if known is not None else getattr(model, "taps", None)
    if not found or isinstance(found, str) or not all(isinstance(name, str) for name in found):
        raise InputError(
            f"taps: the {type(model).__name__} names none; expected an attribute `taps`, the names of its modules at "
            "strides 4, 8, 16 and 32"
        )
    return tuple(found)


def _kind(value: object) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
