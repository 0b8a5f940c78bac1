"""The arithmetic of the operator benchmark (pairs, limits, memory), by hand-made samples and hand-worked numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from statistics import median

import pytest
import torch
from drbench_kernels.bench import limits, memory, summary
from drbench_kernels.bench.limits import Rates
from drbench_kernels.bench.problem import Case
from drbench_kernels.bench.shapes import parse
from drbench_kernels.bench.timing import Budget, CpuClock, Reading, Timed, interleave, order, quantile, ratio, timed


class Script(CpuClock):
    """A clock that shows times written down beforehand, and remembers who was timed."""

    def __init__(self, times: dict[str, Iterator[float]]) -> None:
        self.times = times
        self.seen: list[str] = []

    def sample(self, timed: Timed) -> Reading:
        name = str(timed.call())
        self.seen.append(name)
        seconds = next(self.times[name])
        return lambda: seconds


def run(
    times: dict[str, Iterator[float]], budget: Budget, **references: str
) -> tuple[dict[str, list[float]], list[str]]:
    clock = Script(times)
    calls = {name: Timed(lambda name=name: name) for name in times}  # type: ignore[misc]
    return interleave(calls, {name: references.get(name, "conv") for name in times}, clock, budget), clock.seen


def test_ratios_are_of_pairs_and_not_of_medians() -> None:
    ours, conv = [2.0, 40.0, 6.0, 8.0], [1.0, 10.0, 2.0, 4.0]
    found = ratio(ours, conv)  # 2, 4, 3, 2
    assert (found.median, found.p25, found.p75, found.rounds) == (2.5, 2.0, 3.25, 4)
    assert found.median != median(ours) / median(conv)


def test_a_slow_way_is_paired_with_the_rounds_that_it_took_part_in() -> None:
    found = ratio([6.0, 8.0], [2.0, 2.0, 100.0, 100.0])
    assert (found.median, found.rounds) == (3.5, 2)


def test_quantiles_are_linear_between_samples() -> None:
    values = [1.0, 2.0, 4.0, 8.0]
    assert [quantile(values, q) for q in (0, 0.25, 0.5, 0.75, 1)] == [1, 1.75, 3, 5, 8]
    assert quantile([7.0], 0.75) == 7


def test_order_turns_so_that_each_comes_equally_often_in_each_place() -> None:
    names = ("a", "b", "c")
    rounds = [order(names, number) for number in range(6)]
    assert rounds[0] == ["a", "b", "c"]
    assert rounds[1] == ["c", "b", "a"]
    for place in range(3):
        assert sorted(one[place] for one in rounds) == ["a", "a", "b", "b", "c", "c"]


def test_slow_ways_stop_first_and_the_reference_last() -> None:
    times = {"conv": itertools.repeat(1.0), "ours": itertools.repeat(2.0), "slow": itertools.repeat(50.0)}
    samples, seen = run(times, Budget(seconds=10, most=100, least=3))
    assert {name: len(values) for name, values in samples.items()} == {"conv": 10, "ours": 5, "slow": 3}
    assert seen[:6] == ["conv", "ours", "slow", "slow", "ours", "conv"]


def test_a_reference_goes_on_for_as_long_as_what_is_compared_with_it() -> None:
    times = {"conv": itertools.repeat(9.0), "ours": itertools.repeat(1.0)}
    samples, _ = run(times, Budget(seconds=10, most=8, least=3))
    assert {name: len(values) for name, values in samples.items()} == {"conv": 8, "ours": 8}


def test_a_sample_is_as_many_calls_as_take_long_enough() -> None:
    budget = Budget(sample_seconds=0.001)
    assert timed(lambda: None, 0.00025, budget, graph=False).runs == 4
    assert timed(lambda: None, 0.5, budget, graph=False).runs == 1
    assert timed(lambda: None, 1e-9, budget, graph=False).runs == 50


def test_clock_gives_seconds_per_call() -> None:
    calls = []
    seconds = CpuClock().sample(Timed(lambda: calls.append(1), runs=5, calls=2))()
    assert len(calls) == 5
    assert 0 < seconds < 0.1


def case(name: str, batch: int, *, backward: bool, regions: int = 8, dtype: torch.dtype = torch.float32) -> Case:
    shape = parse(name)
    assert shape is not None
    return Case(shape, batch, backward, regions, dtype=dtype)


def test_work_by_hand() -> None:
    # 24 -> 58 channels on 28x28, two samples: positions 784, filter 1392
    assert limits.work(case("1x1-24-58@28", 2, backward=False)) == (
        2 * 784 * 1392,
        4 * (2 * 24 * 784 + 2 * 58 * 784 + 2 * 8 * 1392 + 2 * 8 * 784),
    )
    # 3x3, stride 2: 4 x 3 positions of 7 x 5; filters of 2 * 3 * 9 = 54, m = 4; bfloat16, the guide float32
    forward, backward = (case("3x3-2-3@7x5s2", 1, backward=b, regions=4, dtype=torch.bfloat16) for b in (False, True))
    inputs, outputs, filters, guide = 2 * 70, 2 * 36, 2 * 216, 4 * 48
    assert limits.work(forward) == (12 * 54, inputs + outputs + filters + guide)
    assert limits.work(backward) == (6 * 12 * 54, 3 * inputs + 2 * outputs + 3 * filters + 3 * guide)


def test_backward_with_a_float_guide_needs_m_plus_2_products() -> None:
    for regions in (1, 2, 8):
        once, all_ = (limits.work(case("1x1-3-4@5", 1, backward=b, regions=regions))[0] for b in (False, True))
        assert all_ == (regions + 2) * once


def test_limit_is_the_larger_of_arithmetic_and_traffic() -> None:
    one = case("1x1-24-58@28", 2, backward=False)
    madds, size = limits.work(one)
    assert (madds, size) == (2_182_656, 653_568)
    slow_gemm = limits.limit(one, Rates(1e9, {1 << 18: 1e12}))
    assert (slow_gemm.seconds, slow_gemm.bound) == (pytest.approx(2_182_656e-9), "arithmetic")
    slow_copy = limits.limit(one, Rates(1e15, {1 << 18: 1e9}))
    assert (slow_copy.seconds, slow_copy.bound) == (pytest.approx(653_568e-9), "traffic")
    assert (slow_copy.multiply_adds, slow_copy.bytes) == (madds, size)
    assert (slow_copy.gemm_rate, slow_copy.copy_rate) == (1e15, 1e9)


def test_copy_rate_is_that_of_the_largest_copy_below() -> None:
    rates = Rates(1.0, {100: 4.0, 1000: 3.0, 10_000: 2.0})
    assert [rates.copy_at(size) for size in (1, 100, 999, 1000, 9_999, 1_000_000)] == [4, 4, 4, 3, 3, 2]


def test_the_faster_of_two_measurements_counts() -> None:
    """What else runs on a machine can only slow it down."""
    first, second = Rates(5.0, {1: 1.0, 2: 9.0}), Rates(4.0, {1: 3.0, 2: 8.0})
    assert first.best(second) == Rates(5.0, {1: 3.0, 2: 9.0})


def test_extra_memory_counts_what_is_held_at_once() -> None:
    x = torch.ones(256, 1024)  # 1 MiB

    def two_at_once() -> torch.Tensor:
        kept = x + 1
        return kept * 2

    def one_after_the_other() -> None:
        for _ in range(3):
            x.add(1)

    for call, mebibytes in ((two_at_once, 2), (one_after_the_other, 1), (lambda: x.add_(0), 0)):
        call()
        assert memory.peak_extra(call, torch.device("cpu")) == pytest.approx(mebibytes * 2**20, abs=1024)


def test_extra_memory_counts_gradients() -> None:
    x = torch.ones(256, 1024, requires_grad=True)
    grad = torch.ones(256, 1024)

    def call() -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(x * 2, x, grad)

    call()
    assert 2 * 2**20 <= memory.peak_extra(call, torch.device("cpu")) <= 3 * 2**20


def test_means_are_geometric() -> None:
    assert summary.geometric_mean([1, 4]) == pytest.approx(2)
    assert summary.geometric_mean([0.5, 2, 8]) == pytest.approx(2)
