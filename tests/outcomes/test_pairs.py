"""Figures of verification and identification against scikit-learn and plain loops in float64."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from drbench import outcomes
from drbench.errors import InputError
from drbench.outcomes import pairs
from drbench.records import Outcomes

NAN = float("nan")


def drawn(seed: int, count: int = 400, folds: int = 10, rounded: bool = False) -> pairs.Pairs:
    random = np.random.default_rng(seed)
    same = random.random(count) < 0.5
    similarity = random.normal(np.where(same, 0.5, 0.0), 0.4).clip(-1, 1)
    similarity = similarity.round(1) if rounded else similarity
    people = random.integers(0, 30, (2, count))
    return pairs.table(similarity, same, random.integers(0, folds, count), *people)


def right_by_loop(table: pairs.Pairs) -> list[bool]:
    """Every candidate threshold on the other folds, one after the other; the lowest of the best."""
    rows = [(float(r["similarity"]), bool(r["same"]), int(r["fold"])) for r in table]
    answers = []
    for value, same, fold in rows:
        others = [row for row in rows if row[2] != fold and not math.isnan(row[0])]
        levels = sorted({row[0] for row in others})
        between = [(a + b) / 2 for a, b in pairwise(levels)]
        best, chosen = -1, 0.0
        for cut in [levels[0] - 1, *between, levels[-1]]:
            right = sum((v > cut) == s for v, s, _ in others)
            if right > best:
                best, chosen = right, cut
        answers.append(not math.isnan(value) and (value > chosen) == same)
    return answers


@pytest.mark.parametrize(("seed", "rounded"), [(0, False), (1, True), (2, True), (3, False)])
def test_accuracy_and_its_standard_error_against_a_loop(seed: int, rounded: bool) -> None:
    table = drawn(seed, rounded=rounded)
    table["similarity"][5] = NAN
    expected = right_by_loop(table)
    assert pairs.right(table).tolist() == expected
    folds = [[e for e, f in zip(expected, table["fold"], strict=True) if f == fold] for fold in range(10)]
    shares = [sum(fold) / len(fold) for fold in folds]
    mean = sum(shares) / 10
    error = math.sqrt(sum((share - mean) ** 2 for share in shares) / 9) / math.sqrt(10)
    found = pairs.accuracy(table)
    assert (found.value, found.standard_error, found.folds) == (pytest.approx(mean), pytest.approx(error), 10)


def test_accuracy_does_not_depend_on_the_order_of_the_folds() -> None:
    """Complaint 12 about other tools: an accuracy that changes with the order of the folds."""
    table = drawn(4)
    turned = table.copy()
    turned["fold"] = 9 - turned["fold"]
    shuffled = np.random.default_rng(0).permutation(table)
    for other in (turned, shuffled):
        assert pairs.accuracy(other).value == pytest.approx(pairs.accuracy(table).value)
        assert pairs.accuracy(other).standard_error == pytest.approx(pairs.accuracy(table).standard_error)


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("rounded", [False, True])
def test_true_accept_rate_against_scikit_learn(rate: float, rounded: bool) -> None:
    for seed in range(20):
        table = drawn(seed, 1000, rounded=rounded)
        false, true, _ = roc_curve(table["same"], table["similarity"], drop_intermediate=False)
        assert pairs.true_accept_rate(table, rate) == pytest.approx(true[false <= rate + 1e-12].max())


@pytest.mark.parametrize(("different", "rate"), [(0, 1.0), (9, 1.0), (99, 1.0), (100, 0.1), (500, 0.1), (3000, 0.01)])
def test_the_rate_allows_ten_false_accepts(different: int, rate: float) -> None:
    assert pairs.false_accept_rate(pairs.table(*[[0] * different] * 5)) == rate


def test_perfect_and_useless_similarities() -> None:
    same = [True, False] * 50
    fold = np.arange(100) // 10
    perfect = pairs.table(np.where(same, 0.9, -0.2), same, fold, fold, fold)
    assert pairs.accuracy(perfect).value == 1.0
    assert pairs.true_accept_rate(perfect, 0.1) == 1.0
    equal = pairs.table(np.ones(100), same, fold, fold, fold)
    assert pairs.accuracy(equal).value == pytest.approx(0.5)
    assert pairs.true_accept_rate(equal, 0.1) == 0.0


def test_a_network_that_gives_nan_is_always_wrong() -> None:
    same = [True, False] * 20
    table = pairs.table([NAN] * 40, same, np.arange(40) // 4, [0] * 40, [1] * 40)
    assert pairs.accuracy(table).value == 0.0
    assert pairs.true_accept_rate(table, 0.1) == 0.0


def test_no_pairs() -> None:
    empty = pairs.table([], [], [], [], [])
    assert math.isnan(pairs.accuracy(empty).value)
    assert math.isnan(pairs.true_accept_rate(empty, 0.1))
    assert math.isnan(pairs.rank1(pairs.probe_table([], [])))


def test_ranks_are_capped_at_255() -> None:
    probes = pairs.probe_table([0, 3, 255, 256, 100_000], [1, 2, 3, 4, 5])
    assert probes["rank"].tolist() == [0, 3, 255, 255, 255]
    assert pairs.rank1(probes) == 0.2


def test_pairs_and_probes_are_packed_together() -> None:
    table, probes = drawn(7, 25), pairs.probe_table([0, 4], [8, 9])
    kept = outcomes.encode("pair", "pairs-1", table, probes)
    assert (kept.count, len(kept.data)) == (25, 25 * 14 + 2 * 5)
    assert outcomes.decode(kept).tolist() == table.tolist()
    assert outcomes.rest(kept).tolist() == probes.tolist()
    assert outcomes.right(kept).tolist() == pairs.right(table).tolist()
    assert len(outcomes.rest(outcomes.encode("pair", "pairs-1", table))) == 0


def test_data_of_another_length_is_refused() -> None:
    kept = outcomes.encode("pair", "pairs-1", drawn(7, 25))
    for data in (kept.data[:-1], kept.data + b"abc"):
        with pytest.raises(InputError, match="expected 350, for 25 values of pairs-1 and rows of 5 bytes after them"):
            outcomes.decode(Outcomes("pair", "pairs-1", 25, data))
    with pytest.raises(InputError, match="cannot hold"):
        outcomes.encode("pair", "pairs-1", [0.5])
    with pytest.raises(InputError, match="expected one with rows after the values"):
        outcomes.rest(outcomes.encode("image", "rank-u8", [0]))
