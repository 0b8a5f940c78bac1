"""Multiply-adds against other counters on plain networks, and against formulas written out here."""

import copy

import pytest
import timm
import torch
import torchvision
from drbench_kernels import native
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from drbench import trial
from drbench.errors import InputError
from drbench.measure.cost import count
from drbench.models import convert, create_model
from drbench.operators import OPERATORS

PLAIN = {
    "mobilenet_v2": torchvision.models.mobilenet_v2,
    "mobilenet_v3_small": torchvision.models.mobilenet_v3_small,
    "shufflenet_v2_x0_5": torchvision.models.shufflenet_v2_x0_5,
    "mobilenetv4_conv_small": lambda: timm.create_model("mobilenetv4_conv_small"),
}
SHAPE = (3, 64, 64)
SHAPE3 = (3, 8, 8)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_networks_against_torch(name):
    model = PLAIN[name]().eval()
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        model(torch.zeros(1, *SHAPE))
    cost = count(model, SHAPE)
    assert 2 * cost.madds == flops.get_total_flops()
    assert cost.executed == cost.madds
    assert cost.params == sum(p.numel() for p in model.parameters())
    assert cost.uncounted == cost.undeclared == ()
    assert cost.parts == {}


@pytest.mark.filterwarnings("ignore")  # fvcore traces with torch.jit
@pytest.mark.parametrize("name", PLAIN)
def test_plain_networks_against_fvcore(name):
    fvcore = pytest.importorskip("fvcore.nn")
    model = PLAIN[name]().eval()
    images = torch.zeros(1, *SHAPE)
    theirs = fvcore.FlopCountAnalysis(model, images).unsupported_ops_warnings(False).by_operator()
    cost = count(model, SHAPE)
    assert cost.madds == theirs["conv"] + theirs["linear"]  # it also counts batch_norm and pooling
    activations = fvcore.ActivationCountAnalysis(model, images).unsupported_ops_warnings(False)
    assert cost.activations == activations.total()


# Operators


def test_drconv_with_experts_by_formula():
    layer = OPERATORS["drconv"](48, 64, 3, padding=1, stride=2, groups=2, regions=8, experts=4, guide_kernel_size=1)
    places, filter_size = 14 * 14, 64 * 24 * 9
    cost = count(nn.Sequential(layer), (48, 28, 28))
    assert cost.parts == {
        "region_conv": places * filter_size,
        "guide": places * 48 * 8,
        "routing": 48 * 8 * 4,
        "mixing": 8 * 4 * filter_size,
    }
    assert cost.madds == sum(cost.parts.values())
    (row,) = cost.layers
    assert (row.name, row.kind, row.output_shape) == ("0", "DRConv2d", (1, 64, 14, 14))
    assert row.parts == cost.parts
    assert row.params == cost.params == sum(p.numel() for p in layer.parameters())


def test_drconv_grouped_as_in_the_design():
    cost = count(OPERATORS["drconv"](48, 48, 1, regions=8, generator="grouped"), (48, 14, 14))
    assert (cost.parts["routing"], cost.parts["mixing"]) == (3_072, 147_456)
    assert cost.executed == cost.madds  # this generator has one path only


@pytest.mark.parametrize(("size", "products"), [(2, 8 * 4), (56, 56 * 56 + 8 * 8)])
def test_executed_is_that_of_the_path(size, products):
    """Few places: each through all K experts. Many: mix m filters from K experts, then one filter per place.

    In float64: the native kernels, where they run, always mix.
    """
    layer = OPERATORS["drconv"](48, 48, 1, regions=8, experts=8, dtype=torch.float64)
    cost = count(layer, (48, size, size))
    assert cost.executed == products * 48 * 48 + size * size * 48 * 8 + 48 * 8 * 8
    assert cost.madds == (size * size + 64) * 48 * 48 + size * size * 48 * 8 + 48 * 8 * 8


@pytest.mark.parametrize(
    ("where", "where_args", "millions"),
    [("last-pointwise", {}, 45.57), ("last-pointwise", {"guide": "block"}, 46.36), ("released", {}, 50.10)],
)
def test_worked_example(where, where_args, millions):
    model = create_model("shufflenet_v2_x0_5", operator="drconv", where=where, where_args=where_args)
    cost = count(model, (3, 224, 224))
    assert round(cost.madds / 1e6, 2) == millions
    if where == "released":
        assert round(cost.params / 1e6, 2) == 2.29
        parts = {part: round(madds / 1e6, 2) for part, madds in cost.parts.items()}
        assert (parts["mixing"], parts["guide"], parts["routing"]) == (7.37, 2.15, 0.11)


@pytest.mark.skipif(not native.ready(), reason="no native kernels")
@pytest.mark.parametrize("size", [2, 56])
def test_the_native_kernels_execute_what_the_convention_counts(size):
    cost = count(OPERATORS["drconv"](48, 48, 1, regions=8, experts=8), (48, size, size))
    assert cost.executed == cost.madds


def test_columns_sum_to_the_totals():
    cost = count(create_model("shufflenet_v2_x0_5", operator="drconv", num_classes=10), SHAPE)
    assert cost.madds == sum(layer.madds for layer in cost.layers)
    assert cost.executed == sum(layer.executed for layer in cost.layers)
    assert cost.params == sum(layer.params for layer in cost.layers)
    for part, madds in cost.parts.items():
        assert madds == sum(layer.parts.get(part, 0) for layer in cost.layers)


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_declares_its_cost(name):
    model = convert(nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 1)), "1", name, input_shape=SHAPE4)
    cost = count(model, SHAPE4)
    assert cost.undeclared == cost.uncounted == ()
    assert cost.madds is not None
    assert cost.madds > 0


SHAPE4 = (4, 8, 8)


class Undeclared(nn.Module):
    """A user's operator without a cost: half of the outputs by a convolution, twice."""

    def __init__(self, in_channels, out_channels, kernel_size, **conv) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels // 2, kernel_size, **conv)

    def forward(self, x):
        y = self.conv(x)
        return torch.cat([y, y], 1)


def test_undeclared_operator_has_executed_multiply_adds_only():
    plain = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 1))
    cost = count(convert(plain, "1", Undeclared, init="fresh", input_shape=SHAPE4), SHAPE4)
    assert cost.undeclared == ("1",)
    assert cost.madds is None
    assert [layer.madds for layer in cost.layers] == [64 * 8 * 36, None]
    assert cost.executed == 64 * 8 * 36 + 64 * 4 * 8


def test_operator_made_of_torch_modules_is_counted():
    def separable(in_channels, out_channels, kernel_size, groups, **conv):
        depthwise = nn.Conv2d(in_channels, in_channels, 1, groups=in_channels)
        return nn.Sequential(depthwise, nn.Conv2d(in_channels, out_channels, kernel_size, **conv))

    plain = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.Conv2d(8, 8, 1))
    cost = count(convert(plain, "1", separable, init="fresh", input_shape=SHAPE4), SHAPE4)
    assert cost.undeclared == ()
    assert cost.madds == 64 * 8 * 36 + 64 * 8 + 64 * 64


class Declared(nn.Module):
    """Declares 7 per place, whatever it runs."""

    def __init__(self, answer=None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.answer = answer

    def cost(self, input_shape):
        return self.answer or {"mine": 7 * input_shape[1] * input_shape[2]}

    def forward(self, x):
        return self.conv(x)


class Windows(nn.Module):
    """Folds quarters of the image into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Declared()

    def forward(self, x):
        return self.inner(torch.cat([half for part in x.chunk(2, 2) for half in part.chunk(2, 3)]))


def test_declared_cost_replaces_what_runs_and_scales_with_the_samples():
    cost = count(Windows(), SHAPE4)
    assert cost.parts == {"mine": 7 * 64}
    assert cost.madds == 7 * 64
    assert cost.executed == 64 * 16


@pytest.mark.parametrize("answer", [[3], {"mine": -1}, {"mine": 1.5}, {"mine": "x"}])
def test_nonsense_declared_is_refused(answer):
    with pytest.raises(InputError, match=r"Declared\.cost\(\(4, 8, 8\)\): got .*; expected .* whole numbers"):
        count(Declared(answer), SHAPE4)


# What is not counted is named


class Deformable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 4, 3, 3))

    def forward(self, x):
        return torchvision.ops.deform_conv2d(x, x.new_zeros(len(x), 18, 6, 6), self.weight)


class ByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 4))

    def forward(self, x):
        return (x[:, None] * self.weight[None, :, :, None, None]).sum(2)


def test_uncounted_modules_are_named():
    assert count(nn.Sequential(Deformable()), SHAPE4).uncounted == ("0 (torchvision.deform_conv2d)",)
    (only,) = count(nn.Sequential(ByHand(), nn.Conv2d(8, 8, 1)), SHAPE4).uncounted
    assert only.startswith("0 (ByHand")


class Table(nn.Module):
    """Adds entries of a table, as biases of relative positions are; scales by a vector; normalises."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.scale = nn.Parameter(torch.randn(8, 8)), nn.Parameter(torch.randn(8))
        self.norm, self.embedding = nn.LayerNorm((8, 8)), nn.Embedding(8, 8)

    def forward(self, x):
        return self.norm((x + self.table[torch.arange(8)]) * self.scale) + self.embedding(torch.arange(8))


def test_tables_and_norms_are_not_called_uncounted():
    assert count(Table(), SHAPE4).uncounted == ()


# The model is left as it was


class Caching(nn.Module):
    """Keeps a tensor that it made in forward, as position encodings do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.5)
        self.grid = None

    def forward(self, x):
        if self.grid is None:
            self.grid = torch.ones_like(x)
        return self.dropout(self.norm(self.conv(x) + self.grid))


class DataDependent(Caching):
    def forward(self, x):
        return super().forward(x) if x.sum().item() < 1e9 else x


@pytest.mark.parametrize("kind", [Caching, DataDependent])
def test_model_is_left_as_it_was(kind):
    model = kind().train()
    model.norm.eval()
    before = copy.deepcopy(model.state_dict())
    numbers = torch.random.get_rng_state()
    mkldnn = torch.backends.mkldnn.enabled
    assert count(model, SHAPE4).madds == 64 * 16
    assert torch.equal(torch.random.get_rng_state(), numbers)
    assert torch.backends.mkldnn.enabled == mkldnn
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.is_grad_enabled()
    assert (model.training, model.norm.training, model.dropout.training) == (True, False, True)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert type(model(torch.rand(2, *SHAPE4))) is torch.Tensor


def test_shared_module_multiplies_twice_and_holds_its_parameters_once():
    conv = nn.Conv2d(4, 4, 1)
    cost = count(nn.Sequential(conv, conv), SHAPE4)
    assert (cost.madds, cost.params) == (2 * 64 * 16, 20)


def test_size_costs_nothing():
    """Real tensors of this size would not fit anywhere."""
    assert count(nn.Conv2d(3, 64, 3, padding=1), (3, 100_000, 100_000)).madds == 10**10 * 64 * 27


def test_compiled_model_keeps_its_names():
    cost = count(torch.compile(nn.Sequential(nn.Conv2d(4, 4, 1))), SHAPE4)
    assert [layer.name for layer in cost.layers] == ["0"]


# Wrong input


@pytest.mark.parametrize("shape", [(3, 8), (3, 8, 0), (1, 3, 8, 8), 224, "3,8,8", (3, 8.0, 8), (True, 8, 8)])
def test_wrong_input_shape(shape):
    with pytest.raises(InputError, match="three positive numbers"):
        count(nn.Conv2d(3, 3, 1), shape)


def test_what_is_no_network_is_refused():
    with pytest.raises(InputError, match=r"^model: got a str; expected a torch.nn.Module"):
        count("resnet50", SHAPE)


def test_a_size_is_given_or_the_networks_own():
    with pytest.raises(InputError, match=r"^input_shape: got none, and Conv2d has no default; expected .* or inputs="):
        count(nn.Conv2d(3, 3, 1))
    with pytest.raises(InputError, match=r"^inputs: got both"):
        count(nn.Conv2d(3, 3, 1), SHAPE, inputs=torch.zeros(1, *SHAPE))
    model = timm.create_model("test_byobnet.r160_in1k")
    assert count(model) == count(model, (3, 160, 160))


class Two(nn.Module):
    """Two inputs; plain tensors that are no buffers, in an attribute, a list and an object."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        self.scales = [torch.ones(1), {"half": torch.full((1,), 0.5)}]
        self.holder = type("Holder", (), {})()
        self.holder.tensor = torch.ones(1)

    def forward(self, x, other=None):
        x = self.conv((x - self.mean) * self.scales[1]["half"] * self.holder.tensor)
        return x if other is None else x + other["bias"]


@pytest.mark.parametrize(
    "inputs",
    [
        torch.zeros(1, *SHAPE3),
        (torch.zeros(1, *SHAPE3), {"bias": torch.ones(1)}),
        {"x": torch.zeros(1, *SHAPE3), "other": {"bias": torch.ones(1)}},
        lambda: (torch.zeros(1, *SHAPE3), {"bias": torch.ones(1)}),
    ],
)
def test_any_inputs(inputs, capfd):
    assert count(Two(), inputs=inputs).madds == 36 * 8 * 27 == 7776
    assert capfd.readouterr() == ("", "")


def test_inputs_that_fail_are_one_line(capfd):
    with pytest.raises(InputError, match=r"^Two fails on inputs \(1x4x8x8\): RuntimeError") as caught:
        count(Two(), inputs=torch.zeros(1, *SHAPE4))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_lazy_layers_stay_lazy(capfd):
    model = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d())
    assert [count(model, SHAPE3).madds for _ in range(2)] == [7776, 7776]
    assert (type(model[0]), type(model[1])) == (nn.LazyConv2d, nn.LazyBatchNorm2d)
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated")
def test_compiled_scripted_and_parallel_parts():
    for wrap in (nn.DataParallel, torch.jit.script, torch.compile):
        assert count(nn.Sequential(wrap(nn.Conv2d(3, 8, 3))), SHAPE3).madds == 7776
        assert count(wrap(nn.Conv2d(3, 8, 3)), SHAPE3).madds == 7776


@pytest.mark.filterwarnings("ignore:.*TorchScript")
def test_a_detector_costs_the_same_each_time_and_is_said_to_look_at_its_data():
    torch.manual_seed(0)
    model = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, min_size=64, max_size=64, box_score_thresh=0
    )
    costs = []
    for seed in range(2):
        torch.manual_seed(seed)
        costs.append(count(model, SHAPE))
    assert costs[0] == costs[1] == count(model, inputs=lambda: [trial.image(model, SHAPE).args[0][0]])
    assert costs[0].data_dependent
    assert costs[0].uncounted == ()
    assert not count(nn.Conv2d(3, 3, 1), SHAPE3).data_dependent


def test_a_mistake_in_drbench_is_not_hidden_by_running_with_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drbench.measure.cost.OperationCounter", None)
    with pytest.raises(TypeError, match="not callable"):
        count(nn.Conv2d(3, 4, 1), (3, 8, 8))
