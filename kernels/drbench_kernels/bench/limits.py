"""How fast a region convolution could be on this machine: the larger of arithmetic and traffic, both as measured here.

    limit = max(multiply-adds / rate of a matrix product, bytes / rate of a copy)

Multiply-adds, one filter per position: N*P*O*C*k*k forward; m + 2 times that forward and backward with a guide that
learns (its gradient needs every region's product, from which the input's falls out; one more is the filters').
Bytes: each tensor once for each time it has to be read or written: forward input, output, filters (of all m regions)
and guide; backward the output's gradient, input, filters and guide again, and the gradients of the last three.
A copy is measured at several sizes, since one that fits a cache is faster: the rate is that of the largest size below
the bytes of the layer, so that the limit stays one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch

from drbench_kernels.bench.problem import Case
from drbench_kernels.bench.timing import Call, Clock, Timed, once

GEMM_SIZES = {"cpu": (256, 768, 1536), "cuda": (8192,)}
GEMM_SECONDS = 0.05
"""A larger product is tried only where the smaller one took less: some dtypes are slow on some processors."""
COPY_SIZES = {"cpu": tuple(1 << power for power in range(18, 30, 2)), "cuda": tuple(1 << p for p in range(22, 33, 2))}
"""Bytes read and written together."""


@dataclass(frozen=True)
class Rates:
    """`gemm`: multiply-adds a second. `copy`: bytes of a copy (read and written together) -> bytes a second."""

    gemm: float
    copy: Mapping[int, float]

    def copy_at(self, size: int) -> float:
        """The rate for `size` bytes: that of the largest copy no larger than it, or of the smallest."""
        below = [measured for measured in self.copy if measured <= size]
        return self.copy[max(below) if below else min(self.copy)]

    def best(self, other: Rates) -> Rates:
        """The faster of both in each: other work on the machine can only have slowed a measurement down."""
        return Rates(
            max(self.gemm, other.gemm), {size: max(rate, other.copy[size]) for size, rate in self.copy.items()}
        )


@dataclass(frozen=True)
class Limit:
    """`bound` says which of the two it is: "arithmetic" or "traffic". Rates are those used, a second."""

    seconds: float
    multiply_adds: int
    bytes: int
    bound: str
    gemm_rate: float
    copy_rate: float


def measure(dtype: torch.dtype, device: torch.device, clock: Clock, seconds: float = 0.5) -> Rates:
    """The machine's rates: the best of what fits into `seconds`, at least three calls."""
    with torch.inference_mode():
        for size in GEMM_SIZES[device.type]:
            a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
            out = torch.empty_like(a)
            product = partial(torch.mm, a, b, out=out)
            if once(product, clock) > GEMM_SECONDS:
                break
        gemm = size**3 / _best(product, clock, seconds)
        copies = {}
        for total in COPY_SIZES[device.type]:
            source = torch.zeros(total // 2, dtype=torch.uint8, device=device)
            target = torch.ones_like(source)
            copies[total] = total / _best(partial(target.copy_, source), clock, seconds / 5)
    return Rates(gemm, copies)


def _best(call: Call, clock: Clock, seconds: float) -> float:
    """Seconds of the fastest call."""
    call()
    timed = Timed(call, max(1, min(100, round(0.001 / max(once(call, clock), 1e-9)))))
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        reading = clock.sample(timed)
        clock.settle()
        times.append(reading())
    return min(times)


def work(case: Case) -> tuple[int, int]:
    """(multiply-adds, bytes) of the region convolution of a case, filters given."""
    shape, size = case.shape, case.dtype.itemsize
    product = case.batch * shape.positions * shape.filter_size
    inputs = case.batch * shape.channels * shape.height * shape.width * size
    outputs = case.batch * shape.outputs * shape.positions * size
    filters = case.batch * case.regions * shape.filter_size * size
    guide = case.batch * case.regions * shape.positions * 4
    if not case.backward:
        return product, inputs + outputs + filters + guide
    return (case.regions + 2) * product, 3 * inputs + 2 * outputs + 3 * filters + 3 * guide


def limit(case: Case, rates: Rates) -> Limit:
    """The least time that the region convolution of a case can take at these rates."""
    madds, traffic = work(case)
    rate = rates.copy_at(traffic)
    arithmetic, copying = madds / rates.gemm, traffic / rate
    bound = "arithmetic" if arithmetic >= copying else "traffic"
    return Limit(max(arithmetic, copying), madds, traffic, bound, rates.gemm, rate)
