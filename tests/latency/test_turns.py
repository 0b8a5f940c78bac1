"""Who runs when, and what a process says about a ratio; by a clock that the tests turn themselves."""

import math

import pytest

from drbench.latency import turns


class Clock:
    """Networks whose calls take as long as they are told to; knows who was called when."""

    def __init__(self, **seconds):
        self.seconds, self.called = seconds, []

    def turn(self, name, count):
        self.called.append((name, count))
        return [self.seconds[name]] * count


def rounds(number):
    return lambda done, seconds: done < number


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_no_place_in_the_order_has_a_favourite(count):
    names = [str(i) for i in range(count)]
    found = [turns.order(names, number) for number in range(2 * count)]
    for place in range(count):
        assert sorted(one[place] for one in found) == sorted(names * 2)


def test_two_go_ab_ba_ba_ab():
    assert ["".join(turns.order("ab", number)) for number in range(4)] == ["ab", "ba", "ba", "ab"]


def test_short_calls_are_repeated_and_the_first_of_a_turn_thrown_away():
    clock = Clock(a=0.002, b=0.002)
    found = turns.take("ab", clock.turn, warm=3, go_on=rounds(4))
    assert clock.called[:4] == [("a", 1)] * 4  # the first, and three to warm up
    assert clock.called[8:] == [(name, 6) for name in "abbabaab"]
    assert {name: [len(turn) for turn in kept] for name, kept in found.items()} == {"a": [5] * 4, "b": [5] * 4}


def test_long_calls_are_kept_one_by_one():
    clock = Clock(a=0.5, b=0.03)
    found = turns.take("ab", clock.turn, warm=1, go_on=rounds(2))
    assert found == {"a": ((0.5,), (0.5,)), "b": ((0.03,), (0.03,))}


def test_warming_up_has_an_end():
    clock = Clock(a=0.7)
    turns.take("a", clock.turn, warm=50, go_on=rounds(1))
    assert len(clock.called) == 1 + 2 + 1


def test_going_on_is_asked_after_each_round_with_what_was_kept():
    asked = []

    def go_on(number, seconds):
        asked.append((number, round(seconds, 9)))
        return number < 3

    turns.take("ab", Clock(a=0.02, b=0.03).turn, warm=0, go_on=go_on)
    assert asked == [(1, 0.05), (2, 0.1), (3, 0.15)]


def test_one_round_at_least():
    assert len(turns.take("a", Clock(a=0.05).turn, warm=0, go_on=lambda number, seconds: False)["a"]) == 1


def test_ratios_are_of_turns_in_the_same_round():
    ours, theirs = ((2.0, 2.0, 9.0), (6.0,)), ((1.0,), (2.0, 2.0, 8.0))
    assert turns.ratios(ours, theirs) == (2.0, 3.0)


def test_a_process_says_the_median_of_its_rounds():
    reference = tuple((float(number),) for number in range(1, 6))
    slowed = tuple((1.1 * turn[0],) for turn in reference)
    hit = (*slowed[:4], (100.0,))  # once by something else
    assert turns.log_ratio(hit, reference) == pytest.approx(math.log(1.1))


def test_all_calls_in_order():
    assert turns.together(((1.0, 2.0), (3.0,))) == (1.0, 2.0, 3.0)
