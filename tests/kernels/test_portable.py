"""Programs of plain operators: what they compute, that nothing of ours is left, and that another process loads them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from drbench_kernels import expert_layer, expert_region_conv2d, plain_ops, region_conv2d
from torch import Tensor, nn


class Network(nn.Module):
    """All ops of a forward pass, with groups, strides and a bias."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        shapes = {
            "filters": (3, 4, 2, 3, 3),
            "experts": (5, 6, 2, 3, 3),
            "routing": (15, 4),
            "routing_bias": (15,),
            "guide": (3, 4, 3, 3),
            "bias": (6,),
        }
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape)))

    def forward(self, x: Tensor) -> Tensor:
        regions = torch.nn.functional.conv2d(x, self.guide, padding=1).argmax(1)
        x = region_conv2d(x, self.filters, regions, padding=1, groups=2)
        logits = torch.nn.functional.conv2d(x, self.guide, padding=1)
        shares = torch.nn.functional.linear(x.mean((2, 3)), self.routing).sigmoid().view(-1, 3, 5)
        y = expert_region_conv2d(x, self.experts, shares, logits, self.bias, padding=1, groups=2)
        tensors = (x, self.experts, self.routing, self.routing_bias, self.guide, self.bias)
        z = expert_layer(*tensors, (2, 1), (1, 1), (1, 1), 2, (1, 1))
        return torch.cat([y.flatten(1), z.flatten(1)], 1)


@pytest.mark.parametrize("grad", [True, False])
def test_a_portable_program_computes_the_same_without_us(grad: bool, tmp_path: Path) -> None:
    network = Network().eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    with torch.set_grad_enabled(grad):
        program = torch.export.export(network, (torch.randn(2, 4, 7, 6),), dynamic_shapes=({0: batch},))
    assert any("drbench" in str(node.target) for node in program.graph.nodes)
    portable = program.run_decompositions(plain_ops())
    assert not any("drbench" in str(node.target) for node in portable.graph.nodes)
    x = torch.randn(5, 4, 7, 6)
    torch.testing.assert_close(portable.module()(x), network(x), rtol=1e-4, atol=1e-4)
    if grad:
        return
    saved = {"portable": portable, "program": program}
    for name, value in saved.items():
        torch.export.save(value, tmp_path / f"{name}.pt2")
    script = (
        f"import sys, torch; torch.export.load(r'{tmp_path}/portable.pt2').module()(torch.randn(3, 4, 7, 6))\n"
        "assert 'drbench_kernels' not in sys.modules\n"
        f"import drbench_kernels; torch.export.load(r'{tmp_path}/program.pt2').module()(torch.randn(3, 4, 7, 6))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
