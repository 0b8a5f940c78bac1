"""Statistics over seeds, against numpy and printed tables."""

from __future__ import annotations

import numpy as np
import pytest

from drbench.report import seeds

T_TABLE = {4: 2.776445, 5: 2.570582, 9: 2.262157, 19: 2.093024, 99: 1.984217}
"""Two-sided 95% quantiles of Student's t by degrees of freedom, as printed in any table."""


@pytest.mark.parametrize(("freedom", "quantile"), T_TABLE.items())
def test_t_quantiles(freedom: int, quantile: float) -> None:
    assert seeds.t_quantile(freedom) == pytest.approx(quantile, rel=3e-3)


def test_spread() -> None:
    values: dict[int | None, float] = dict(enumerate(np.random.default_rng(0).normal(size=7).tolist()))
    mean, deviation, count = seeds.spread(values)
    assert mean == pytest.approx(np.mean(list(values.values())))
    assert deviation == pytest.approx(np.std(list(values.values()), ddof=1))
    assert count == 7
    assert seeds.spread({0: 0.5}) == (0.5, None, 1)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth, covered, trials = 0.3, 0, 2000
    for _ in range(trials):
        base = rng.normal(size=5)
        values = base + truth + rng.normal(scale=0.5, size=5)
        found = seeds.difference(dict(enumerate(values.tolist())), dict(enumerate(base.tolist())))
        assert found is not None
        assert found.half is not None
        covered += abs(found.mean - truth) < found.half
    assert covered / trials == pytest.approx(0.95, abs=0.02)  # four standard errors


def test_seeds_in_common_are_paired() -> None:
    assert seeds.difference({0: 1.0}, {1: 1.0}) is None
    found = seeds.difference({0: 1.0, 1: 5.0, 2: 9.0}, {1: 4.0, 2: 6.0, 3: 0.0})
    assert found == seeds.Difference(2.0, None, 2)
