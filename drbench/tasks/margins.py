"""Criteria for embeddings of people: softmax over cosines with a margin for the true person.

CosFace: Wang et al., "CosFace: Large Margin Cosine Loss for Deep Face Recognition", CVPR 2018,
https://arxiv.org/abs/1801.09414. ArcFace: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face
Recognition", CVPR 2019, https://arxiv.org/abs/1801.07698.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

WARM_UP = 1 / 3
"""Share of the training in which the margin grows from 0: a full margin from the start stalls on small sets."""
EDGE = 1 - 1e-7
"""Cosines are clamped to it: the angle has an infinite slope at exactly 1."""


class Margin(nn.Module, ABC):
    """A centre per person, and the cross-entropy of scaled cosines with a margin.

    Args:
        people: number of people.
        embedding: length of an embedding.
        scale: factor of the cosines; None is the default of small sets.
        margin: what the cosine (or the angle, in radians) of the true person is made worse by; None is the default.
    """

    SCALE: ClassVar[float] = 24.0
    MARGIN: ClassVar[float] = 0.3

    def __init__(self, people: int, embedding: int, scale: float | None = None, margin: float | None = None) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.empty(people, embedding))
        nn.init.normal_(self.centres, std=0.01)
        self.scale = self.SCALE if scale is None else scale
        self.margin = self.MARGIN if margin is None else margin

    def forward(self, embeddings: Tensor, people: Tensor, progress: float = 1.0) -> Tensor:
        """Mean loss (), of embeddings (N, embedding) and people (N,) int64, at this share of the training.

        Computed in float32, also under autocast.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            cosines = functional.linear(functional.normalize(embeddings.float()), functional.normalize(self.centres))
            cosines = cosines.clamp(-EDGE, EDGE)
            true = cosines.gather(1, people[:, None])
            worse = self.worsened(true, self.margin * min(1.0, progress / WARM_UP))
            return functional.cross_entropy(self.scale * cosines.scatter(1, people[:, None], worse), people)

    @abstractmethod
    def worsened(self, cosines: Tensor, margin: float) -> Tensor:
        """The cosines of the true people after the margin."""


class CosFace(Margin):
    """The margin is taken from the cosine."""

    def worsened(self, cosines: Tensor, margin: float) -> Tensor:
        """cos - margin."""
        return cosines - margin


class ArcFace(Margin):
    """The margin is added to the angle."""

    def worsened(self, cosines: Tensor, margin: float) -> Tensor:
        """cos(angle + margin); beyond 180 degrees a straight line that goes on falling with the cosine."""
        sines = (1 - cosines**2).clamp(min=0).sqrt()
        shifted = cosines * math.cos(margin) - sines * math.sin(margin)
        return torch.where(cosines > -math.cos(margin), shifted, cosines - margin * math.sin(margin))


CRITERIA: Mapping[str, type[Margin]] = {"cosface": CosFace, "arcface": ArcFace}
"""Name -> class. "default" is the first."""
