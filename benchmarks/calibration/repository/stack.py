"""A network of equal blocks, so that one block more of twenty is five per cent more work, and nothing else."""

from torch import Tensor, nn

BLOCKS = 20


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return (self.norm(self.conv(x)) + x).relu()


def network(num_classes: int = 10, channels: int = 16) -> nn.Module:
    body = [Block(channels) for _ in range(BLOCKS)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))
