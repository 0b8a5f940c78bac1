"""The protocol of timing, never the times themselves."""

import gc
from dataclasses import replace

import psutil
import pytest
import torch

from drbench.errors import FailedError, InputError
from drbench.latency import timer
from drbench.records import LatencySettings

BRIEF = LatencySettings(warmup_runs=2, min_runs=6, min_seconds=0.0, max_seconds=60.0, device="cpu")


def recorder(calls, name):
    return lambda: calls.append(name)


def test_all_have_as_many_turns_and_the_first_calls_are_not_kept():
    calls = []
    samples = timer.measure({name: recorder(calls, name) for name in "abc"}, BRIEF)
    assert {name: len(values) for name, values in samples.items()} == {"a": 6, "b": 6, "c": 6}
    assert all(second > 0 for values in samples.values() for turn in values for second in turn)
    assert "".join(calls).startswith("aaabbbccc")  # the very first, and two to warm up


def test_goes_on_until_the_minimum_time():
    passed = []
    settings = replace(BRIEF, min_runs=1, min_seconds=0.05)
    samples = timer.measure({"a": lambda: torch.ones(64).sum()}, settings, on_round=lambda n, s: passed.append(n))
    assert sum(sum(turn) for turn in samples["a"]) >= 0.05
    assert sum(sum(turn) for turn in samples["a"][:-1]) < 0.05  # and no longer
    assert passed == list(range(1, len(samples["a"]) + 1))


def test_stops_at_the_maximum_time_with_at_least_one_round():
    settings = replace(BRIEF, min_runs=1000, max_seconds=0.0)
    assert len(timer.measure({"a": int}, settings)["a"]) == 1


def test_runs_in_inference_mode_without_collection_and_with_the_threads_asked_for():
    seen = []

    def look():
        seen.append((torch.is_inference_mode_enabled(), gc.isenabled(), torch.get_num_threads()))

    before = torch.get_num_threads()
    timer.measure({"a": look}, replace(BRIEF, threads=before + 1))
    assert set(seen) == {(True, False, before + 1)}
    assert (torch.is_inference_mode_enabled(), gc.isenabled(), torch.get_num_threads()) == (False, True, before)


def test_device_is_waited_for_before_and_after_each_call():
    calls = []
    settings = replace(BRIEF, warmup_runs=0, min_runs=2)
    timer.measure({"a": recorder(calls, "a")}, settings, wait=recorder(calls, "wait"))
    assert calls == ["wait", "a", "wait"] * (len(calls) // 3)


def test_context_records_what_a_time_depends_on():
    with timer.settings_context(replace(BRIEF, threads=1)) as context:
        assert torch.get_num_threads() == 1
    affinity = context.pop("affinity")
    assert context == {"threads": 1, "dtype": "float32", "device": "cpu", "channels_last": True}
    assert not hasattr(psutil.Process, "cpu_affinity") or affinity == psutil.Process().cpu_affinity()


def test_failure_names_the_function_and_restores():
    before = torch.get_num_threads()
    with pytest.raises(FailedError, match=r"bad failed while it was timed: ZeroDivisionError: division by zero"):
        timer.measure({"good": int, "bad": lambda: 1 / 0}, replace(BRIEF, threads=before + 1))
    assert gc.isenabled()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "wrong", [{"min_runs": 0}, {"warmup_runs": -1}, {"threads": 0}, {"max_seconds": float("nan")}, {"device": "abacus"}]
)
def test_senseless_settings(wrong):
    with pytest.raises(InputError, match=str(next(iter(wrong.values())))):
        timer.measure({"a": int}, replace(BRIEF, **wrong))


def test_nothing_to_time():
    with pytest.raises(InputError, match="functions: got none; expected"):
        timer.measure({}, BRIEF)
