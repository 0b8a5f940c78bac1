import numpy as np
import pytest

from drbench.errors import InputError
from drbench.statistics.samples import in_millions, mean_and_deviation, paired_ratios, quantile, summary


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101])
@pytest.mark.parametrize("fraction", [0, 0.25, 0.5, 0.9, 0.99, 1])
def test_quantile_is_numpys(count, fraction):
    samples = np.random.default_rng(count).lognormal(size=count).tolist()
    assert quantile(samples, fraction) == pytest.approx(np.quantile(samples, fraction), rel=1e-14)


def test_summary_is_numpys():
    samples = np.random.default_rng(0).lognormal(size=57).tolist()
    found = summary(samples)
    assert (found.count, found.minimum, found.maximum) == (57, min(samples), max(samples))
    assert found.mean == pytest.approx(np.mean(samples))
    ours = (found.p25, found.p50, found.p75, found.p90, found.p99)
    assert ours == pytest.approx(tuple(np.quantile(samples, [0.25, 0.5, 0.75, 0.9, 0.99])))


def test_pairs_see_through_a_machine_that_slows_down():
    reference = [1.0, 1.0, 1.0, 4.0, 4.0]
    samples = [2.0, 2.0, 2.0, 8.0, 8.0]
    assert paired_ratios(samples, reference) == (2.0,) * 5
    assert summary(samples).p50 / summary(reference).mean != 2.0


def test_mean_and_deviation():
    values = [0.671, 0.665, 0.68]
    mean, deviation = mean_and_deviation(values)
    assert (mean, deviation) == pytest.approx((np.mean(values), np.std(values, ddof=1)))
    assert mean_and_deviation([0.5]) == (0.5, None)


@pytest.mark.parametrize(
    "call",
    [
        lambda: quantile([], 0.5),
        lambda: quantile([1.0], 1.1),
        lambda: quantile([1.0], float("nan")),
        lambda: summary([]),
        lambda: paired_ratios([1.0], [1.0, 2.0]),
        lambda: paired_ratios([1.0], [0.0]),
        lambda: mean_and_deviation([]),
    ],
)
def test_senseless_samples(call):
    with pytest.raises(InputError):
        call()


@pytest.mark.parametrize(
    ("value", "text"),
    [(45_570_000, "45.57"), (1_234_000_000, "1,234.00"), (470_000, "0.47"), (8_250, "0.00825"), (12, "0.0000120")],
)
def test_millions_of_a_small_network_are_not_nothing(value: float, text: str) -> None:
    assert in_millions(value) == text


def test_no_millions_at_all() -> None:
    assert in_millions(0) == "0.00"
