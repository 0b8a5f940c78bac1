"""The registry of data sets, and the one way to open them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from drbench.data.arguments import side
from drbench.data.custom import open_custom
from drbench.data.faces import faces
from drbench.data.identities import identities
from drbench.data.imagefolder import imagefolder
from drbench.data.scenes import scenes
from drbench.data.shapes import shapes
from drbench.data.small import cifar10, cifar100, fashion_mnist
from drbench.data.splits import Splits, check_splits
from drbench.data.waiting import silent
from drbench.errors import InputError
from drbench.names import is_import, resolve
from drbench.records import DataSettings

DATASETS: dict[str, Callable[..., Splits]] = {
    "shapes": shapes,
    "cifar10": cifar10,
    "cifar100": cifar100,
    "fashion-mnist": fashion_mnist,
    "scenes": scenes,
    "identities": identities,
    "imagefolder": imagefolder,
    "faces": faces,
}

_COMMON = ("root", "download", "val_fraction", "augment", "preprocessing", "say")


def open_data(
    settings: DataSettings,
    *,
    input_size: int | None = None,
    augment: str = "standard",
    preprocessing: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = silent,
) -> Splits:
    """Open what `settings` names: a registry name or package.module:callable (see `drbench.data.custom`).

    `input_size`: side in pixels of the square inputs wanted; None: the data set's own. `preprocessing`: from the header
    of saved weights, wins over all else. `say` is called with what is left out, and with progress of long work.
    InputError for an unknown name or argument, and for missing or damaged data.
    """
    loader = resolve("data set", settings.name, DATASETS)
    own = dict(settings.args)
    side("input_size", own.get("input_size"))
    if is_import(settings.name):
        given = dict(preprocessing) if preprocessing else None
        made = open_custom(loader, settings, input_size=input_size, preprocessing=given)
        try:
            return check_splits(made)
        except (AttributeError, TypeError) as error:
            raise InputError(
                f"data set {settings.name!r} returned Splits with a field of a wrong type: {error}"
            ) from error
    taken = inspect.signature(loader).parameters
    allowed = sorted(set(taken) - set(_COMMON))
    for name in own:
        if name not in allowed:
            raise InputError(f"data set {settings.name!r}: got argument {name!r}; expected {', '.join(allowed)}")
    common = {
        "root": settings.root,
        "download": settings.download,
        "val_fraction": settings.val_fraction,
        "augment": augment,
        "preprocessing": dict(preprocessing) if preprocessing else None,
        "say": say,
    }
    own.update({name: value for name, value in common.items() if name in taken})
    if input_size is not None:
        own["input_size"] = input_size
    return check_splits(loader(**own))
