"""Multiply-adds of single operations, by hand; and which of them no sample adds to."""

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from drbench.measure.cost import count

SHAPE3 = (3, 8, 8)


class Kinds(nn.Module):
    """One of each kind of convolution and product, with biases, which the convention leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(8, 12, (3, 5), padding=(1, 2), groups=4)
        self.depthwise = nn.Conv2d(12, 12, 3, dilation=2, padding=2, groups=12)
        self.transposed = nn.ConvTranspose2d(12, 6, 3, stride=2, groups=2)
        self.linear = nn.Linear(6, 10)
        self.norm = nn.BatchNorm2d(8)
        self.matrix = nn.Parameter(torch.randn(10, 5))
        self.vector = nn.Parameter(torch.randn(5))

    def forward(self, x):
        x = self.transposed(self.depthwise(self.grouped(F.relu(self.norm(self.dense(x))))))
        x = self.linear(x.flatten(2).mT)  # (N, 289, 10)
        x = F.scaled_dot_product_attention(x, x, x)
        x = torch.einsum("nlc,cd->nld", x, self.matrix)
        x = torch.bmm(x.mT, x)  # (N, 5, 5)
        return x @ self.vector


def test_kinds_by_hand():
    cost = count(Kinds(), (3, 16, 16))
    places = 17 * 17
    rows = {layer.name: layer.madds for layer in cost.layers}
    products = 2 * places * places * 10 + places * 10 * 5 + 5 * 5 * places + 5 * 5
    assert rows == {
        "": products,
        "dense": 8 * 8 * 8 * 3 * 9,
        "grouped": 8 * 8 * 12 * 2 * 15,
        "depthwise": 8 * 8 * 12 * 9,
        "transposed": 8 * 8 * 12 * 3 * 9,  # every input element meets 6/2 filters of 3x3
        "linear": places * 6 * 10,
        "norm": 0,
    }
    assert cost.madds == cost.executed == sum(rows.values())
    written = [8 * 64, 12 * 64, 12 * 64, 6 * places, 10 * places, 10 * places, 5 * places, 25, 5]
    assert cost.activations == sum(written)
    assert cost.uncounted == cost.undeclared == ()


def test_recurrent_and_attention_layers():
    class Sequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 5, batch_first=True)
            self.encoder = nn.TransformerEncoderLayer(5, 1, 7, batch_first=True)

        def forward(self, x):
            return self.encoder(self.lstm(x.flatten(2).mT)[0])

    cost = count(Sequence(), (3, 4, 4))
    lstm = 16 * 4 * 5 * (3 + 5)
    attention = 16 * 5 * 15 + 2 * 16 * 16 * 5 + 16 * 5 * 5
    assert cost.madds == lstm + attention + 2 * 16 * 5 * 7
    assert cost.uncounted == ()


# What runs once per call is not a sample's


class LowRank(nn.Module):
    """Adds a product of two matrices to a weight, as LoRA does."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Parameter(torch.randn(8, 2)), nn.Parameter(torch.randn(2, 27))

    def forward(self, weight):
        return weight + (self.left @ self.right).view_as(weight)


def low_rank(conv):
    nn.utils.parametrize.register_parametrization(conv, "weight", LowRank())
    return conv


@pytest.mark.parametrize(
    ("change", "once"),
    [
        (nn.utils.parametrizations.weight_norm, 0),
        (nn.utils.parametrizations.spectral_norm, 8 * 27 + 8),  # W v, and u times that
        (nn.utils.spectral_norm, 8 * 27 + 8),
        (low_rank, 8 * 2 * 27),
    ],
)
@pytest.mark.filterwarnings("ignore:.*spectral_norm.*deprecated")
def test_work_on_weights_is_executed_but_is_no_samples(change, once):
    cost = count(nn.Sequential(change(nn.Conv2d(3, 8, 3))), SHAPE3)
    assert (cost.madds, cost.executed - cost.madds) == (7776, once)
    assert cost.madds == sum(layer.madds for layer in cost.layers)
    assert cost.uncounted == ()


class Queries(nn.Module):
    """Learned queries, repeated for every sample, go through one layer; an embedding of positions through another."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.positions = nn.Parameter(torch.randn(1, 5, 4)), nn.Parameter(torch.randn(64, 6))
        self.each, self.once, self.conv = nn.Linear(4, 8), nn.Linear(6, 8), nn.Conv2d(3, 8, 1)

    def forward(self, x):
        keys = self.conv(x).flatten(2).mT + self.once(self.positions)
        return self.each(self.queries.expand(len(x), -1, -1)) @ keys.mT


@pytest.mark.parametrize("samples", [1, 3])
def test_what_grows_with_the_samples_is_counted(samples):
    cost = count(Queries(), inputs=torch.zeros(samples, *SHAPE3))
    rows = {layer.name: layer.madds for layer in cost.layers}
    assert rows == {"": samples * 5 * 8 * 64, "each": samples * 5 * 4 * 8, "once": 0, "conv": samples * 64 * 3 * 8}
    assert cost.executed - cost.madds == 64 * 6 * 8


# Networks of many families: what ran is half of torch's own count of operations, and the same each time

FAMILIES = {
    "video": lambda: torchvision.models.video.mc3_18(),
    "segmentation": lambda: torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights_backbone=None),
    "vit": lambda: timm.create_model("test_vit.r160_in1k"),
    "byobnet": lambda: timm.create_model("test_byobnet.r160_in1k"),
    "convnext": lambda: timm.create_model("test_convnext.r160_in1k"),
    "efficientnet": lambda: timm.create_model("test_efficientnet.r160_in1k"),
    "nfnet": lambda: timm.create_model("test_nfnet.r160_in1k"),
    "swinv2": lambda: timm.create_model("swinv2_cr_tiny_ns_224", img_size=64, depths=(1, 1, 1, 1)),
    "xcit": lambda: timm.create_model("xcit_nano_12_p16_224", depth=2),
}
ONCE = {"swinv2", "xcit"}
"""Networks that compute biases or embeddings of positions from weights alone."""


@pytest.mark.parametrize("family", FAMILIES)
def test_families_against_torch(family):
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
    shape = {"segmentation": (3, 64, 64), "swinv2": (3, 64, 64), "video": (3, 4, 32, 32)}.get(family, (3, 160, 160))
    images = torch.zeros(1, *shape)
    with FlopCounterMode(display=False) as flops, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model(images)
    cost = count(model, inputs=images)
    assert 2 * cost.executed == flops.get_total_flops()
    assert (cost.executed > cost.madds) == (family in ONCE)
    assert cost.uncounted == ()
    assert count(model, inputs=images) == cost
