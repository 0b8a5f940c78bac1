"""McNemar's test beside exact binomial sums, and the tests by seed beside scipy.stats."""

from __future__ import annotations

from fractions import Fraction
from math import comb, inf, sqrt

import numpy as np
import pytest
from scipy import stats

from drbench.errors import InputError
from drbench.statistics.significance import POWER, TOLERANCE, Difference, by_images, by_seeds, difference

IMAGES = 2000


def answers(lost: int, won: int, right: int = 900, images: int = IMAGES) -> tuple[list[bool], list[bool]]:
    """Before and now: so many lost, won and right in both; the rest wrong in both."""
    wrong = images - lost - won - right
    before = [True] * lost + [False] * won + [True] * right + [False] * wrong
    now = [False] * lost + [True] * won + [True] * right + [False] * wrong
    return before, now


def chance(lost: int, differ: int) -> Fraction:
    """Of at least so many losses among `differ` images, were a loss as likely as a gain."""
    return Fraction(sum(comb(differ, k) for k in range(lost, differ + 1)), 2**differ)


@pytest.mark.parametrize("level", [0.9, 0.99, 0.999])
def test_a_drop_is_what_the_exact_test_calls_significant(level: float) -> None:
    tail = Fraction(1 - level).limit_denominator(10**6) / 2
    for differ in (1, 5, 8, 9, 11, 20, 51, 200):
        for lost in range(differ + 1):
            found = by_images(*answers(lost, differ - lost), level=level)
            assert found.effect == pytest.approx((differ - 2 * lost) / IMAGES)
            assert found.count == differ
            assert (found.interval[1] < 0) == (chance(lost, differ) <= tail), (lost, differ)
            assert (found.interval[0] > 0) == (chance(differ - lost, differ) <= tail), (lost, differ)
            assert (found.outcome == "regression") == (found.interval[1] < 0)
            assert found.interval[0] <= found.effect <= found.interval[1]


def test_the_interval_is_no_narrower_than_walds() -> None:
    for lost, won in ((20, 0), (100, 0), (150, 40), (3, 3)):
        found = by_images(*answers(lost, won), level=0.99)
        share, effect = (lost + won) / IMAGES, (won - lost) / IMAGES
        reach = stats.norm.ppf(0.995) * sqrt((share - effect**2) / IMAGES)
        assert found.interval[0] <= effect - reach + 1e-12
        assert found.interval[1] >= effect + reach - 1e-12


@pytest.mark.parametrize("differ", [0, 3, 40, 300])
def test_what_it_sees_it_finds_in_four_of_five_cases(differ: int) -> None:
    """The test's power by sums over all outcomes, at the drop that it says it sees and at half of it."""
    won = differ // 2
    found = by_images(*answers(differ - won, won), level=0.99)
    count = max(differ, 8)  # seven images, were they all lost, are not significant at 0.5%: 2 ** -7 = 0.8%
    least = next(k for k in range(count + 1) if chance(k, count) <= Fraction(5, 1000))

    def power(drop: float) -> float:
        share = (1 + drop * IMAGES / count) / 2
        return float(stats.binom.sf(least - 1, count, min(share, 1.0)))

    assert power(found.sees) == pytest.approx(POWER, abs=1e-6)
    assert power(found.sees / 2) < POWER


def test_nothing_differs() -> None:
    found = by_images(*answers(0, 0))
    assert (found.outcome, found.effect, found.count) == ("held", 0, 0)


def test_few_images_tell_nothing() -> None:
    found = by_images(*answers(10, 9, right=50, images=100))
    assert found.outcome == "unresolved"
    assert found.sees > TOLERANCE


def test_two_points_of_ten_thousand_images_are_found() -> None:
    """15% of the images differ: 850 lost, 650 won."""
    assert by_images(*answers(850, 650, right=6000, images=10_000)).outcome == "regression"
    assert by_images(*answers(750, 750, right=6000, images=10_000)).outcome == "held"
    assert by_images(*answers(650, 850, right=6000, images=10_000)).outcome == "improvement"


def test_a_limit_is_what_may_be_lost() -> None:
    before, now = answers(200, 120, right=6000, images=10_000)  # 0.8 points, significant
    assert by_images(before, now).outcome == "regression"
    assert by_images(before, now, limit=0.01).outcome == "unresolved"
    assert by_images(before, now, limit=0.02).outcome == "held"


def test_other_images_are_refused() -> None:
    with pytest.raises(InputError, match="the same images"):
        by_images([True], [True, False])
    with pytest.raises(InputError, match="the same images"):
        by_images([], [])


SEEDS = range(6)
BEFORE = {seed: 0.7 + 0.01 * value for seed, value in zip(SEEDS, (0.3, -0.2, 0.5, 0.1, -0.4, 0.0), strict=True)}
NOW = {seed: 0.68 + 0.01 * value for seed, value in zip(SEEDS, (0.2, -0.1, 0.1, 0.3, -0.6, 0.2), strict=True)}


def test_common_seeds_are_paired() -> None:
    found = by_seeds(BEFORE, NOW)
    expected = stats.ttest_rel(list(NOW.values()), list(BEFORE.values())).confidence_interval(0.99)
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert (found.outcome, found.count) == ("regression", 6)


def test_other_seeds_are_not() -> None:
    other = {seed + 100: value for seed, value in NOW.items()}
    del other[100]
    found = by_seeds(BEFORE, other)
    expected = stats.ttest_ind(list(other.values()), list(BEFORE.values()), equal_var=False).confidence_interval(0.99)
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert found.count == 5


def test_what_seeds_show_they_find_in_four_of_five_cases() -> None:
    """Drawn: differences with the spread of these, moved by the drop that they are said to show."""
    found = by_seeds(BEFORE, NOW)
    spread = np.std([NOW[seed] - BEFORE[seed] for seed in SEEDS], ddof=1)
    drawn = np.random.default_rng(0).normal(-found.sees, spread, (20_000, len(SEEDS)))
    ends = stats.ttest_1samp(drawn, 0, axis=1).confidence_interval(0.99).high
    assert np.mean(ends < 0) == pytest.approx(POWER, abs=0.01)


def test_seeds_that_all_agree() -> None:
    assert by_seeds(BEFORE, BEFORE).outcome == "held"


@pytest.mark.parametrize(("before", "now"), [(4, 6), (6, 4), (1, 1)])
def test_few_seeds_are_refused(before: int, now: int) -> None:
    with pytest.raises(InputError, match="expected at least 5"):
        by_seeds(dict.fromkeys(range(before), 0.5), dict.fromkeys(range(now), 0.5))


def test_a_limit_and_seeds() -> None:
    spread = {seed: value - 0.005 for seed, value in BEFORE.items()}
    assert by_seeds(BEFORE, spread).outcome == "regression"
    assert by_seeds(BEFORE, spread, limit=0.006).outcome == "held"
    assert inf > by_seeds(BEFORE, NOW, limit=0.01).sees > 0.01


def test_the_interval_of_a_difference_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth, covered, trials = 0.3, 0, 2000
    for _ in range(trials):
        base = rng.normal(size=5)
        values = base + truth + rng.normal(scale=0.5, size=5)
        found = difference(dict(enumerate(values.tolist())), dict(enumerate(base.tolist())))
        assert found is not None
        assert found.half is not None
        covered += abs(found.mean - truth) < found.half
    assert covered / trials == pytest.approx(0.95, abs=0.02)  # four standard errors


def test_the_interval_of_a_difference_is_scipys() -> None:
    rng = np.random.default_rng(1)
    values, base = rng.normal(size=7), rng.normal(size=7)
    found = difference(dict(enumerate(values.tolist())), dict(enumerate(base.tolist())))
    expected = stats.ttest_rel(values, base).confidence_interval(0.95)
    assert found is not None
    assert found.half is not None
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((expected.low, expected.high))


def test_report_and_gate_give_the_same_interval() -> None:
    rng = np.random.default_rng(2)
    values, base = dict(enumerate(rng.normal(size=6).tolist())), dict(enumerate(rng.normal(size=6).tolist()))
    found, verdict = difference(values, base), by_seeds(base, values, level=0.95)
    assert found is not None
    assert found.half is not None
    assert verdict.interval == pytest.approx((found.mean - found.half, found.mean + found.half), rel=1e-12)


def test_seeds_in_common_are_paired() -> None:
    assert difference({0: 1.0}, {1: 1.0}) is None
    assert difference({0: 1.0, 1: 5.0, 2: 9.0}, {1: 4.0, 2: 6.0, 3: 0.0}) == Difference(2.0, None, 2)
