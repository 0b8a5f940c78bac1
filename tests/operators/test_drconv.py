"""DRConv2d against one nn.functional.conv2d per region and sample, in float64."""

from __future__ import annotations

import copy
import io
import itertools
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from drbench.operators import DRConv2d
from drbench.operators.generators import GENERATORS, ExpertGenerator

# the peer, nn.Conv2d, says this of even kernels
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")

CONFIGURATIONS = [
    {"kernel_size": 1},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": "same", "dilation": 2, "padding_mode": "reflect"},
    {"kernel_size": (2, 3), "padding": "same", "bias": False},
    {"kernel_size": 3, "stride": 2, "padding": (1, 0), "groups": 2, "padding_mode": "circular"},
    {"kernel_size": 3, "padding": 1, "groups": 4, "regions": 1},
    {"kernel_size": 5, "padding": "valid", "guide_kernel_size": 1, "regions": 3},
    {"kernel_size": 1, "guide_kernel_size": 3, "regions": 2},
    {"kernel_size": 3, "padding": 1, "stride": 2, "guide_kernel_size": (1, 5)},
]


def by_hand(layer: DRConv2d, x: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
    """All regions' convolutions of every sample, then the one that the guide chooses."""
    made = layer.generator(x)
    if isinstance(layer.generator, ExpertGenerator):
        bank = layer.generator.bank.unflatten(2, layer.generator.filter_shape[1:])
        made = torch.einsum("nmk,k...->nm...", made, bank)
    g = layer.geometry
    mode = {"zeros": "constant"}.get(g.padding_mode, g.padding_mode)
    padded = F.pad(x, g.pads, mode=mode)
    chosen = guide.argmax(1) if guide.is_floating_point() else guide
    samples = []
    for n in range(len(x)):
        every = torch.stack(
            [F.conv2d(padded[n : n + 1], f, layer.bias, g.stride, 0, g.dilation, layer.groups)[0] for f in made[n]]
        )
        samples.append(every.gather(0, chosen[n].expand(1, every.shape[1], -1, -1))[0])
    return torch.stack(samples)


@pytest.mark.parametrize("arguments", CONFIGURATIONS)
@pytest.mark.parametrize("generator", GENERATORS)
def test_agrees_with_one_convolution_per_region(arguments, generator):
    layer = DRConv2d(4, 8, generator=generator, dtype=torch.float64, **arguments)
    plain = nn.Conv2d(
        4, 8, **{k: v for k, v in arguments.items() if k not in ("regions", "guide_kernel_size")}
    ).double()
    nn.init.normal_(layer.generator.routing.weight)
    x = torch.randn(3, 4, 11, 9, dtype=torch.float64)
    guide = layer.guide_for(x)
    torch.testing.assert_close(layer(x), by_hand(layer, x, guide))
    assert layer(x).shape == plain(x).shape
    torch.testing.assert_close(layer(x[0]), layer(x)[0])


def test_the_guide_is_a_convolution_without_bias_at_the_layers_stride_and_padding():
    layer = DRConv2d(4, 8, 3, stride=2, padding=1, dtype=torch.float64)
    x = torch.randn(2, 4, 11, 9, dtype=torch.float64)
    logits = F.conv2d(x, layer.guide.weight, None, 2, 1)
    torch.testing.assert_close(layer.guide_for(x), logits)
    assert torch.equal(layer.regions_of(x), logits.argmax(1))
    assert torch.equal(layer.regions_of(x[1]), logits.argmax(1)[1])
    assert layer.guide.weight.shape == (8, 4, 3, 3)
    assert DRConv2d(4, 8, 3, guide_kernel_size=1).guide.weight.shape == (8, 4, 1, 1)


@pytest.mark.parametrize("own", [True, False])
def test_a_guide_that_is_handed_in_takes_over_and_is_resized(own):
    layer = DRConv2d(4, 8, 3, stride=2, padding=1, regions=5, own_guide=own, dtype=torch.float64)
    x = torch.randn(2, 4, 12, 10, dtype=torch.float64)
    logits = torch.randn(2, 5, 12, 10, dtype=torch.float64)
    resized = F.interpolate(logits, (6, 5), mode="nearest")
    torch.testing.assert_close(layer(x, logits), by_hand(layer, x, resized))
    torch.testing.assert_close(layer(x, logits.argmax(1)), by_hand(layer, x, resized))
    torch.testing.assert_close(layer(x[0], logits[0]), layer(x, logits)[0])
    assert torch.equal(layer.regions_of(x, logits), resized.argmax(1))


def test_one_region_takes_a_guide_but_holds_none():
    layer = DRConv2d(4, 8, 1, regions=1)
    x = torch.randn(2, 4, 5, 5)
    assert layer.guide is None
    assert layer.cost((4, 5, 5))["guide"] == 0
    torch.testing.assert_close(layer(x, torch.randn(2, 1, 5, 5)), layer(x))


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize(
    ("kernel", "stride", "groups", "regions", "guide_kernel"),
    [(1, 1, 1, 8, None), (3, 2, 2, 4, None), (3, 1, 1, 8, 1), (5, 1, 4, 1, None)],
)
def test_cost_follows_the_closed_formulas(generator, kernel, stride, groups, regions, guide_kernel):
    c, o, k, side = 16, 24, 6, 12
    layer = DRConv2d(
        c,
        o,
        kernel,
        stride,
        kernel // 2,
        groups=groups,
        regions=regions,
        experts=k,
        generator=generator,
        guide_kernel_size=guide_kernel,
    )
    p = (side // stride) ** 2
    filters = o * c // groups * kernel**2
    made = (
        {"routing": c * regions * k, "mixing": regions * k * filters}
        if generator == "experts"
        else {"routing": c * regions**2 * kernel**2, "mixing": regions**2 * filters}
    )
    guide = p * regions * c * (guide_kernel or kernel) ** 2 if regions > 1 else 0
    assert layer.cost((c, side, side)) == {"region_conv": p * filters, "guide": guide, **made}
    assert layer.cost((7, c, side, side)) == layer.cost((c, side, side))


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("arguments", CONFIGURATIONS)
def test_preserve_keeps_the_function_in_every_region(generator, arguments):
    own = {"regions": 5, "experts": 7} | {k: v for k, v in arguments.items() if k in ("regions", "guide_kernel_size")}
    plain = {k: v for k, v in arguments.items() if k not in own}
    conv = nn.Conv2d(4, 8, **plain)
    layer = DRConv2d(4, 8, generator=generator, **plain, **own)
    layer.preserve_(conv)
    x = torch.randn(3, 4, 11, 9)
    torch.testing.assert_close(layer(x), conv(x), atol=1e-5, rtol=1e-5)
    regions = [layer(x, torch.full((3, 11, 9), j)) for j in range(own["regions"])]
    for one, other in itertools.pairwise(regions):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("start", [nn.init.kaiming_uniform_, nn.init.zeros_, nn.init.ones_])
def test_training_leaves_a_preserved_layers_symmetry(start):
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 6, 1)
    start(conv.weight)
    layer = DRConv2d(6, 6, 1, regions=3, experts=4)
    layer.preserve_(conv)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    x, target = torch.randn(4, 6, 8, 8), torch.randn(4, 6, 8, 8)
    for _ in range(2):
        optimizer.zero_grad()
        F.mse_loss(layer(x), target).backward()
        optimizer.step()
    assert layer.generator(x).std(1).min() > 0, "regions mix alike"
    assert layer.generator(x).std(2).min() > 0, "experts weigh alike"
    assert layer.guide.weight.grad.abs().sum() > 0, "the guide does not learn"


@pytest.mark.parametrize("generator", GENERATORS)
def test_no_parameter_is_dead(generator):
    layer = DRConv2d(4, 6, 3, padding=1, generator=generator)
    layer(torch.randn(4, 4, 9, 9)).square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("generator", GENERATORS)
def test_autocast_moves_no_position_to_another_region(generator):
    layer = DRConv2d(16, 8, 3, padding=1, generator=generator)
    x = torch.randn(2, 16, 14, 14)
    expected, regions = layer(x), layer.regions_of(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = layer(x)
        got.float().sum().backward()
        assert torch.equal(layer.regions_of(x), regions)
        assert layer(x.bfloat16()).dtype == torch.bfloat16
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), expected, atol=0.05, rtol=0.05)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in layer.parameters())


@pytest.mark.parametrize("generator", GENERATORS)
def test_a_whole_network_in_bfloat16_runs(generator):
    layer = DRConv2d(4, 8, 3, padding=1, generator=generator, dtype=torch.bfloat16)
    out = layer(torch.randn(2, 4, 9, 9, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16
    assert out.isfinite().all()


def test_channels_last_stays():
    layer = DRConv2d(4, 8, 1).to(memory_format=torch.channels_last)
    x = torch.randn(2, 4, 9, 9).to(memory_format=torch.channels_last)
    assert layer(x).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(x), layer(x.contiguous()))


def test_copies_and_state_dicts_hold():
    layer = DRConv2d(4, 8, 3, padding="same", padding_mode="reflect")
    x = torch.randn(2, 4, 9, 9)
    expected = layer(x)
    assert torch.equal(copy.deepcopy(layer)(x), expected)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), expected)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = DRConv2d(4, 8, 3, padding="same", padding_mode="reflect")
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x), expected)


def test_reset_parameters_draws_all_anew():
    layer = DRConv2d(4, 8, 3)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.reset_parameters()
    same = [name for name, value in layer.state_dict().items() if torch.equal(value, before[name])]
    assert same == ["generator.routing.bias"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"regions": 0}, "regions"),
        ({"regions": -1}, "regions"),
        ({"regions": "x"}, "regions"),
        ({"experts": 0}, "experts"),
        ({"generator": "mixed"}, "generator"),
        ({"groups": 3}, "in_channels"),
        ({"guide_kernel_size": 0}, "guide_kernel_size"),
        ({"padding": "full"}, "padding"),
        ({"padding_mode": "mirror"}, "padding_mode"),
        ({"initialisation": "zeros"}, "initialisation"),
    ],
)
def test_errors_name_the_argument(arguments, named):
    with pytest.raises(ValueError, match=rf"^{named}: ") as raised:
        DRConv2d(4, 8, 3, **arguments)
    assert "\n" not in str(raised.value)


def test_wrong_inputs_are_refused():
    layer = DRConv2d(4, 8, 3, own_guide=False)
    with pytest.raises(ValueError, match=r"^input: got shape"):
        layer(torch.zeros(2, 5, 9, 9))
    with pytest.raises(ValueError, match=r"^guide: .*hand one in"):
        layer(torch.zeros(2, 4, 9, 9))
    with pytest.raises(ValueError, match=r"^guide: got shape"):
        layer(torch.zeros(2, 4, 9, 9), torch.zeros(2, 3, 9, 9))
    with pytest.raises(ValueError, match=r"^conv: got filters"):
        layer.preserve_(nn.Conv2d(4, 8, 1))


@pytest.mark.parametrize("grad", [True, False])
def test_an_input_smaller_than_the_kernel_is_refused_with_and_without_gradients(grad):
    layer = DRConv2d(4, 8, 5)
    with torch.set_grad_enabled(grad), pytest.raises(ValueError, match="too small for kernel_size"):
        layer(torch.randn(2, 4, 3, 9))


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("generator", GENERATORS)
def test_no_images_give_no_outputs_and_zero_gradients(generator, grad):
    layer = DRConv2d(3, 4, 3, padding=1, generator=generator)
    with torch.set_grad_enabled(grad):
        y = layer(torch.randn(0, 3, 8, 8))
    assert y.shape == (0, 4, 8, 8)
    if grad:
        y.sum().backward()
        plain = nn.Conv2d(3, 4, 3)
        plain(torch.randn(0, 3, 8, 8)).sum().backward()
        assert not plain.weight.grad.any()
        assert all(p.grad is not None and not p.grad.any() for p in layer.parameters())


@pytest.mark.parametrize(("given", "own"), [("float64", "float32"), ("float32", "float64"), ("uint8", "float32")])
@pytest.mark.parametrize("generator", GENERATORS)
def test_another_dtype_is_named_as_the_user_knows_it(generator, given, own):
    layer = DRConv2d(3, 4, 3, generator=generator, dtype=getattr(torch, own))
    with pytest.raises(ValueError, match=rf"^input: got {given}; expected the layer's {own}\. [^\n]*$"):
        layer(torch.zeros(1, 3, 8, 8, dtype=getattr(torch, given)))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # torch's own forward mode begins with one
@pytest.mark.parametrize("order", ["penalty", "hvp", "jvp"])
def test_derivatives_are_the_plain_convolutions_where_the_function_is(order):
    # every region's filter is the plain one's, which is the reference: also where no kernel computes the derivative
    conv = nn.Conv2d(3, 4, 3, padding=1, dtype=torch.float64)
    layer = DRConv2d(3, 4, 3, padding=1, dtype=torch.float64)
    layer.preserve_(conv)
    x, v = torch.randn(2, 3, 6, 6).double(), torch.randn(2, 3, 6, 6).double()

    def derivative(f):
        if order == "jvp":
            return torch.func.jvp(f, (x,), (v,))[1]
        if order == "hvp":
            return torch.autograd.functional.hvp(lambda z: f(z).tanh().sum(), x, v)[1]
        z = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(f(z).tanh().sum(), z, create_graph=True)
        return torch.autograd.grad((slope.flatten(1).norm(dim=1) - 1).square().sum(), [z, f.bias])

    torch.testing.assert_close(derivative(layer), derivative(conv))


def test_a_program_exported_without_gradients_can_be_trained():
    layer = nn.Sequential(nn.Conv2d(3, 3, 1), DRConv2d(3, 4, 3))
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        program = torch.export.export(layer, (x,)).module()
    program(x).square().sum().backward()
    layer(x).square().sum().backward()
    wanted = dict(layer.named_parameters())
    for name, parameter in program.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name].grad, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("generator", GENERATORS)
def test_gradients_of_each_sample(generator):
    layer = DRConv2d(3, 4, 3, generator=generator, dtype=torch.float64)
    x = torch.randn(3, 3, 6, 6, dtype=torch.float64)
    parameters = {name: value.detach() for name, value in layer.named_parameters()}

    def loss(parameters, z):
        return torch.func.functional_call(layer, parameters, (z[None],)).square().sum()

    got = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    for i in range(3):
        layer.zero_grad()
        loss(dict(layer.named_parameters()), x[i]).backward()
        for name, parameter in layer.named_parameters():
            torch.testing.assert_close(got[name][i], parameter.grad)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace", "ignore:.*was called with requires_grad")
@pytest.mark.parametrize("arguments", [{}, {"padding": "same", "padding_mode": "reflect"}, {"generator": "grouped"}])
def test_a_trace_is_the_layer_for_any_batch_and_learns(arguments):
    layer = DRConv2d(3, 4, 3, **arguments)
    traced = torch.jit.trace(layer, (torch.randn(2, 3, 8, 8),))
    x = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(traced(x), layer(x))
    gradients = [torch.autograd.grad(f(x).square().sum(), list(layer.parameters())) for f in (traced, layer)]
    torch.testing.assert_close(*gradients)
