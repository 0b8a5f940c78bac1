"""Protocols for images of people: what is drawn, and that no person and no fold leaks."""

from __future__ import annotations

import numpy as np
import pytest

from drbench.data.splits import hold_out_people
from drbench.data.verification import draw_pairs, in_folds, mates_of


def test_drawn_pairs_are_balanced_and_no_person_is_in_two_folds() -> None:
    people = np.repeat(np.arange(40), 8)
    drawn = draw_pairs(people, 400)
    assert (len(drawn.first), int(drawn.same.sum())) == (400, 200)
    assert np.bincount(drawn.fold).tolist() == [40] * 10
    homes: dict[int, set[int]] = {}
    seen = set()
    for one, other, same, fold in zip(drawn.first, drawn.second, drawn.same, drawn.fold, strict=True):
        assert one != other
        assert (people[one] == people[other]) == same
        seen.add((min(one, other), max(one, other)))
        for image in (one, other):
            homes.setdefault(int(people[image]), set()).add(int(fold))
    assert len(seen) == 400
    assert all(len(folds) == 1 for folds in homes.values())
    again = draw_pairs(people, 400)
    assert again.first.tolist() == drawn.first.tolist()


@pytest.mark.parametrize("people", [[0, 0, 1, 1], [0, 0, 0], [0, 1, 2, 3], [0, 0, 1, 2, 2, 3]])
def test_few_people_have_fewer_folds_and_pairs(people: list[int]) -> None:
    drawn = draw_pairs(people, 100)
    assert len(np.unique(drawn.fold)) <= max(len(set(people)) // 2, 1)
    for one, other, same in zip(drawn.first, drawn.second, drawn.same, strict=True):
        assert (people[one] == people[other]) == same


def test_distractors_are_in_no_pair_and_no_probe() -> None:
    people = np.array([0, 0, 1, 1, 2, 2, 3, 4])
    drawn = draw_pairs(people, 20, np.array([6, 7]))
    used = {*drawn.first.tolist(), *drawn.second.tolist(), *drawn.probes.tolist(), *drawn.mates.tolist()}
    assert not used & {6, 7}
    assert (drawn.probes.tolist(), drawn.mates.tolist()) == ([1, 3, 5], [0, 2, 4])
    assert str(drawn).endswith("3 probes among 2 distractors")


def test_mates() -> None:
    probes, mates = mates_of(np.array([5, 7, 5, 5, 9, 7]), np.arange(6))
    assert (probes.tolist(), mates.tolist()) == ([2, 3, 5], [0, 0, 1])


def test_a_list_without_folds_is_cut_into_ten_of_each_kind() -> None:
    same = np.array([True] * 50 + [False] * 30)
    fold = in_folds(same)
    assert np.bincount(fold[:50]).tolist() == [5] * 10
    assert np.bincount(fold[50:]).tolist() == [3] * 10
    assert (np.diff(fold[:50]) >= 0).all()


@pytest.mark.parametrize(("count", "fraction", "held"), [(20, 0.1, 2), (20, 0.25, 5), (4, 0.1, 2), (10, 0.0, 0)])
def test_whole_people_are_held_out(count: int, fraction: float, held: int) -> None:
    labels = np.repeat(np.arange(count), 3)[::-1]
    kept, out = hold_out_people(labels, fraction)
    assert sorted(kept + out) == list(range(3 * count))
    assert not set(labels[kept]) & set(labels[out])
    assert len(set(labels[out])) == held
