"""From workers to Records: whose fault a failure is, what is pooled, and that the worker is the unit."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median

import pytest

from drbench.executor import Ended
from drbench.identity import experiment_key
from drbench.latency import schedule
from drbench.latency.busy import Load
from drbench.records import Experiment, LatencySettings, Variant
from drbench.statistics.ratios import ratio_interval

PLAIN = Variant("net", input_shape=(3, 8, 8))
DRCONV = replace(PLAIN, operator="drconv", operator_args={"regions": 2})
CONDCONV = replace(PLAIN, operator="condconv")
SETTINGS = LatencySettings(batch_sizes=(1, 4), workers=3)
MADE = {"conv": 0.010, "drconv": 0.013, "condconv": 0.020}
"""Seconds of a call, before the worker's own slowness."""


class Scripted:
    """Stands for processes: gives what `pairs.block` would, or the ending that `endings` has for an operator."""

    def __init__(self, endings=None):
        self.endings, self.asked = endings or {}, []

    def run(self, function, plain, variant, settings, *, limits=None, on_event=None):
        assert function == "drbench.latency.block:block"
        self.asked.append((plain and plain.operator, variant and variant.operator, settings.batch_sizes))
        for one in (plain, variant):
            ending = self.endings.get(one.operator) if one else None
            if callable(ending):
                ending = ending(settings)
            if ending is not None:
                return ending
        number = len(self.asked)
        samples = {}
        for size in settings.batch_sizes:
            seats = {} if plain is None else {"plain": MADE["conv"], "copy": MADE["conv"] * 1.01}
            if variant is not None:
                seats["variant"] = MADE[variant.operator] * 1.1**number  # as if each process had its own luck
            samples[size] = {seat: ((one, one), (2 * one, 2 * one, 2 * one)) for seat, one in seats.items()}
        about = {seat: {"kernels": "torch"} if seat == "variant" else {} for seat in ("plain", "copy", "variant")}
        context = {"threads": 1, "dtype": "float32", "device": "cpu", "channels_last": True}
        return Ended("done", {"samples": samples, "context": context, "about": about, "load": Load()})


def measured(workers, tmp_path, *variants, skip=frozenset(), settings=SETTINGS):
    one = Experiment("latency", variants, latency=settings)
    return {r.variant.operator: r for r in schedule.measure(one, workers, workdir=tmp_path, skip=skip)}


def figure(record, name, size):
    (found,) = (m for m in record.measurements if m.name == name and m.context["batch_size"] == size)
    return found


def test_workers_of_the_variants_are_interleaved(tmp_path):
    workers = Scripted()
    measured(workers, tmp_path, PLAIN, DRCONV, CONDCONV)
    assert [variant for _, variant, _ in workers.asked] == ["drconv", "condconv"] * 3


def test_the_worker_is_the_unit_of_the_ratio(tmp_path):
    records = measured(Scripted(), tmp_path, PLAIN, DRCONV)
    found = figure(records["drconv"], "latency_ratio", 4)
    said = [math.log(1.3 * 1.1**number) for number in (1, 2, 3)]
    assert found.context["worker_log_ratios"] == pytest.approx(said)
    expected = ratio_interval(said)
    assert (found.value, *found.context["interval"]) == pytest.approx((expected.estimate, expected.low, expected.high))
    assert found.samples == pytest.approx([1.3 * 1.1**number for number in (1, 1, 2, 2, 3, 3)])  # round by round
    assert found.context["workers"] == [2, 2, 2]
    assert (found.unit, found.direction, found.context["kernels"]) == ("ratio", "lower", "torch")


def test_the_floor_is_the_copy_of_the_same_rounds(tmp_path):
    for record in measured(Scripted(), tmp_path, PLAIN, DRCONV).values():
        assert figure(record, "latency_floor", 1).value == pytest.approx(1.01)


def test_all_raw_samples_are_kept_worker_after_worker(tmp_path):
    found = figure(measured(Scripted(), tmp_path, PLAIN, DRCONV)["drconv"], "latency", 1)
    expected = [call * 0.013 * 1.1**number for number in (1, 2, 3) for call in (1, 1, 2, 2, 2)]
    assert found.samples == pytest.approx(expected)
    assert found.context["workers"] == [5, 5, 5]
    assert found.value == median(found.samples)


def test_the_plain_network_has_the_samples_of_all_its_variants_workers_and_no_ratio(tmp_path):
    record = measured(Scripted(), tmp_path, PLAIN, DRCONV, CONDCONV)["conv"]
    assert figure(record, "latency", 1).context["workers"] == [5] * 6
    assert "kernels" not in figure(record, "latency", 1).context
    assert not [m for m in record.measurements if m.name == "latency_ratio"]


def test_without_variants_the_plain_network_is_timed_beside_its_copy(tmp_path):
    workers = Scripted()
    record = measured(workers, tmp_path, PLAIN)["conv"]
    assert workers.asked == [("conv", None, (1, 4))] * 3
    assert figure(record, "latency_floor", 1).context["workers"] == [2, 2, 2]


def test_without_a_plain_network_there_are_times_alone(tmp_path):
    record = measured(Scripted(), tmp_path, DRCONV)["drconv"]
    assert {m.name for m in record.measurements} == {"latency"}


def test_networks_at_two_widths_are_compared_with_their_own(tmp_path):
    wide, wider = replace(PLAIN, width=2.0), replace(DRCONV, width=2.0)
    workers = Scripted()
    list(
        schedule.measure(
            Experiment("latency", (PLAIN, DRCONV, wide, wider), latency=SETTINGS), workers, workdir=tmp_path
        )
    )
    assert len(workers.asked) == 6


def test_one_worker_has_a_ratio_and_no_interval(tmp_path):
    records = measured(Scripted(), tmp_path, PLAIN, DRCONV, settings=replace(SETTINGS, workers=1))
    found = figure(records["drconv"], "latency_ratio", 1)
    assert found.value == pytest.approx(1.43)
    assert "interval" not in found.context


def test_a_crash_is_the_variants_where_the_plain_network_runs_alone(tmp_path):
    workers = Scripted({"drconv": Ended("crashed", reason="SIGSEGV", traceback="where it was")})
    records = measured(workers, tmp_path, PLAIN, DRCONV)
    assert (records["drconv"].status, records["drconv"].error) == ("failed", "crashed: SIGSEGV")
    assert records["drconv"].settings["ended"] == "crashed"
    assert (tmp_path / records["drconv"].files["traceback"]).read_text() == "where it was"
    assert workers.asked == [("conv", "drconv", (1, 4)), *[("conv", None, (1, 4))] * 3]
    assert figure(records["conv"], "latency", 1).context["workers"] == [5, 5, 5]


def test_a_crash_of_the_plain_network_is_not_charged_to_its_variants(tmp_path):
    workers = Scripted({"conv": Ended("timeout", reason="stopped after 5 s")})
    records = measured(workers, tmp_path, PLAIN, DRCONV, CONDCONV)
    assert records["conv"].error == "timeout: stopped after 5 s"
    for name in ("drconv", "condconv"):
        assert records[name].error == "timeout: there is no ratio, because the plain network failed: stopped after 5 s"
    assert workers.asked.count(("conv", None, (1, 4))) == 1  # that it fails alone is found out once


def test_out_of_memory_halves_the_largest_batch_and_says_so(tmp_path):
    workers = Scripted({"drconv": lambda asked: Ended("oom", reason="5 GiB") if max(asked.batch_sizes) > 2 else None})
    records = measured(workers, tmp_path, PLAIN, DRCONV)
    assert records["drconv"].notes == ("batch 4 ran out of memory: timed at 2",)
    assert figure(records["drconv"], "latency_ratio", 2).context["workers"] == [2, 2, 2]
    assert not [m for m in records["drconv"].measurements if m.context["batch_size"] == 4]


def test_out_of_memory_at_batch_one_is_a_failure(tmp_path):
    workers = Scripted({"drconv": Ended("oom", reason="5 GiB at its limit")})
    record = measured(workers, tmp_path, PLAIN, DRCONV)["drconv"]
    assert (record.status, record.error) == ("failed", "oom: 5 GiB at its limit")


def test_what_is_done_is_not_done_again(tmp_path):
    one = Experiment("latency", (PLAIN, DRCONV), latency=SETTINGS)
    workers = Scripted()
    records = measured(workers, tmp_path, PLAIN, DRCONV, skip={experiment_key(one, PLAIN)})
    assert set(records) == {"drconv"}  # beside its plain network all the same
    assert workers.asked[0] == ("conv", "drconv", (1, 4))


def test_a_busy_machine_is_said_once(tmp_path, monkeypatch):
    class Busy(Scripted):
        def run(self, *asked, **options):
            ended = super().run(*asked, **options)
            ended.value["load"] = Load(others=64.0, swapped=3 << 20)
            return ended

    notes = measured(Busy(), tmp_path, PLAIN, DRCONV)["drconv"].notes
    assert len([note for note in notes if note.startswith("busy machine: other processes kept 64.0 of ")]) == 1
    assert len([note for note in notes if note.startswith("swapping: 3 MiB")]) == 1
