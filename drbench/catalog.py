"""The names that drbench has for networks, recipes and operators, and what is known of them without torch.

`drbench.models.ARCHITECTURES`, `drbench.models.RECIPES` and `drbench.operators.OPERATORS` have the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Model:
    """A network of a family at a published width.

    stem_stride: the total stride of its stem as published.
    input_shape, outputs: (C, H, W) of the images and number of outputs to which published costs belong.
    """

    name: str
    family: str
    width: float
    stem_stride: int = 2
    input_shape: tuple[int, int, int] = (3, 224, 224)
    outputs: int = 1000


_ALL = (
    *(Model(f"mobilenet_v1_{width:.2f}", "mobilenet_v1", width) for width in (0.25, 0.5, 0.75, 1)),
    *(Model(f"mobilenet_v2_{width:.2f}", "mobilenet_v2", width) for width in (0.35, 0.5, 0.75, 1.0, 1.4)),
    *(
        Model(f"mobilenet_v3_{size}_{width:.2f}", f"mobilenet_v3_{size}", width)
        for size in ("small", "large")
        for width in (0.75, 1.0)
    ),
    *(Model(f"mobilenetv4_conv_{size}", f"mobilenetv4_conv_{size}", 1.0) for size in ("small", "medium", "large")),
    *(
        Model(f"shufflenet_v2_x{f'{width:.1f}'.replace('.', '_')}", "shufflenet_v2", width, 4)
        for width in (0.5, 1.0, 1.5, 2.0)
    ),
    Model("mobilefacenet", "mobilefacenet", 1.0, input_shape=(3, 112, 112), outputs=128),
)

MODELS: Mapping[str, Model] = {model.name: model for model in _ALL}

RECIPES: Mapping[str, str] = {
    "last-pointwise": "the last 1x1 convolution of every block (guide='own' or 'block')",
    "pointwise": "all 1x1 convolutions inside blocks (guide='own' or 'block')",
    "released": "ShuffleNetV2 as in the authors' code: both 1x1 of every right branch, one guide per block",
}
"""Recipe -> what it replaces."""

EMBEDDING = 128
"""Outputs of a network that recognises faces, unless others are asked for."""

OUTPUTS: Mapping[str, int] = {"verify": EMBEDDING}
"""Task -> number of outputs of its networks, of the tasks where it does not follow from the classes of the data set."""

DATA: Mapping[str, str] = {"verify": "identities", "segment": "scenes"}
"""Task -> the embedded data set, of the tasks for which it is not `shapes`."""

OPERATORS = ("drconv", "condconv", "fixed-grid", "random-guide")
