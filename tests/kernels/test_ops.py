"""The functions as torch ops: opcheck, gradcheck, compile, export, autocast, FLOP formulas."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from drbench_kernels import expert_region_conv2d, region_conv2d
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

# opcheck itself looks at .grad of tensors that are no leaves.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
GEOMETRIES = [((1, 1), (0, 0), (1, 1), 1, 1), ((2, 1), (1, 1), (1, 2), 2, 3)]


def region_arguments(
    geometry: tuple[object, ...], kernel: int, *, integer: bool = False, dtype: torch.dtype = torch.float64
) -> tuple[object, ...]:
    torch.manual_seed(0)
    groups = int(geometry[3])  # type: ignore[call-overload]
    x = torch.randn(2, 4, 6, 7, dtype=dtype).requires_grad_()
    filters = torch.randn(2, 3, 6, 4 // groups, kernel, kernel, dtype=dtype).requires_grad_()
    size = nn.functional.conv2d(x, filters[0, 0], None, *geometry).shape[2:]
    guide = torch.randn(2, 3, *size, dtype=dtype)
    bias = torch.randn(6, dtype=dtype).requires_grad_()
    return x, filters, guide.argmax(1) if integer else guide.requires_grad_(), bias, *geometry


def expert_arguments(geometry: tuple[object, ...], kernel: int) -> tuple[object, ...]:
    x, filters, guide, bias, *rest = region_arguments(geometry, kernel)
    assert isinstance(filters, Tensor)
    experts = filters[0].detach().clone().requires_grad_()
    coefficients = torch.rand(2, 3, 3, dtype=torch.float64).requires_grad_()
    return x, experts, coefficients, guide, bias, *rest


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("integer", [False, True])
def test_opcheck_region_conv2d(geometry: tuple[object, ...], integer: bool) -> None:
    *plain, kernel = geometry
    assert isinstance(kernel, int)
    arguments = region_arguments(tuple(plain), kernel, integer=integer)
    torch.library.opcheck(torch.ops.drbench.region_conv2d.default, arguments)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_opcheck_expert_region_conv2d(geometry: tuple[object, ...]) -> None:
    *plain, kernel = geometry
    assert isinstance(kernel, int)
    torch.library.opcheck(torch.ops.drbench.expert_region_conv2d.default, expert_arguments(tuple(plain), kernel))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_gradcheck_with_fixed_regions(geometry: tuple[object, ...]) -> None:
    *plain, kernel = geometry
    assert isinstance(kernel, int)
    x, filters, guide, bias, *rest = region_arguments(tuple(plain), kernel, integer=True)
    function: Callable[..., Tensor] = lambda x, w, b: region_conv2d(x, w, guide, b, *rest)  # type: ignore[arg-type]  # noqa: E731
    assert torch.autograd.gradcheck(function, (x, filters, bias))


class Layer(nn.Module):
    """Both functions in one forward."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.guide = nn.Conv2d(4, 3, 3, padding=1)
        self.filters = nn.Parameter(torch.randn(3, 4, 4, 3, 3))
        self.experts = nn.Parameter(torch.randn(2, 5, 4, 1, 1))
        self.routing = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        guide = self.guide(x)
        x = region_conv2d(x, self.filters, guide, padding=1)
        coefficients = self.routing(x.mean((2, 3))).sigmoid().view(-1, 3, 2)
        return expert_region_conv2d(x, self.experts, coefficients, guide)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_compile_whole_graph_forward_and_backward(memory_format: torch.memory_format) -> None:
    layer, x = Layer(), torch.randn(2, 4, 6, 6).contiguous(memory_format=memory_format)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))
    parameters = list(layer.parameters())
    got = torch.autograd.grad(compiled(x).square().sum(), parameters)
    want = torch.autograd.grad(layer(x).square().sum(), parameters)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("op", ["region_conv2d", "expert_region_conv2d"])
def test_gradients_have_the_strides_that_the_compiler_is_told(op: str, geometry: tuple[object, ...]) -> None:
    # opcheck compares sizes alone here; inductor takes the strides at their word.
    *plain, kernel = geometry
    assert isinstance(kernel, int)
    make = region_arguments if op == "region_conv2d" else expert_arguments
    *tensors, _, stride, padding, dilation, groups = make(tuple(plain), kernel)
    # Weights whose memory is laid out in another order, as a transposed parameter's is.
    awkward = [t.detach().transpose(0, 1).contiguous().transpose(0, 1) for t in tensors if isinstance(t, Tensor)]
    y = getattr(torch.ops.drbench, op)(*awkward, None, stride, padding, dilation, groups)
    arguments = (*awkward, stride, padding, dilation, groups, True)
    backward = getattr(torch.ops.drbench, f"{op}_backward")
    real = backward(torch.ones_like(y), *arguments)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = [mode.from_tensor(a) if isinstance(a, Tensor) else a for a in arguments]
        told = backward(mode.from_tensor(torch.ones_like(y)), *fake)
    assert [t.stride() for t in real] == [t.stride() for t in told]


@pytest.mark.slow
def test_a_compiled_layer_trains() -> None:
    layer, x = Layer().double(), torch.randn(2, 4, 6, 6).double()
    parameters = list(layer.parameters())
    got = torch.autograd.grad(torch.compile(layer, fullgraph=True)(x).square().sum(), parameters)
    torch.testing.assert_close(got, torch.autograd.grad(layer(x).square().sum(), parameters))


def test_shapes_without_data() -> None:
    x, filters, guide = (torch.empty(s, device="meta") for s in ((2, 3, 5, 5), (4, 6, 3, 1, 1), (2, 4, 5, 5)))
    assert region_conv2d(x, filters, guide).shape == (2, 6, 5, 5)


def test_export_with_any_batch() -> None:
    layer = Layer().eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(layer, (torch.randn(2, 4, 6, 6),), dynamic_shapes=({0: batch},))
    x = torch.randn(5, 4, 6, 6)
    torch.testing.assert_close(program.module()(x), layer(x))


def test_autocast_narrows_everything_but_the_guide() -> None:
    # Two logits that bfloat16 rounds to one: the lower index would win the tie.
    guide = torch.tensor([1.0, 1.001]).view(1, 2, 1, 1)
    filters = torch.tensor([10.0, 20.0]).view(2, 1, 1, 1, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = region_conv2d(torch.ones(1, 1, 1, 1), filters, guide)
        z = expert_region_conv2d(torch.ones(1, 1, 1, 1), filters, torch.eye(2)[None], guide)
        double = region_conv2d(torch.ones(1, 1, 1, 1).double(), filters.double(), guide)
    assert y.dtype == z.dtype == torch.bfloat16
    assert float(y) == float(z) == 20.0
    assert double.dtype == torch.float64


def test_autocast_gradients_arrive_in_float32() -> None:
    layer, x = Layer(), torch.randn(2, 4, 6, 6, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    gradients = [x.grad, *(p.grad for p in layer.parameters())]
    assert all(g is not None and g.dtype == torch.float32 and bool(torch.isfinite(g).all()) for g in gradients)


def test_flop_counter_sees_twice_the_convention() -> None:
    n, c, o, m, k = 2, 4, 6, 3, 5
    x, guide = torch.randn(n, c, 8, 8), torch.randn(n, m, 4, 4)
    with FlopCounterMode(display=False) as region:
        region_conv2d(x, torch.randn(n, m, o, c, 3, 3), guide, stride=2, padding=1)
    assert region.get_total_flops() == 2 * n * 16 * o * c * 9
    with FlopCounterMode(display=False) as expert:
        expert_region_conv2d(x, torch.randn(k, o, c, 3, 3), torch.randn(n, m, k), guide, stride=2, padding=1)
    assert expert.get_total_flops() == 2 * (n * 16 * o * c * 9 + n * m * k * o * c * 9)


def test_needs_torch_alone() -> None:
    # triton, and everything else that drbench installs, is out of reach here.
    script = """
import sys
class Only:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"triton", "timm", "torchvision", "pandas", "drbench", "ptflops"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Only())
import torch, drbench_kernels
y = drbench_kernels.region_conv2d(torch.ones(1, 2, 3, 3), torch.ones(2, 4, 2, 1, 1), torch.zeros(1, 2, 3, 3))
print(float(y.sum()))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "72.0", done.stderr


BIG = 2**62
X, W, E, A = torch.zeros(2, 4, 5, 5), torch.zeros(2, 3, 6, 4, 1, 1), torch.zeros(5, 6, 4, 1, 1), torch.zeros(2, 3, 5)
GUIDE, GRAD, ONE, NONE = torch.zeros(2, 3, 5, 5), torch.zeros(2, 6, 5, 5), (1, 1), (0, 0)


@pytest.mark.parametrize("twin", ["", "_by_torch"])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"input": X[0]}, "input"),
        ({"input": X.long()}, "input"),
        ({"input": X.to_sparse()}, "input"),
        ({"filters": W[:, :0]}, "filters"),
        ({"filters": W[:1]}, "filters"),
        ({"filters": W[:, :, :, :3]}, "filters"),
        ({"experts": E[0]}, "experts"),
        ({"coefficients": A[:, :, :4]}, "coefficients"),
        ({"coefficients": A[:, :0]}, "coefficients"),
        ({"guide": GUIDE[:, :, :4]}, "guide"),
        ({"guide": GUIDE[:, :2]}, "guide"),
        ({"guide": GUIDE[:, 0] > 0}, "guide"),
        ({"bias": torch.zeros(5)}, "bias"),
        ({"grad": GRAD[:, :5]}, "grad"),
        ({"stride": (0, 1)}, "stride"),
        ({"stride": (1,)}, "stride"),
        ({"padding": (-1, 0)}, "padding"),
        ({"padding": (BIG, 0)}, "padding"),
        ({"dilation": (1, BIG)}, "dilation"),
        ({"groups": 0}, "groups"),
        ({"groups": 3}, "groups"),
        ({"routing": torch.zeros(15, 3)}, "routing"),
        ({"routing_bias": torch.zeros(14)}, "routing"),
        ({"layer_guide": torch.zeros(3, 4, 3, 3)}, "guide"),
        ({"layer_guide": torch.zeros(0, 4, 1, 1)}, "guide"),
        ({"guide_padding": (1, 0)}, "guide"),
        ({"guide_padding": (-1, 0)}, "guide_padding"),
    ],
)
def test_an_op_that_is_called_directly_refuses_what_does_not_fit(
    change: dict[str, object], named: str, twin: str
) -> None:
    # a saved program on other shapes: native code would follow its pointers out of memory
    given: dict[str, object] = {
        **{"grad": GRAD, "input": X, "filters": W, "experts": E, "coefficients": A, "guide": GUIDE, "bias": None},
        **{"routing": torch.zeros(15, 4), "routing_bias": torch.zeros(15), "layer_guide": torch.zeros(3, 4, 1, 1)},
        **{"stride": ONE, "padding": NONE, "dilation": ONE, "groups": 1, "guide_padding": NONE, "guide_learns": True},
    }
    windows = ("stride", "padding", "dilation", "groups")
    region, expert = ("input", "filters", "guide"), ("input", "experts", "coefficients", "guide")
    layer = ("input", "experts", "routing", "routing_bias", "layer_guide", "bias", *windows, "guide_padding")
    ops = {
        "region_conv2d": (*region, "bias", *windows),
        "region_conv2d_backward": ("grad", *region, *windows, "guide_learns"),
        "expert_region_conv2d": (*expert, "bias", *windows),
        "expert_region_conv2d_backward": ("grad", *expert, *windows, "guide_learns"),
        "expert_layer": layer,
    }
    tried = 0
    for name, arguments in ops.items():
        op = getattr(torch.ops.drbench, name + twin)
        op(*(given[a] for a in arguments))
        values = {**given, **change}
        if not change.keys() & set(arguments):
            continue
        tried += 1
        with pytest.raises(ValueError, match=rf"^{named}") as raised:
            op(*(values[a] for a in arguments))
        assert "\n" not in str(raised.value)
    assert tried
