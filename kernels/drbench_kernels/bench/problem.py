"""The tensors of one case: what a layer of some shape gets for a batch, the same for every way to compute it.

Made at their first use, since filters for every region and sample can be gigabytes: a case whose ways need none makes
none. Input and guide look like images or like noise (`masks`); a layer's own guide, made from the input, does as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from drbench_kernels.bench.shapes import Shape

DISTINCT = 1 << 24
"""Elements of noise that are made, at most; then they repeat."""
MASKS = ("smooth", "scattered", "constant")


@dataclass(frozen=True)
class Case:
    """What is measured at once: all ways to compute this."""

    shape: Shape
    batch: int
    backward: bool
    """Whether gradients are taken too, all of them."""
    regions: int = 8
    experts: int = 8
    masks: str = "smooth"
    dtype: torch.dtype = torch.float32
    device: str = "cpu"
    channels_last: bool = True

    @property
    def pass_name(self) -> str:
        """As in the options and in the document."""
        return "forward+backward" if self.backward else "forward"


class Problem:
    """The tensors of a case. Leaves that require gradients, where these are taken."""

    def __init__(self, case: Case) -> None:
        self.case, self.shape = case, case.shape
        self._generator = torch.Generator().manual_seed(0)

    @cached_property
    def input(self) -> Tensor:
        """(N, C, H, W)."""
        values = self._pattern(self.shape.channels, (self.shape.height, self.shape.width))
        return self._leaf(self._laid_out(values))

    @cached_property
    def guide(self) -> Tensor:
        """(N, m, H', W') float32 logits."""
        logits = self._pattern(self.case.regions, self.shape.output_size)
        return logits.to(self.case.device).contiguous().requires_grad_(self.case.backward)

    @cached_property
    def weight(self) -> Tensor:
        """(O, C, k, k), as nn.Conv2d's: in the memory format of the input."""
        return self._leaf(self._laid_out(self._filters()))

    @cached_property
    def bias(self) -> Tensor:
        """(O,)."""
        return self._leaf(self._noise(self.shape.outputs))

    @cached_property
    def sample_filters(self) -> Tensor:
        """(N, O, C, k, k): one filter per sample."""
        return self._leaf(self._filters(self.case.batch))

    @cached_property
    def filters(self) -> Tensor:
        """(N, m, O, C, k, k), contiguous, as region_conv2d documents them: one per sample and region."""
        return self._leaf(self._filters(self.case.batch, self.case.regions))

    @cached_property
    def experts(self) -> Tensor:
        """(K, O, C, k, k)."""
        return self._leaf(self._filters(self.case.experts))

    @cached_property
    def coefficients(self) -> Tensor:
        """(N, m, K)."""
        return self._leaf(self._noise(self.case.batch, self.case.regions, self.case.experts) / self.case.experts)

    @cached_property
    def grad(self) -> Tensor:
        """(N, O, H', W'): the gradient of the output."""
        return self._laid_out(self._noise(self.case.batch, self.shape.outputs, *self.shape.output_size))

    @property
    def regions_present(self) -> float:
        """How many of the m regions have a position, mean over the samples."""
        with torch.no_grad():
            regions = self.guide.argmax(1).flatten(1).cpu()
        return sum(len(one.unique()) for one in regions) / len(regions)

    def _noise(self, *size: int) -> Tensor:
        return torch.randn(*size, generator=self._generator)

    def _filters(self, *leading: int) -> Tensor:
        """Where there are gigabytes of them, those of one sample repeated: no time depends on their values."""
        shape = (*leading, self.shape.outputs, self.shape.channels, self.shape.kernel, self.shape.kernel)
        distinct = shape if prod(shape) <= DISTINCT else shape[1:]
        values = torch.empty(distinct, dtype=self.case.dtype, device=self.case.device)
        values.normal_(std=(self.shape.channels * self.shape.kernel**2) ** -0.5)
        return values if distinct == shape else values.expand(shape).clone(memory_format=torch.contiguous_format)

    def _pattern(self, channels: int, size: tuple[int, int]) -> Tensor:
        """(N, channels, *size): noise at every eighth position with ramps between; at every position; or one a map."""
        batch = self.case.batch
        if self.case.masks == "scattered":
            return self._noise(batch, channels, *size)
        if self.case.masks == "constant":
            return self._noise(batch, channels, 1, 1).expand(-1, -1, *size)
        coarse = self._noise(batch, channels, *(max(3, -(-side // 8)) for side in size))
        return F.interpolate(coarse, size, mode="bilinear", align_corners=True)

    def _laid_out(self, tensor: Tensor) -> Tensor:
        layout = torch.channels_last if self.case.channels_last else torch.contiguous_format
        return tensor.to(device=self.case.device, dtype=self.case.dtype).contiguous(memory_format=layout)

    def _leaf(self, tensor: Tensor) -> Tensor:
        moved = tensor.detach().to(device=self.case.device, dtype=self.case.dtype)
        return moved.requires_grad_(self.case.backward)
