"""A copy of any network, also of one that copy.deepcopy refuses."""

from __future__ import annotations

import copy

from torch import nn

from drbench import trial
from drbench.errors import InputError
from drbench.models.foreign import one_line


def copied(model: nn.Module) -> nn.Module:
    """A deep copy of `model`, see `trial.copied`. InputError names the module and attribute that can't be copied."""
    try:
        return trial.copied(model)
    except Exception as error:  # whatever an attribute raises when it is copied
        where = _culprit(model)
        raise InputError(
            f"inplace: got False, but {where or type(model).__name__} can't be copied ({one_line(error)}); "
            "expected True, which converts the model itself"
        ) from error


def _culprit(model: nn.Module) -> str | None:
    memo = trial.memo_of(model)
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute == "_modules":
                continue
            try:
                copy.deepcopy(value, dict(memo))
            except Exception:  # whatever an attribute raises when it is copied
                return f"the attribute {attribute!r} of {name or type(module).__name__!r}"
    return None
