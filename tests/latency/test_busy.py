"""What is said about a machine: by loads made up, and by a real process that keeps one of its processors busy."""

import subprocess
import sys
import time

import pytest

from drbench.latency import busy
from drbench.latency.busy import Load


@pytest.fixture(autouse=True)
def four_steady_processors(monkeypatch, tmp_path):
    monkeypatch.setattr(busy, "available", lambda: 4)
    monkeypatch.setattr(busy, "CPU", tmp_path)
    return tmp_path


def test_a_quiet_machine_has_nothing_said():
    assert busy.notes(Load(others=0.3, stolen=0.01), threads=4) == []


def test_other_processes():
    (note,) = busy.notes(Load(others=1.6), threads=2)
    assert note == "busy machine: other processes kept 1.6 of 4 processors busy during timing"


def test_as_many_threads_as_processors_beside_other_work():
    (note,) = busy.notes(Load(others=1.6), threads=4)
    assert "with all 4 threads in use, torch can be ten times slower: use --threads 3" in note


def test_the_hosts_other_guests_and_the_disk():
    notes = busy.notes(Load(stolen=0.12, swapped=5 << 20), threads=1)
    assert [note.partition(":")[0] for note in notes] == ["busy host", "swapping"]
    assert "12%" in notes[0]
    assert "5 MiB" in notes[1]


def test_frequency_scaling_where_it_can_be_read(four_steady_processors):
    (four_steady_processors / "cpu0/cpufreq").mkdir(parents=True)
    (four_steady_processors / "cpu0/cpufreq/scaling_governor").write_text("powersave\n")
    (four_steady_processors / "intel_pstate").mkdir()
    (four_steady_processors / "intel_pstate/no_turbo").write_text("0\n")
    governor, turbo = busy.frequency()
    assert "'powersave'" in governor
    assert "turbo is on" in turbo


def test_a_performance_governor_is_no_trouble(four_steady_processors):
    (four_steady_processors / "cpu0/cpufreq").mkdir(parents=True)
    (four_steady_processors / "cpu0/cpufreq/scaling_governor").write_text("performance\n")
    assert busy.frequency() == []


def test_the_worst_of_each():
    loads = [Load(1.0, 0.0, 7), Load(0.5, 0.2, 0)]
    assert busy.worst(loads) == Load(1.0, 0.2, 7)
    assert busy.worst([]) == Load()


def test_another_process_is_seen_and_ones_own_work_is_not():
    watch = busy.LoadWatch()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        time.sleep(0.5)
        found = watch.load()
        other.kill()
    assert found.others > 0.4
    end, mine = time.perf_counter() + 0.5, busy.LoadWatch(own=lambda: 1e9 + time.perf_counter() * 1000)
    while time.perf_counter() < end:
        pass
    assert mine.load().others == 0.0  # whatever was busy was ours
