"""What old code trained and drew: where it is, and the images that its networks are shown."""

from __future__ import annotations

from math import prod
from pathlib import Path

import torch

HERE = Path(__file__).parent
INTERRUPTED = HERE / "interrupted"
TRAINED, DRAWN, FOUND = HERE / "trained.safetensors", HERE / "drawn.safetensors", HERE / "trained.json"
DRAWN_AS = {
    "name": "mobilenet_v1_0.25",
    "operator": "drconv",
    "where": "pointwise",
    "where_args": {"guide": "block"},
    "regions": 4,
    "experts": 2,
    "num_classes": 10,
    "input_shape": (3, 32, 32),
    "stem_stride": 1,
    "width": 0.05,
    "seed": 3,
}
"""Arguments of create_model: equal seeds give equal weights, now and then."""


def images(shape: tuple[int, int, int], count: int = 2) -> torch.Tensor:
    """Images (count, *shape) that no random generator has a part in."""
    values = torch.arange(count * prod(shape), dtype=torch.float64)
    return (values * 0.37).sin().reshape(count, *shape).float()
