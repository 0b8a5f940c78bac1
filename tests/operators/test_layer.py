"""Every operator of the registry next to nn.Conv2d: what code around a network reads, traces, watches and replaces."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch import fx, nn
from torch.ao.quantization import quantize_dynamic
from torch.nn.utils import fuse_conv_bn_eval, parametrize, prune
from torchvision.models import shufflenet_v2_x0_5
from torchvision.models.feature_extraction import create_feature_extractor

from drbench.errors import InputError
from drbench.operators import OPERATORS, DRConv2d
from drbench.operators.generators import GENERATORS

# the peer, nn.Conv2d, says this of even kernels
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")

ATTRIBUTES = [name for name in vars(nn.Conv2d(1, 1, 1)) if not name.startswith("_")]
ATTRIBUTES += ["_reversed_padding_repeated_twice"]
KINDS = [(name, {}) for name in OPERATORS] + [("drconv", {"generator": "grouped"}), ("drconv", {"regions": 1})]
ARGUMENTS = [
    {"kernel_size": 1},
    {"kernel_size": [3], "stride": (2, 1), "padding": 1, "dilation": 2, "groups": 2, "padding_mode": "reflect"},
    {"kernel_size": (2, 3), "padding": "same", "padding_mode": "circular", "bias": False},
    {"kernel_size": 3, "padding": "valid"},
    {"kernel_size": (3, 1), "padding": (1, 0), "groups": 4},
]


@pytest.fixture(params=KINDS, ids=str)
def build(request):
    name, own = request.param
    return lambda *args, **kwargs: OPERATORS[name](*args, **own, **kwargs)


class Adapter(nn.Module):
    """As a LoRA layer: the base layer's weight is readable, and calling it adds something."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.scale = nn.Parameter(torch.ones(()))

    @property
    def weight(self) -> torch.Tensor:
        return self.base.weight

    @property
    def bias(self) -> torch.Tensor:
        return self.base.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + self.scale * x.flatten(1).sum(1).view(-1, *[1] * (self.base(x).dim() - 1))


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_attributes_are_those_of_conv2d(build, arguments):
    assert {"kernel_size", "padding", "transposed", "output_padding", "training"} <= set(ATTRIBUTES)
    if arguments["kernel_size"] == [3]:
        arguments = arguments | {"kernel_size": [3, 3]}
    conv, layer = nn.Conv2d(4, 8, **arguments), build(4, 8, **arguments)
    for name in ATTRIBUTES:
        got, expected = getattr(layer, name), getattr(conv, name)
        assert (type(got), got) == (type(expected), expected), name
    assert (layer.bias is None) == (conv.bias is None)
    assert layer.filter_shape == tuple(conv.weight.shape)
    shown = conv.extra_repr()
    assert layer.extra_repr().startswith(shown + ", ")
    assert "experts=" in layer.extra_repr() or "regions=" in layer.extra_repr()


def test_a_bias_is_conv2ds_where_all_positions_share_it():
    for name in ("drconv", "fixed-grid", "random-guide"):
        assert OPERATORS[name](4, 8, 3).bias.shape == (8,)
        assert "bias" in OPERATORS[name](4, 8, 3, bias=False)._parameters
    assert OPERATORS["condconv"](4, 8, 3, experts=5).bias.shape == (5, 8)


def test_reading_the_weight_says_what_there_is_instead(build):
    layer = build(4, 8, 3)
    assert not hasattr(layer, "weight")
    assert getattr(layer, "weight", None) is None
    with pytest.raises(AttributeError, match=r"^weight: \w+Conv2d has none, [^\n]* from [^\n]*; use those") as raised:
        layer.weight.data.normal_()
    names = str(raised.value).split(" from ")[1].split(";")[0].split(", ")
    assert set(names) <= set(dict(layer.named_parameters()))
    with pytest.raises(AttributeError, match=r"^weight: "):
        fuse_conv_bn_eval(layer.eval(), nn.BatchNorm2d(8).eval())
    with pytest.raises(AttributeError, match=r"^weight: "):
        prune.l1_unstructured(layer, "weight", amount=0.5)
    with pytest.raises(AttributeError, match=r"has no attribute 'wait'"):
        _ = layer.wait


def test_a_network_with_it_traces_and_gives_features(build):
    network = shufflenet_v2_x0_5()
    network.stage2[1].branch2[0] = build(24, 24, 1)
    network.eval()
    x = torch.randn(2, 3, 32, 32)
    traced = fx.symbolic_trace(network)
    torch.testing.assert_close(traced(x), network(x))
    assert isinstance(traced.get_submodule("stage2.1.branch2.0"), nn.Module)
    found = create_feature_extractor(network, {"stage2.1.branch2.0": "made", "stage2": "after"})(x)
    assert found["made"].shape == (2, 24, 4, 4)
    torch.testing.assert_close(found["after"], network.stage2(network.maxpool(network.conv1(x))))


def test_alone_it_traces_too(build):
    layer, x = build(4, 8, 3), torch.randn(2, 4, 6, 6)
    traced = fx.symbolic_trace(layer)
    torch.testing.assert_close(traced(x), layer(x))
    torch.testing.assert_close(copy.deepcopy(traced)(x), layer(x))


@pytest.mark.parametrize("grad", [True, False])
def test_every_submodule_is_called(build, grad):
    layer, x = build(4, 8, 3, padding=1), torch.randn(2, 4, 6, 6)
    children = {name: module for name, module in layer.named_modules() if name}
    fired = dict.fromkeys(children, 0)
    for name, module in children.items():
        module.register_forward_hook(lambda *_, name=name: fired.update({name: fired[name] + 1}))
    with torch.set_grad_enabled(grad):
        layer(x)
    assert fired == dict.fromkeys(children, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_adapter_in_a_submodules_place_works_and_learns(build, dtype):
    layer, x = build(4, 8, 3, padding=1, dtype=dtype), torch.randn(2, 4, 6, 6).to(dtype)
    owner = layer.get_submodule("generator") if hasattr(layer, "generator") else layer
    before = layer(x)
    owner.routing = Adapter(owner.routing).to(dtype)
    with torch.no_grad():
        assert not torch.equal(layer(x), before)
    layer(x).float().square().sum().backward()
    assert owner.routing.scale.grad is not None
    assert owner.routing.scale.grad != 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*quantiz")
def test_dynamic_quantization_replaces_what_is_linear(build):
    layer, x = build(4, 8, 3).eval(), torch.randn(2, 4, 6, 6)
    quantized = quantize_dynamic(layer, {nn.Linear})
    torch.testing.assert_close(quantized(x), layer(x), atol=0.1, rtol=0.1)


@pytest.mark.parametrize("grad", [True, False])
def test_parametrized_parameters_count(build, grad):
    layer, x = build(4, 8, 3, bias=False), torch.randn(2, 4, 6, 6)

    class Zero(nn.Module):
        def forward(self, value: torch.Tensor) -> torch.Tensor:
            return value * 0

    parameters = [*layer.named_parameters()]
    with torch.set_grad_enabled(grad):
        for name, _ in parameters:
            owner, _, own = name.rpartition(".")
            parametrize.register_parametrization(layer.get_submodule(owner), own, Zero())
        assert not layer(x).any()


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("arguments", ARGUMENTS[2:])
def test_no_images_give_none(build, grad, arguments):
    layer, conv = build(4, 8, **arguments), nn.Conv2d(4, 8, **arguments)
    x = torch.randn(0, 4, 8, 8, requires_grad=True)
    with torch.set_grad_enabled(grad):
        y = layer(x)
    assert y.shape == conv(x).shape
    if grad:
        y.sum().backward()
        assert x.grad.shape == x.shape
        assert all(p.grad is not None and not p.grad.any() for p in layer.parameters() if p.requires_grad)


def test_a_guide_for_no_images():
    layer = DRConv2d(4, 8, 3, own_guide=False, regions=5)
    for guide in (torch.zeros(0, 5, 3, 3), torch.zeros(0, 3, 3, dtype=torch.long)):
        assert layer(torch.zeros(0, 4, 8, 8), guide).shape == (0, 8, 6, 6)
        assert layer.regions_of(torch.zeros(0, 4, 8, 8), guide).shape == (0, 6, 6)


def test_state_survives(build):
    layer, x = build(4, 8, 3, padding=1), torch.randn(2, 4, 6, 6)
    layer.register_buffer("calls", torch.zeros(1))
    layer.register_forward_hook(_count)
    for parameter in layer.parameters():
        parameter.requires_grad_(False)
    layer.eval()
    layer.preserve_(nn.Conv2d(4, 8, 3, padding=1))
    layer.reset_parameters()
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(other(x), layer(x))
        assert not other.training
        assert not any(p.requires_grad for p in other.parameters())
        assert other.calls == 1
        other.calls -= 1
        layer.calls -= 1
        assert repr(other) == repr(layer)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    again = build(4, 8, 3, padding=1)
    again.register_buffer("calls", torch.zeros(1))
    again.load_state_dict(torch.load(file, weights_only=True))
    torch.testing.assert_close(again(x), layer(x))


def _count(module: nn.Module, _: object, __: object) -> None:
    module.calls += 1


def test_memory_format_and_dtype_follow(build):
    layer, x = build(4, 8, 3), torch.randn(2, 4, 6, 6)
    expected = layer(x)
    last = layer.to(memory_format=torch.channels_last)
    y = last(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(y, expected)
    assert layer.double()(x.double()).dtype == torch.float64


@pytest.mark.parametrize(("given", "own"), [("float64", "float32"), ("float32", "float64"), ("uint8", "float32")])
def test_another_dtype_is_named_as_the_user_knows_it(build, given, own):
    layer = build(3, 4, 3, dtype=getattr(torch, own))
    with pytest.raises(InputError, match=rf"^input: got {given}; expected the layer's {own}\. [^\n]*$"):
        layer(torch.zeros(1, 3, 8, 8, dtype=getattr(torch, given)))


@pytest.mark.parametrize("wrong", [None, "x", 3, [[1.0]], torch.zeros(3), torch.zeros(1, 5, 8, 8)])
def test_wrong_inputs_are_one_line(build, wrong):
    with pytest.raises(InputError, match=r"^input: got [^\n]*; expected a tensor \(N, 3, H, W\)"):
        build(3, 4, 3)(wrong)


@pytest.mark.parametrize("x", [torch.zeros(1, 3, 8, 8), torch.zeros(3, 8, 8)])
def test_a_guide_that_is_no_tensor_is_one_line(x):
    for wrong in ("x", 3, [[1]]):
        with pytest.raises(InputError, match=r"^guide: got a \w+; expected a tensor or None$"):
            DRConv2d(3, 4, 3)(x, wrong)


NOT_NUMBERS = (None, "3", True, float("nan"), 1.5, -1, 0, 10**30, 10**5000, 10**9, [10**5000], {}, torch.tensor(3))


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(
    "argument", ["in_channels", "out_channels", "kernel_size", "stride", "dilation", "groups", "experts"]
)
def test_wrong_numbers_are_one_line_and_nothing_is_allocated(name, argument):
    for wrong in NOT_NUMBERS:
        arguments = {"in_channels": 4, "out_channels": 8, "kernel_size": 3} | {argument: wrong}
        with pytest.raises(InputError, match=rf"^{argument}: got [^\n]{{1,200}}$"):
            OPERATORS[name](**arguments)


@pytest.mark.parametrize("name", ["drconv", "fixed-grid", "random-guide"])
def test_wrong_regions_are_one_line_and_nothing_is_allocated(name):
    for wrong in NOT_NUMBERS:
        with pytest.raises(InputError, match=r"^regions: got [^\n]{1,200}$"):
            OPERATORS[name](4, 8, 3, regions=wrong)
    for wrong in (None, 3, ["experts"], {}, "mixed", "x" * 10**5):
        with pytest.raises(InputError, match=r"^(generator|initialisation): got [^\n]{1,200}$"):
            OPERATORS[name](4, 8, 3, generator=wrong)
        with pytest.raises(InputError, match=r"^initialisation: got [^\n]{1,200}$"):
            OPERATORS[name](4, 8, 3, initialisation=wrong)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"bias": "no"}, "bias"),
        ({"bias": None}, "bias"),
        ({"padding": "full"}, "padding"),
        ({"padding": None}, "padding"),
        ({"padding": 10**10}, "padding"),
        ({"padding_mode": ["zeros"]}, "padding_mode"),
        ({"padding_mode": None}, "padding_mode"),
        ({"device": "gpu"}, "device"),
        ({"dtype": torch.int64}, "dtype"),
        ({"dtype": "float32"}, "dtype"),
        ({"in_channels": 2**20, "out_channels": 2**20}, "experts"),
        ({"kernel_size": 60_000}, "experts"),
    ],
)
def test_other_wrong_arguments_are_one_line(name, arguments, named):
    arguments = {"in_channels": 4, "out_channels": 8, "kernel_size": 3} | arguments
    with pytest.raises(InputError, match=rf"^{named}: got [^\n]{{1,250}}$"):
        OPERATORS[name](**arguments)


@pytest.mark.parametrize("generator", GENERATORS)
def test_more_parameters_than_any_memory_holds_are_refused(generator):
    with pytest.raises(InputError, match=r"^(experts|regions): got [^\n]* = [0-9,]+ parameters; expected at most"):
        DRConv2d(2**14, 2**14, 3, generator=generator)


@pytest.mark.parametrize("name", OPERATORS)
def test_preserve_refuses_what_is_no_convolution(name):
    for wrong in (None, nn.Linear(4, 8)):
        with pytest.raises(InputError, match=r"^conv: got a \w+; expected a torch\.nn\.Conv2d"):
            OPERATORS[name](4, 8, 3).preserve_(wrong)


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.parametrize("arguments", ARGUMENTS[1:3])
def test_a_script_and_a_trace_are_the_layer_for_any_number_and_size_of_images(build, arguments, how):
    network = nn.Sequential(nn.Conv2d(4, 4, 1), build(4, 8, **arguments | {"kernel_size": (2, 3)}))
    made = torch.jit.script(network) if how == "script" else torch.jit.trace(network, (torch.randn(2, 4, 7, 7),))
    file = io.BytesIO()
    torch.jit.save(made, file)
    file.seek(0)
    again = torch.jit.load(file)
    x = torch.randn(3, 4, 12, 10)
    torch.testing.assert_close(again(x), network(x))
    if how == "script":
        torch.testing.assert_close(again(x[0]), network(x[0]))
    again(x).square().sum().backward()
    network(x).square().sum().backward()
    gradients = dict(again.named_parameters())
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(gradients[name].grad, parameter.grad, rtol=1e-3, atol=1e-3, msg=name)
    assert isinstance(network[1], nn.Module)
    assert not isinstance(network[1], torch.jit.ScriptModule), "the network itself was changed"
