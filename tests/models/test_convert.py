"""convert: the function is kept, the shapes are kept, and what can't be replaced is named."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch
import torchvision
from timm.layers import LayerNorm2d
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from drbench.errors import InputError
from drbench.models import convert, create_model
from drbench.operators import OPERATORS, CondConv2d, DRConv2d

SMALL = {"num_classes": 6, "input_shape": (3, 32, 32), "stem_stride": 1}


class Small(nn.Module):
    """A user's own network, with the same convolution used twice under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.a = nn.Conv2d(8, 8, 3, padding="same", padding_mode="reflect")
        self.b = self.a
        self.down = nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4, bias=False)
        self.norm = nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).relu()
        x = self.b(self.a(x).relu()).relu()
        return self.head(self.norm(self.down(x)).relu().mean((2, 3)))


def trained(model: nn.Module) -> nn.Module:
    """Batch statistics as training leaves them, so that activations and logits have the size of a real network's."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    generator = torch.Generator().manual_seed(0)
    for norm in norms:
        norm.momentum = 1.0
        norm.bias.data.add_(torch.randn(norm.bias.shape, generator=generator) * 0.1)
    with torch.no_grad():
        model.train()(torch.randn(8, 3, 32, 32, generator=generator))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()


@torch.no_grad()
def assert_same_function(converted: nn.Module, model: nn.Module, x: torch.Tensor) -> None:
    """Within 1e-5, of the largest logit where logits are large: float32 itself is no finer there."""
    expected = model(x)
    torch.testing.assert_close(converted(x), expected, atol=1e-5 * max(1.0, expected.abs().max().item()), rtol=0)


@pytest.mark.parametrize("operator", OPERATORS)
def test_everything_convolutional_in_ones_own_network(operator):
    model = Small()
    converted = convert(model, "*", operator)
    kind = OPERATORS[operator]
    assert [r.name for r in converted.conversion.replacements] == ["stem", "a", "down"]
    assert all(isinstance(converted.get_submodule(name), kind) for name in ("stem", "a", "b", "down"))
    assert converted.a is converted.b
    assert isinstance(model.stem, nn.Conv2d), "the original was changed"
    assert converted(torch.randn(2, 3, 9, 9)).shape == (2, 5)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    ("name", "where", "where_args"),
    [
        ("shufflenet_v2_x0_5", "last-pointwise", {}),
        ("mobilenet_v2_0.35", "pointwise", {}),
        ("mobilenet_v3_small_0.75", "*.0", {}),
        ("mobilenetv4_conv_small", "last-pointwise", {}),
    ],
)
def test_preserve_is_the_default_and_keeps_the_function(operator, name, where, where_args):
    model = trained(create_model(name, seed=1, **SMALL))
    converted = convert(model, where, operator, where_args=where_args, input_shape=(3, 32, 32))
    assert converted.conversion.init == "preserve"
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    assert_same_function(converted, model, x)


@pytest.mark.parametrize("generator", ["experts", "grouped"])
@pytest.mark.parametrize("regions", [1, 3])
@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("shufflenet_v2_x0_5", "released"),
        ("shufflenet_v2_x0_5", "pointwise"),
        ("mobilenet_v1_0.25", "pointwise"),
        ("mobilenet_v2_0.35", "last-pointwise"),
        ("mobilenet_v3_small_0.75", "pointwise"),
    ],
)
def test_preserve_keeps_the_function_with_a_shared_guide(name, where, generator, regions):
    model = trained(create_model(name, seed=1, **SMALL))
    args = {} if where == "released" else {"guide": "block"}
    converted = convert(model, where, regions=regions, where_args=args, generator=generator, input_shape=(3, 32, 32))
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    assert_same_function(converted, model, x)


class Uncounted(nn.BatchNorm2d):
    """A user's own normalisation, which never counts its batches."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return nn.functional.batch_norm(input, None, None, self.weight, self.bias, True)


def frozen(channels: int) -> nn.Module:
    norm = FrozenBatchNorm2d(channels)
    norm.running_mean.add_(0.1)
    return norm


NORMS = {
    "group": lambda channels: nn.GroupNorm(4, channels),
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "layer2d": LayerNorm2d,
    "instance": nn.InstanceNorm2d,
    "frozen batch": frozen,
    "batch": nn.BatchNorm2d,
    "batch without statistics": lambda channels: nn.BatchNorm2d(channels, track_running_stats=False),
    "batch of one's own": Uncounted,
    "none": lambda channels: nn.Identity(),
}


@pytest.mark.parametrize("norm", NORMS)
def test_training_is_kept_whatever_the_normalisation(norm):
    """A network learns a task; converted with the defaults it still does the task, layer for layer."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        NORMS[norm](16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 2),
    )
    x = torch.randn(64, 3, 8, 8)
    y = (x[:, 0].std((1, 2)) > x[:, 0].std((1, 2)).median()).long()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    converted = convert(model.eval(), ["0", "3"], regions=4)
    assert converted.conversion.init == "preserve"
    with torch.no_grad():
        assert (model(x).argmax(1) == y).float().mean() > 0.9
        torch.testing.assert_close(converted(x), model(x), atol=1e-4, rtol=1e-4)


def test_fresh_has_to_be_asked_for():
    model = Small()
    weight = model.down.weight.flatten(1)
    kept, drawn = (convert(model, "down", init=init, regions=1, experts=1) for init in ("preserve", "fresh"))
    assert drawn.conversion.init == "fresh"
    assert torch.allclose(kept.down.generator.bank[0], weight)
    assert not torch.allclose(drawn.down.generator.bank[0], weight)


def test_says_what_it_replaced():
    conversion = convert(Small(), ["down", "st*"], regions=4, experts=2).conversion
    assert [(r.name, r.replaced) for r in conversion.replacements] == [
        ("stem", "Conv2d 3x3, 3 -> 8"),
        ("down", "Conv2d 3x3, 8 -> 12, stride 2x2, groups 4"),
    ]
    assert conversion.operator == "drconv"
    assert conversion.operator_args == {"regions": 4, "experts": 2}
    assert conversion.where == ("down", "st*")


def test_layers_keep_device_dtype_and_mode():
    model = Small().double().eval()
    converted = convert(model, "down")
    assert {p.dtype for p in converted.parameters()} == {torch.float64}
    assert not converted.down.training
    assert not any(module.training for module in converted.modules())


def test_a_network_without_data_is_converted_without_data():
    on_meta = convert(Small().to("meta"), "*")
    assert {p.device.type for p in on_meta.parameters()} == {"meta"}


def test_conversion_disturbs_neither_statistics_nor_the_random_state():
    model = Small().train()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    convert(model, "down", inplace=True, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items() if name in before)


def test_a_seed_draws_a_layer_the_same_whatever_else_is_replaced():
    model = Small()
    one, other = convert(model, "down", seed=5), convert(model, "*", seed=5)
    assert all(torch.equal(v, other.down.state_dict()[k]) for k, v in one.down.state_dict().items())
    of_numpy = convert(model, "down", seed=np.int64(5))
    assert torch.equal(of_numpy.down.generator.bank, one.down.generator.bank)
    again = convert(model, "down", seed=6)
    assert not torch.equal(again.down.generator.bank, one.down.generator.bank)


def test_inplace_changes_the_model_itself_and_failure_leaves_it_alone():
    class Wrong(nn.Conv2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input)[..., :-1]

    model = Small()
    down, names = model.down, list(model.state_dict())
    with pytest.raises(InputError, match=r"Wrong' in place of 'stem' gives \(1, 8, 64, 63\), not \(1, 8, 64, 64\)"):
        convert(model, "*", Wrong, init="fresh", inplace=True)
    assert model.down is down
    assert model.a is model.b
    assert list(model.state_dict()) == names
    assert convert(model, "down", inplace=True) is model
    assert isinstance(model.down, DRConv2d)


def test_failure_with_a_shared_guide_leaves_the_model_alone():
    model = create_model("shufflenet_v2_x0_5", **SMALL)
    names, kinds = list(model.state_dict()), [type(module) for module in model.modules()]
    with pytest.raises(InputError, match=r"takes no guide from outside; use guide='own'"):
        convert(model, operator="fixed-grid", where_args={"guide": "block"}, inplace=True, input_shape=(3, 32, 32))
    assert list(model.state_dict()) == names
    assert [type(module) for module in model.modules()] == kinds


def test_the_network_may_be_one_convolution():
    model = convert(nn.Conv2d(3, 4, 3, padding=1), "*")
    assert isinstance(model, DRConv2d)
    assert model.conversion.replacements[0].name == ""


def test_an_operator_of_ones_own_needs_nothing_but_conv2ds_call(tmp_path, monkeypatch):
    (tmp_path / "own_operator.py").write_text(
        "from torch import nn\n\n\nclass Own(nn.Conv2d):\n"
        "    def __init__(self, *args, gain=1.0, **kwargs):\n"
        "        super().__init__(*args, **kwargs)\n        self.gain = gain\n\n"
        "    def forward(self, x):\n        return self.gain * super().forward(x)\n"
    )
    monkeypatch.chdir(tmp_path)
    model = create_model("shufflenet_v2_x0_5", operator="own_operator:Own", gain=2.0, **SMALL)
    assert type(model.stage2[0].branch2[5]).__name__ == "Own"
    assert model.stage2[0].branch2[5].gain == 2.0
    assert list(model.variant.sources) == ["own_operator:Own"]
    with pytest.raises(
        InputError, match=r"^init: got 'preserve'; expected 'fresh', because operator 'own_operator:Own'"
    ):
        convert(Small(), "down", "own_operator:Own")


@pytest.mark.parametrize("skip", ["error", "skip"])
def test_every_pattern_of_a_list_has_to_match(skip):
    with pytest.raises(InputError, match=r"^where: no convolution matches 'dwon'\. Candidates: stem, a, down\."):
        convert(Small(), ["stem", "dwon"], unsuitable=skip)
    with pytest.raises(InputError, match=r"^where: 'norm' is a .*BatchNorm2d, not a convolution"):
        convert(Small(), ["stem", "norm"], unsuitable=skip)
    with pytest.raises(InputError, match=r"^where: all convolutions that match 'stem' are converted already"):
        convert(convert(Small(), "stem"), ["stem", "down"], unsuitable=skip)


FAMILIES = {
    "efficientnet": (lambda: timm.create_model("test_efficientnet"), 17, 0),
    "nfnet": (lambda: timm.create_model("test_nfnet"), 8, 25),  # the others standardise their weights
    "convnext": (lambda: timm.create_model("test_convnext"), 13, 0),
    "regnet": (lambda: timm.create_model("test_byobnet"), 22, 0),
    "tensorflow": (lambda: timm.create_model("tf_mobilenetv3_small_minimal_100"), 30, 5),  # the others pad by size
    "edgenext": (lambda: timm.create_model("edgenext_xx_small"), 19, 1),  # the other's weight is read
    "squeezenet": (torchvision.models.squeezenet1_1, 26, 0),
    "frozen batch norm": (
        lambda: torchvision.models.mobilenet_v2(width_mult=0.35, norm_layer=FrozenBatchNorm2d),
        52,
        0,
    ),
}


@pytest.mark.filterwarnings("ignore:.*one output position")
@pytest.mark.parametrize("family", FAMILIES)
def test_networks_of_every_family_keep_their_function(family):
    make, replaced, skipped = FAMILIES[family]
    torch.manual_seed(0)
    model = make().eval()
    generator = torch.Generator().manual_seed(1)
    for name, buffer in model.named_buffers():  # as training leaves them
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.1)
    converted = convert(model, "*", regions=2, experts=2, unsuitable="skip", input_shape=(3, 64, 64))
    conversion = converted.conversion
    assert (len(conversion.replacements), len(conversion.skipped)) == (replaced, skipped)
    assert (conversion.init, conversion.convolutions) == ("preserve", replaced + skipped)
    x = torch.rand(1, 3, 64, 64, generator=generator)
    with torch.no_grad():
        expected = model(x)
        assert (converted(x) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_condconv_and_drconv_share_what_is_not_converted():
    one = create_model("shufflenet_v2_x0_5", operator="drconv", seed=4, **SMALL)
    other = create_model("shufflenet_v2_x0_5", operator="condconv", seed=4, **SMALL)
    plain = create_model("shufflenet_v2_x0_5", seed=4, **SMALL)
    assert isinstance(other.stage2[0].branch2[5], CondConv2d)
    ours, theirs, reference = one.state_dict(), other.state_dict(), plain.state_dict()
    kept = set(ours) & set(theirs) & set(reference)
    assert len(kept) == len(reference) - 16
    assert all(torch.equal(ours[k], reference[k]) and torch.equal(theirs[k], reference[k]) for k in kept)
