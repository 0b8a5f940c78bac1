"""A copy of any network, also of one that copy.deepcopy refuses."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from drbench.errors import InputError
from drbench.models.foreign import one_line


def copied(model: nn.Module) -> nn.Module:
    """A deep copy of `model`.

    Tensors that are the result of a computation, as the weight of a layer under torch.nn.utils.weight_norm or a
    pruned one, are copied as values; such layers compute them anew in every call.

    Raises:
        InputError: naming the module and attribute that can't be copied.
    """
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    try:
        return copy.deepcopy(model, dict(computed))
    except Exception as error:  # whatever an attribute raises when it is copied
        where = _culprit(model, computed)
        raise InputError(
            f"inplace: got False, but {where or type(model).__name__} can't be copied ({one_line(error)}); "
            "expected True, which converts the model itself"
        ) from error


def _culprit(model: nn.Module, computed: dict[int, Any]) -> str | None:
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute == "_modules":
                continue
            try:
                copy.deepcopy(value, dict(computed))
            except Exception:  # as above
                return f"the attribute {attribute!r} of {name or type(module).__name__!r}"
    return None
