"""Intervals against textbook figures and simulation, and every branch of the decision."""

import math
import random

import pytest

from drbench.errors import InputError
from drbench.statistics.ratios import Interval, decide, ratio_interval, ratio_of_ratios, resolution, resolves, shared

# Student (1908), extra hours of sleep with two drugs, ten patients; R prints these intervals for it.
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
# Wilcox, Introduction to Robust Estimation and Hypothesis Testing: self-awareness data, its 20% trimmed mean.
AWARENESS = [77, 87, 88, 114, 151, 210, 219, 246, 253, 262, 296, 299, 306, 376, 428, 515, 666, 1310, 2611]


def logs(interval):
    return math.log(interval.estimate), math.log(interval.low), math.log(interval.high)


def test_paired_t_interval_of_students_sleep():
    differences = [b - a for a, b in zip(FIRST, SECOND, strict=True)]
    assert logs(ratio_interval(differences, trim=0)) == pytest.approx((1.58, 0.7001142, 2.4598858), abs=1e-6)


def test_welch_interval_of_students_sleep():
    found = ratio_of_ratios(FIRST, SECOND, trim=0)
    assert logs(found) == pytest.approx((-1.58, -3.3654832, 0.2054832), abs=1e-6)
    assert found.count == 10


def test_trimmed_interval_of_wilcox():
    """He divides by the nominal 0.6 of 19 where Yuen's one-sample form has the 13 that are left of them."""
    middle, low, high = logs(ratio_interval([value / 1000 for value in AWARENESS]))
    wider = math.sqrt(13 * 12 / 18) / (0.6 * math.sqrt(19))
    found = middle, middle - (middle - low) * wider, middle + (high - middle) * wider
    assert found == pytest.approx((0.28269, 0.16039, 0.40499), abs=2e-5)


def test_few_workers_are_not_trimmed():
    assert ratio_interval([0.0, 0.1, 0.2, 0.3, 3.0]).estimate == pytest.approx(math.exp(0.72))


def test_one_bad_worker_in_ten_does_not_hide_the_others():
    steady = [0.05, 0.049, 0.051, 0.0505, 0.0495, 0.05, 0.0503, 0.0497, 0.05, 0.7]
    assert ratio_interval(steady).high < 1.06


def test_one_worker_has_no_interval():
    found = ratio_interval([0.3])
    assert (found.low, found.high, found.count) == (0.0, math.inf, 1)
    assert ratio_of_ratios([0.3], [0.1, 0.2]).high == math.inf
    assert resolves([0.3], [0.1], 5).share == math.inf


def test_equal_workers_are_certain():
    assert ratio_interval([0.0] * 8) == Interval(1.0, 1.0, 1.0, 0.95, 8)
    assert ratio_of_ratios([0.1] * 3, [0.1] * 3).low == 1.0


@pytest.mark.parametrize("values", [[], [math.nan, 0.1], [math.inf]])
def test_what_has_no_interval(values):
    with pytest.raises(InputError, match="at least one worker"):
        ratio_interval(values)


def test_a_senseless_level():
    with pytest.raises(InputError, match="level: got 95"):
        ratio_interval([0.1, 0.2], level=95)


@pytest.mark.parametrize(("count", "tail"), [(5, 0.0), (8, 0.0), (16, 0.0), (16, 0.1), (32, 0.1)])
def test_covers_the_truth_as_often_as_it_says(count, tail):
    """`tail`: that share of the workers is off by ten times the spread, either way."""
    rng, hits, trials = random.Random(7), 0, 2000
    for _ in range(trials):
        found = ratio_interval([0.1 + rng.gauss(0, 0.2 if rng.random() < tail else 0.02) for _ in range(count)])
        hits += found.low <= math.exp(0.1) <= found.high
    assert 0.93 <= hits / trials <= 0.985


def interval(low, high):
    return Interval((low + high) / 2, low, high, 0.95, 8)


@pytest.mark.parametrize(
    ("low", "high", "floor", "expected"),
    [
        (1.03, 1.06, (0.99, 1.01), "regression"),
        (1.03, 1.06, (0.96, 1.01), "unresolved"),  # the copy itself may differ by 4%
        (1.03, 1.06, None, "regression"),
        (1.02, 1.06, None, "unresolved"),  # not certainly more than the limit
        (0.99, 1.02, (0.99, 1.01), "held"),
        (0.99, 1.021, (0.99, 1.01), "unresolved"),
        (0.99, 1.01, (0.99, 1.03), "unresolved"),  # held, if one could believe it
        (0.90, 0.97, (0.99, 1.01), "improvement"),
        (0.90, 0.97, (0.96, 1.00), "unresolved"),
        (0.97, 0.99, (0.99, 1.01), "held"),
        (0.0, math.inf, (0.99, 1.01), "unresolved"),
    ],
)
def test_decision(low, high, floor, expected):
    assert decide(interval(low, high), floor and interval(*floor), limit=0.02) == expected


def test_several_statements_share_a_level():
    assert shared(0.95, 1) == pytest.approx(0.95)
    assert shared(0.95, 5) == pytest.approx(0.99)


def test_resolution_is_found_four_times_in_five():
    """By simulation: a slow-down of the size that is named is called a regression in about 80% of comparisons."""
    rng, spread, found, trials = random.Random(3), 0.01, 0, 600
    shares = []
    for _ in range(trials):
        floor = [rng.gauss(0, spread) for _ in range(16)]
        noise = [rng.gauss(0, spread) for _ in range(16)]
        shares.append(resolves(noise, floor, 60).share)
    share = sorted(shares)[trials // 2]
    for _ in range(trials):
        floor = [rng.gauss(0, spread) for _ in range(16)]
        slowed = [math.log1p(share) + rng.gauss(0, spread) for _ in range(16)]
        found += decide(ratio_interval(slowed), ratio_interval(floor)) == "regression"
    assert 0.72 <= found / trials <= 0.9


def test_resolution_in_words():
    values = [0.1, -0.1, 0.05, -0.05, 0.02, -0.02, 0.08, -0.08]
    text = resolves(values, values, 300).text
    assert text.startswith("resolves ")
    assert text.endswith(" needs about 20 min")
    assert " in 5 min here; " in text


def test_more_time_resolves_less():
    floor = [0.1, -0.1, 0.05, -0.05, 0.02, -0.02, 0.08, -0.08]
    minute, four, sixteen = (resolution(floor, 60, seconds) for seconds in (60, 240, 960))
    assert minute > four > sixteen
    assert four / sixteen == pytest.approx(2, rel=0.25)  # as one over the root, once the floor is sharp
