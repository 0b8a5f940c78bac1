"""The rows of a conversion's report: what a layer was and is, what it costs, and what else there is to know."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from drbench.models import convs
from drbench.models.conversion import ONE_POSITION, Replacement, positions
from drbench.models.probe import LayerCall, Shapes


def replacement(
    name: str, conv: nn.Conv2d, layer: nn.Module, notes: Sequence[str], seen: Shapes | None, now: Shapes | None
) -> Replacement:
    """The row of one layer, of `seen` before and `now` after; without a probe, without shapes and multiply-adds."""
    before = seen.layers.get(name, ()) if seen else ()
    after = now.layers.get(name, ()) if now else ()
    output = before[0].output[-3:] if before else ()
    if positions(output) == 1 and getattr(layer, "regions", 1) != 1:
        notes = (*notes, ONE_POSITION)
    elif seen and not before:
        notes = (*notes, "not run")
    filters = conv.weight.numel()
    plain = sum(_samples(call) * math.prod(call.output[-2:]) * filters for call in before) if seen else None
    params = _size(conv), _size(layer)
    return Replacement(
        name, convs.words(conv), type(layer).__name__, output, (plain, _cost(layer, after, now)), params, tuple(notes)
    )


def guide(name: str, added: nn.Module, now: Shapes | None) -> Replacement:
    """The row of a guide that a block got."""
    calls = now.layers.get(name, ()) if now else ()
    output = calls[0].output[-3:] if calls else ()
    return Replacement(
        name,
        "",
        type(added).__name__,
        output,
        (0, _cost(added, calls, now)),
        (0, _size(added)),
        ("shared in the block",),
    )


def _cost(layer: nn.Module, calls: Sequence[LayerCall], now: Shapes | None) -> int | None:
    """Multiply-adds of all calls per sample, as the layer itself declares them; None where it does not."""
    declare = getattr(layer, "cost", None)
    if now is None or not callable(declare):
        return None
    try:
        return int(sum(_samples(call) * sum(declare(call.input[-3:]).values()) for call in calls))
    except Exception:  # an operator of the user's own: the report goes without, counting says what is wrong
        return None


def _samples(call: LayerCall) -> int:
    return call.output[0] if len(call.output) > 3 else 1


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
