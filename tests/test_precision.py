"""No TF32 where float32 was asked for."""

from __future__ import annotations

import torch

from drbench.latency.timer import settings_context
from drbench.precision import full_float32
from drbench.records import LatencySettings


def tf32() -> tuple[bool, bool]:
    """Of convolutions, of matrix products."""
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def test_none_within_and_as_before_afterwards() -> None:
    before = tf32()
    assert any(before), "PyTorch's default has changed: drbench.precision may go"
    with full_float32():
        assert tf32() == (False, False)
        assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        assert torch.backends.cudnn.conv.fp32_precision in ("ieee", "none")
    assert tf32() == before


def test_latency_is_taken_so() -> None:
    with settings_context(LatencySettings()):
        assert tf32() == (False, False)
