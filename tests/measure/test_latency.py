"""The protocol of timing, never the times themselves."""

import gc
from dataclasses import replace

import pytest
import torch

from drbench.errors import FailedError, InputError
from drbench.measure import latency
from drbench.records import LatencySettings
from drbench.statistics import order

BRIEF = LatencySettings(warmup_runs=2, min_runs=6, min_seconds=0.0, max_seconds=60.0, device="cpu")


def recorder(calls, name):
    return lambda: calls.append(name)


def test_each_round_runs_each_once_and_all_have_as_many_samples():
    calls = []
    samples = latency.measure({name: recorder(calls, name) for name in "abc"}, BRIEF)
    assert {name: len(values) for name, values in samples.items()} == {"a": 6, "b": 6, "c": 6}
    rounds = ["".join(calls[i : i + 3]) for i in range(0, len(calls), 3)]
    assert len(rounds) == 2 + 6  # warm-up is run and not kept
    assert all(sorted(one) == ["a", "b", "c"] for one in rounds)
    assert all(value > 0 for values in samples.values() for value in values)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_no_place_in_the_order_has_a_favourite(count):
    names = [str(i) for i in range(count)]
    rounds = [order(names, number) for number in range(2 * count)]
    for place in range(count):
        assert sorted(one[place] for one in rounds) == sorted(names * 2)


def test_two_functions_go_ab_ba_ba_ab():
    assert ["".join(order("ab", number)) for number in range(4)] == ["ab", "ba", "ba", "ab"]


def test_goes_on_until_the_minimum_time():
    passed = []
    settings = replace(BRIEF, min_runs=1, min_seconds=0.02)
    samples = latency.measure({"a": lambda: torch.ones(64).sum()}, settings, on_round=lambda n, s: passed.append(n))
    assert sum(samples["a"]) >= 0.02
    assert sum(samples["a"][:-1]) < 0.02  # and no longer
    assert passed == list(range(1, len(samples["a"]) + 1))


def test_stops_at_the_maximum_time_with_at_least_one_round():
    settings = replace(BRIEF, warmup_runs=1000, min_runs=1000, max_seconds=0.0)
    calls = []
    assert len(latency.measure({"a": recorder(calls, "a")}, settings)["a"]) == 1
    assert len(calls) == 2  # one round of warm-up, one kept


def test_runs_in_inference_mode_without_collection_and_with_the_threads_asked_for():
    seen = []

    def look():
        seen.append((torch.is_inference_mode_enabled(), gc.isenabled(), torch.get_num_threads()))

    before = torch.get_num_threads()
    latency.measure({"a": look}, replace(BRIEF, threads=before + 1))
    assert set(seen) == {(True, False, before + 1)}
    assert (torch.is_inference_mode_enabled(), gc.isenabled(), torch.get_num_threads()) == (False, True, before)


def test_device_is_waited_for_before_and_after_each_call():
    calls = []
    settings = replace(BRIEF, warmup_runs=0, min_runs=2)
    latency.measure({"a": recorder(calls, "a")}, settings, synchronize=recorder(calls, "wait"))
    assert calls == ["wait", "a", "wait"] * 2


def test_context_records_what_a_time_depends_on():
    with latency.settings_context(replace(BRIEF, threads=1)) as context:
        assert torch.get_num_threads() == 1
    assert context == {"threads": 1, "dtype": "float32", "device": "cpu", "channels_last": True}


def test_failure_names_the_function_and_restores():
    before = torch.get_num_threads()
    with pytest.raises(FailedError, match=r"bad failed while it was timed: ZeroDivisionError: division by zero"):
        latency.measure({"good": int, "bad": lambda: 1 / 0}, replace(BRIEF, threads=before + 1))
    assert gc.isenabled()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "wrong", [{"min_runs": 0}, {"warmup_runs": -1}, {"threads": 0}, {"max_seconds": float("nan")}, {"device": "abacus"}]
)
def test_senseless_settings(wrong):
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        latency.measure({"a": int}, replace(BRIEF, **wrong))


def test_nothing_to_time():
    with pytest.raises(InputError, match="nothing to time"):
        latency.measure({}, BRIEF)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a device here")
def test_absent_device():
    with pytest.raises(InputError, match="'cuda' is not on this machine: use cpu or auto"):
        latency.device_of(replace(BRIEF, device="cuda"))
