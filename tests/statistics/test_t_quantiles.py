"""Student's t against printed tables and scipy.stats, which computes it another way."""

from __future__ import annotations

import pytest
from scipy import stats

from drbench.errors import InputError
from drbench.statistics.t_quantiles import one_sided, two_sided

T_TABLE = {1: 12.706205, 4: 2.776445, 5: 2.570582, 9: 2.262157, 19: 2.093024, 99: 1.984217}
"""Two-sided 95% quantiles by degrees of freedom, as printed in any table."""


@pytest.mark.parametrize(("freedom", "quantile"), T_TABLE.items())
def test_it_is_the_printed_one(freedom: int, quantile: float) -> None:
    assert two_sided(freedom) == pytest.approx(quantile, rel=1e-6)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize("freedom", [1, 2.5, 7.31, 40])
def test_it_is_scipys(freedom: float, level: float) -> None:
    assert two_sided(freedom, level) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom), rel=1e-9)
    assert one_sided(freedom, level) == pytest.approx(stats.t.ppf(level, freedom), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("level", [0, 1, -0.5, float("nan")])
def test_a_level_outside_0_to_1_is_refused(level: float) -> None:
    with pytest.raises(InputError, match="expected a number between 0 and 1"):
        two_sided(3, level)
