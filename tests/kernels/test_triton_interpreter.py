"""The Triton kernels, run by Triton's interpreter on a CPU, against float64.

Triton decides at import whether it interprets, so the cases run in one process of their own, this very file as a
script; each is a test here. bfloat16 is left to `test_triton_gpu.py`: the interpreter's tl.dot returns garbage for it.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from drbench_kernels.geometry import Geometry
from drbench_kernels.reference import region_conv2d_by_choice
from torch import Tensor
from torch.nn import functional as F

CHANNELS = (1, 3, 24, 58, 116, 122)  # ShuffleNetV2's, and around them: below, at and beyond a tile
MAPS = ("smooth", "scattered", "constant", "with empty regions")
# A float32 sum of T products errs by at most T units of 2^-24 times the sum of the absolute products; with inputs
# N(0, 1) and T up to 3 * 9 * 58, errors add up like a random walk: some 3e-6 of the largest value. float16 goes through
# float32 and is rounded once, half a unit of 2^-10; by expert its mixed filter, or its weighted gradient, once more.
# The guide's gradient is rounded once to the guide's own dtype.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 2**-10}


@dataclass(frozen=True)
class Case:
    name: str
    channels: int = 24
    out: int = 24
    samples: int = 2
    regions: int = 3
    size: tuple[int, int] = (9, 7)
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    maps: str = "scattered"
    dtype: torch.dtype = torch.float32
    guide: torch.dtype = torch.float32
    last: bool = True
    guide_last: bool = False
    shared: bool = False
    grad: str = "as the output"

    @property
    def geometry(self) -> Geometry:
        return Geometry(self.stride, self.padding, self.dilation, self.groups)


NAMED = [
    *(Case(f"{c} channels to {c} outputs", c, c, samples=1) for c in CHANNELS),
    *(Case(f"{maps} regions", 58, 24, maps=maps, regions=8) for maps in MAPS),
    Case("one sample, one position", 3, 5, samples=1, size=(1, 1)),
    Case("one region", regions=1),
    Case("33 regions", 3, 3, samples=1, regions=33, size=(5, 3)),
    Case("contiguous", 58, 24, last=False),
    Case("contiguous 3x3", 5, 6, size=(7, 5), kernel=(3, 3), padding=(1, 1), last=False),
    Case("stride 2", stride=(2, 2)),
    Case("groups", groups=3),
    Case("3x3", 3, 24, samples=1, size=(7, 9), kernel=(3, 3), padding=(1, 1)),
    Case("3x3, stride 2, dilation 2", 4, 6, kernel=(3, 3), padding=(2, 2), stride=(2, 2), dilation=(2, 2)),
    Case("3x3, groups", 6, 4, regions=2, size=(5, 7), kernel=(3, 3), padding=(1, 0), groups=2),
    Case("depthwise 3x3", 3, 3, samples=1, regions=2, size=(3, 5), kernel=(3, 3), padding=(1, 1), groups=3),
    Case("1x1 with padding", 3, 5, size=(3, 5), padding=(1, 2)),
    Case("1x3 at stride 1x2", 3, 5, kernel=(1, 3), stride=(1, 2)),
    Case("filters shared by the batch, sum cut into parts", 17, 3, samples=3, size=(11, 15), shared=True),
    Case("image large enough to cut the sum", 3, 3, samples=1, regions=2, size=(25, 23)),
    Case("float16", 58, 116, dtype=torch.float16, regions=8),
    Case("float16 3x3", 24, 24, size=(5, 7), kernel=(3, 3), padding=(1, 1), dtype=torch.float16),
    Case("int64 regions", guide=torch.int64),
    Case("int32 regions, 3x3", 3, 5, size=(5, 7), kernel=(3, 3), padding=(1, 1), guide=torch.int32),
    Case("float16 guide", guide=torch.float16),
    Case("bfloat16 guide in channels_last", guide=torch.bfloat16, guide_last=True),
    Case("gradient that is expanded", grad="expanded"),
    Case("gradient in the other layout", grad="contiguous"),
]


def random_case(seed: int) -> Case:
    draw = random.Random(seed)
    groups = draw.choice([1, 1, 1, 2])
    kernel = draw.choice([(1, 1), (1, 1), (1, 1), (3, 3), (2, 1)])
    point = kernel == (1, 1)
    return Case(
        name=f"random {seed}",
        samples=draw.choice([1, 2]),
        channels=groups * draw.choice(CHANNELS if point else (1, 3, 17)),
        out=groups * draw.choice(CHANNELS if point else (1, 3, 17)),
        regions=draw.choice([2, 4, 8] if point else [2, 3]),
        size=draw.choice([(7, 7), (5, 9), (13, 11)] if point else [(7, 7), (5, 9)]),
        kernel=kernel,
        stride=draw.choice([(1, 1), (1, 1), (2, 2), (2, 1)]),
        padding=(0, 0) if point else draw.choice([(1, 1), (0, 2)]),
        dilation=(1, 1) if point else draw.choice([(1, 1), (1, 2)]),
        groups=groups,
        maps=draw.choice(MAPS),
        dtype=draw.choice([torch.float32, torch.float32, torch.float16]),
        guide=draw.choice([torch.float32, torch.float32, torch.int64]),
        last=draw.random() < 0.7,
        guide_last=draw.random() < 0.5,
        shared=draw.random() < 0.2,
    )


CASES = {case.name: case for case in [*NAMED, *(random_case(seed) for seed in range(12))]}


@dataclass(frozen=True)
class Arguments:
    x: Tensor
    filters: Tensor
    experts: Tensor
    coefficients: Tensor
    guide: Tensor
    bias: Tensor
    grad: Tensor


def arguments(case: Case) -> Arguments:
    torch.manual_seed(0)
    layout = torch.channels_last if case.last else torch.contiguous_format
    x = torch.randn(case.samples, case.channels, *case.size).to(case.dtype).contiguous(memory_format=layout)
    one = (case.out, case.channels // case.groups, *case.kernel)
    filters = torch.randn(*(() if case.shared else (case.samples,)), case.regions, *one).to(case.dtype)
    size = case.geometry.output_size(*case.size, case.kernel)
    guide = logits(case, size)
    guide = guide.to(case.guide) if case.guide.is_floating_point else guide.argmax(1).to(case.guide)
    grad = torch.randn(case.samples, case.out, *size).to(case.dtype)
    if case.grad == "expanded":
        grad = torch.tensor(0.5, dtype=case.dtype).expand(grad.shape)
    elif case.grad == "as the output":
        grad = grad.contiguous(memory_format=layout)
    # Coefficients stay float32 whatever the input is.
    coefficients = torch.rand(case.samples, case.regions, 3)
    experts, bias = torch.randn(3, *one).to(case.dtype), torch.randn(case.out).to(case.dtype)
    return Arguments(x, filters, experts, coefficients, guide, bias, grad)


def logits(case: Case, size: tuple[int, int]) -> Tensor:
    shape = (case.samples, case.regions, *size)
    made = torch.randn(shape)
    if case.maps == "smooth":
        made = F.interpolate(torch.randn(*shape[:2], 2, 2), size=size, mode="bilinear") + 1e-3 * made
    elif case.maps == "constant":
        made = torch.randn(*shape[:2], 1, 1) + 1e-4 * made
    elif case.maps == "with empty regions":
        made[:, 1::2] -= 100.0
    return made.contiguous(memory_format=torch.channels_last) if case.guide_last else made


# Below: what the script runs, in the process that interprets. Each returns what went wrong.


def run_case(case: Case) -> list[str]:
    from drbench_kernels import gpu

    given, geometry = arguments(case), case.geometry
    plain = (geometry.stride, geometry.padding, geometry.dilation, geometry.groups)
    learns = case.guide.is_floating_point
    x, filters, experts, coefficients, bias = (
        t.double().requires_grad_() for t in (given.x, given.filters, given.experts, given.coefficients, given.bias)
    )
    guide = given.guide.double().requires_grad_() if learns else given.guide
    wrong: list[str] = []

    def hold(what: str, got: Tensor, want: Tensor, tolerance: float) -> None:
        scale = max(1.0, float(want.detach().abs().max()))
        error = float((got.double() - want.detach()).abs().max()) / scale
        if got.shape != want.shape or not error <= tolerance:
            wrong.append(f"{what}: {error:.2e} of the largest, allowed is {tolerance:.2e}")

    guides = [guide] if learns else []
    want = region_conv2d_by_choice(x, filters, guide, bias, *plain)
    wants = torch.autograd.grad(want, [x, filters, *guides], given.grad.double())
    tolerance = TOLERANCE[case.dtype]
    coarse = torch.finfo(case.guide).eps if case.guide in (torch.float16, torch.bfloat16) else 0.0
    y = gpu.region_forward(given.x, given.filters, given.guide, given.bias, geometry)
    hold("output", y, want, tolerance)
    if y.dtype != case.dtype or (case.last and min(case.channels, case.out) > 1 and y.shape[2:].numel() > 1):
        assert y.is_contiguous(memory_format=torch.channels_last)
    back = (given.grad, given.x, given.filters, given.guide, geometry)
    runs = [gpu.region_backward(*back, learns) for _ in range(1 + (case.kernel == (1, 1)))]
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[-1], strict=True)), "two runs differ"
    for what, got, wanted in zip(("dx", "dW", "dF"), runs[0], wants, strict=False):
        hold(what, got, wanted, max(tolerance, coarse) if what == "dF" else tolerance)
    assert runs[0][1].is_contiguous()
    assert learns or runs[0][2].numel() == 0
    if learns and case.kernel == (1, 1):
        for what, got, wanted in zip(("dx", "dW"), gpu.region_backward(*back, False), wants, strict=False):
            hold(f"{what} of a guide that does not learn", got, wanted, tolerance)

    mixed = torch.einsum("nmk,k...->nm...", coefficients, experts)
    want = region_conv2d_by_choice(x, mixed, guide, bias, *plain)
    wants = torch.autograd.grad(want, [x, experts, coefficients, *guides], given.grad.double())
    slack = 2 * tolerance if case.dtype == torch.float16 else tolerance
    # Mixing first is one more kernel and nothing else new: a few cases show it.
    for way in ["triton-expert", "triton-region"] if case.channels in (24, 58) else ["triton-expert"]:
        banks = (given.experts, given.coefficients, given.guide)
        y = gpu.expert_forward(given.x, *banks, given.bias, geometry, path=way)
        hold(f"{way} output", y, want, slack)
        found = gpu.expert_backward(given.grad, given.x, *banks, geometry, learns, path=way)
        assert found[2].dtype == torch.float32
        for what, got, wanted in zip(("dx", "dE", "dA", "dF"), found, wants, strict=False):
            hold(f"{way} {what}", got, wanted, max(slack, coarse) if what == "dF" else slack)
    return wrong


def bad_values(kernel: int, bad: float) -> list[str]:
    """NaN or Inf in a pixel, then in a gradient, then in a filter; y, dx and dW of the others stay finite."""
    from drbench_kernels import gpu

    torch.manual_seed(0)
    x, grad = torch.randn(1, 2, 5, 5), torch.randn(1, 2, 5, 5)
    filters, geometry = torch.randn(1, 2, 2, 2, kernel, kernel), Geometry((1, 1), (kernel // 2,) * 2, (1, 1), 1)
    regions = torch.zeros(1, 5, 5, dtype=torch.long)
    regions[:, :, 3:] = 1
    guide = F.one_hot(regions, 2).permute(0, 3, 1, 2).float()
    wrong: list[str] = []

    def spread(what: str, got: Tensor, allowed: Tensor) -> None:
        broken = ~torch.isfinite(got)
        if (broken & ~allowed).any():
            wrong.append(f"{what}: reaches {int((broken & ~allowed).sum())} too many")
        if not broken.any():
            wrong.append(f"{what}: does not arrive")

    reach = kernel // 2
    corner = torch.zeros(5, 5, dtype=torch.bool)
    corner[: reach + 1, : reach + 1] = True
    in_region_0 = torch.tensor([True, False]).view(1, 2, 1, 1, 1, 1)
    for learns in (False, True):
        dirty = x.clone()
        dirty[0, :, 0, 0] = bad
        spread("pixel to y", gpu.region_forward(dirty, filters, guide, None, geometry), corner)
        _, dw, df = gpu.region_backward(grad, dirty, filters, guide, geometry, learns)
        spread("pixel to dW", dw, in_region_0)
        if learns:
            spread("pixel to dF", df, corner)
        dirty = grad.clone()
        dirty[0, :, 0, 0] = bad
        dx, dw, df = gpu.region_backward(dirty, x, filters, guide, geometry, learns)
        spread("gradient to dx", dx, corner)
        spread("gradient to dW", dw, in_region_0)
        dirty = filters.clone()
        dirty[0, 1] = bad
        y = gpu.region_forward(x, dirty, guide, None, geometry)
        spread("filter to y", y, regions == 1)
        dx, _, _ = gpu.region_backward(grad, x, dirty, guide, geometry, learns)
        near = F.max_pool2d((regions == 1).float(), kernel, 1, reach) > 0
        spread("filter to dx", dx, near)
    return wrong


def ties_and_nan_logits() -> list[str]:
    from drbench_kernels import gpu

    nan, inf = float("nan"), float("inf")
    columns = [[0, 5, 5], [0, 9, nan], [nan, 9, nan], [-inf, -inf, -inf], [1, inf, nan], [3, 3, 3], [-inf, inf, inf]]
    guide = torch.tensor(columns, dtype=torch.float32).T.reshape(1, 3, 1, 7)
    filters = torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1, 1, 1)
    got = gpu.region_forward(torch.ones(1, 1, 1, 7), filters, guide, None, Geometry((1, 1), (0, 0), (1, 1), 1))
    want = guide.argmax(1).flatten().float()
    return [] if torch.equal(got.flatten(), want) else [f"{got.flatten().tolist()}, argmax has {want.tolist()}"]


def regions_out_of_range() -> list[str]:
    from drbench_kernels import gpu

    geometry = Geometry((1, 1), (0, 0), (1, 1), 1)
    x, filters = torch.ones(1, 1, 1, 4), torch.tensor([1.0, 2.0]).view(1, 2, 1, 1, 1, 1)
    regions = torch.tensor([[[-1, 2**40, -(2**40), 1]]])
    got = gpu.region_forward(x, filters, regions, None, geometry).flatten().tolist()
    _, dw, _ = gpu.region_backward(torch.ones_like(x), x, filters, regions, geometry, False)
    found = (got, dw.flatten().tolist())
    return [] if found == ([1.0, 2.0, 1.0, 2.0], [2.0, 2.0]) else [str(found)]


def nothing_to_do() -> list[str]:
    from drbench_kernels import gpu

    geometry = Geometry((1, 1), (0, 0), (1, 1), 1)
    x, w, guide = torch.randn(0, 3, 4, 4), torch.randn(2, 5, 3, 1, 1), torch.randn(0, 2, 4, 4)
    a = torch.rand(0, 2, 2)
    y = gpu.region_forward(x, w, guide, None, geometry)
    z = gpu.expert_forward(x, w, a, guide, None, geometry)
    dx, dw, df = gpu.region_backward(y, x, w, guide, geometry, True)
    dx2, de, da, _ = gpu.expert_backward(y, x, w, a, guide, geometry, True)
    assert y.shape == z.shape == (0, 5, 4, 4)
    assert dx.shape == dx2.shape == x.shape
    assert (df.shape, da.shape) == (guide.shape, a.shape)
    assert not dw.any()
    assert not de.any()
    return []


def filters_beyond_32_bits() -> list[str]:
    """The filter of the last region begins 2^31 elements in. Memory that is never touched costs none."""
    from drbench_kernels.gpu import region
    from drbench_kernels.gpu.launch import recording

    geometry, size = Geometry((1, 1), (0, 0), (1, 1), 1), 2**22
    count = 2**31 // size + 1
    memory = mmap.mmap(-1, count * size * 2)
    every = torch.frombuffer(memory, dtype=torch.float16)
    beginning = every[:16]  # the interpreter copies what it is handed, so it is handed little
    wrong = []
    # Few outputs forward and few channels backward: the interpreter is slow.
    for what, out, channels in (("output", 64, size // 64), ("dx", size // 64, 64)):
        last = every[-size:].view(out, channels).copy_(torch.randn(out, channels) / 64)
        x, grad = torch.randn(1, channels, 1, 1).half(), torch.randn(1, out, 1, 1).half()
        regions = torch.full((1, 1, 1), count - 1)
        declared = torch.empty(1, count, out, channels, 1, 1, dtype=torch.float16, device="meta")
        with recording() as calls:
            if what == "output":
                got = region.region_forward(x, declared, regions, None, geometry)
                want = last.double() @ x.double().flatten()
            else:
                got, _, _ = region.region_backward(grad, x, declared, regions, geometry, False)
                want = last.double().T @ grad.double().flatten()
        handed = tuple(beginning if a is declared else a for a in calls[0].arguments)
        replace(calls[0], arguments=handed).run(calls[0].config)
        error = float((got.double().flatten() - want).abs().max() / want.abs().max())
        if error > TOLERANCE[torch.float16]:
            wrong.append(f"{what}: {error:.2e} of the largest")
    return wrong


OTHERS: dict[str, Callable[[], list[str]]] = {
    **{
        f"{bad} stays where it is, {k}x{k}": (lambda k=k, bad=bad: bad_values(k, bad))  # type: ignore[misc]
        for k in (1, 3)
        for bad in (float("nan"), float("inf"))
    },
    "ties and NaN logits as in torch.argmax": ties_and_nan_logits,
    "integer regions out of range are clamped": regions_out_of_range,
    "no samples": nothing_to_do,
    "filters beyond 2^31 elements": filters_beyond_32_bits,
}


def main(destination: Path) -> None:
    outcomes: dict[str, list[str]] = {}
    jobs = {**{name: (lambda case=case: run_case(case)) for name, case in CASES.items()}, **OTHERS}  # type: ignore[misc]
    for name, job in jobs.items():
        try:
            outcomes[name] = job()
        except Exception:  # the test that reads the outcome fails with this traceback
            outcomes[name] = [traceback.format_exc()]
    destination.write_text(json.dumps(outcomes))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    destination = tmp_path_factory.mktemp("triton") / "outcomes.json"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, str(destination)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(destination.read_text())
    return found


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("name", [*CASES, *OTHERS])
def test_in_the_interpreter(name: str, outcomes: dict[str, list[str]]) -> None:
    assert not outcomes[name], "\n".join(outcomes[name])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
