"""Networks for semantic segmentation: a backbone and a head that gives each pixel a score for each class.

LR-ASPP: Howard et al., "Searching for MobileNetV3", 2019, https://arxiv.org/abs/1905.02244, section 6.4. The head is
torchvision's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.segmentation.lraspp import LRASPPHead

from drbench.errors import InputError
from drbench.models.taps import Backbone

CHANNELS = 128
"""Of the head, as published."""


class LRASPP(nn.Module):
    """LR-ASPP on two taps of a backbone: the second, at stride 8 with the published stem, and the last.

    Args:
        backbone: of at least two taps; of two, the first takes the place of the second.
        classes: number of classes.
    """

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        *finer, last = backbone.taps
        if not finer:
            raise InputError(f"taps: got {last.name!r} alone; expected two or more, for details and for their context")
        self.backbone = backbone
        detail = finer[:2][-1]
        self.names = (detail.name, last.name)
        self.head = LRASPPHead(detail.channels, last.channels, classes, CHANNELS)

    def forward(self, input: Tensor) -> Tensor:
        """Images (N,C,H,W) -> scores (N,classes,H,W)."""
        maps = self.backbone(input)
        low, high = (maps[name] for name in self.names)
        scores = self.head({"low": low, "high": high})
        return functional.interpolate(scores, input.shape[-2:], mode="bilinear", align_corners=False)
