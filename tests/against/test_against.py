"""Two commits through real processes: whose code, environment and caches each side had, and what became of whom.

Never how long anything took: what a network costs is asked of the files it writes, not of a clock.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from drbench import against
from drbench.against import Compared, Measured, conductor, measure
from drbench.errors import InputError
from drbench.records import Event

NET = """
import ctypes
import json
import os
from pathlib import Path

import helper
from torch import nn


class Falls(nn.Module):
    def forward(self, x):
        ctypes.string_at(0)


def network(num_classes, fall=False):
    about = {{"version": "{version}", "helper": helper.__file__, "file": __file__, "pid": os.getpid(),
             "kernels": os.environ.get("DRBENCH_KERNELS_DIR", "")}}
    with Path({log!r}).open("a") as file:
        file.write(json.dumps(about) + "\\n")
    last = Falls() if fall and "{version}" == {falls!r} else nn.Linear(3, num_classes)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)


only_{version} = network
"""
SUITE = """
name = "own"
stages = ["latency"]
input_shape = [3, 8, 8]
num_classes = 10
latency = {{ batch_sizes = [1, 2], threads = 1 }}
architectures = [{names}]
"""


def git(where: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=A", "-c", "user.email=a@b.c", *arguments], cwd=where, check=True)


def write(place: Path, log: Path, version: str, names: list[str], falls: str = "now") -> None:
    (place / "net.py").write_text(NET.format(version=version, log=str(log), falls=falls))
    (place / "helper.py").write_text("")
    (place / "suite.toml").write_text(SUITE.format(names=", ".join(names)))


SAME, FALLS = '"net:network"', '{ name = "net:network", args = { fall = true } }'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Measured, list[dict[str, str]], list[Event]]:
    """A comparison of a working tree with a commit: one variant in both, one new, one gone, one that crashes now."""
    folder = tmp_path_factory.mktemp("against")
    place, log = folder / "repo", folder / "log.jsonl"
    place.mkdir()
    git(place, "init", "--quiet")
    write(place, log, "then", [SAME, '"net:only_then"', FALLS])
    (place / "requirements.txt").write_text("torch")
    git(place, "add", ".")
    git(place, "commit", "--quiet", "--message", "then")
    write(place, log, "now", [SAME, '"net:only_now"', FALLS])
    (place / "requirements.txt").write_text("torch>=2")
    events: list[Event] = []
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.delenv("DRBENCH_KERNELS_DIR", raising=False)
        patch.setattr(against, "LOOKS", (3,))
        patch.setattr(against, "ROUNDS", 2)
        patch.setattr(conductor, "WARM", 1)
        measured = measure("suite.toml", "HEAD", max_time=300, limit_of=lambda name: 1e9, on_event=events.append)
    assert Path.cwd() == before
    return folder, measured, [json.loads(line) for line in log.read_text().splitlines()], events


def test_what_is_in_both_is_compared_at_every_batch_size(made) -> None:
    _, measured, _, events = made
    assert [(one.variant, one.batch_size) for one in measured.compared] == [
        ("net:network/conv", 1),
        ("net:network/conv", 2),
    ]
    for one in measured.compared:
        assert len(one.log_ratios) == len(one.floor) == 3
        assert all(map(math.isfinite, (*one.log_ratios, *one.floor)))
        assert one.now > 0
        assert one.then > 0
        assert one.limit == 1e9
        assert one.context["threads"] == 1
        assert one.context["batch_size"] == one.batch_size
        assert one.level == pytest.approx(1 - 0.05 / len(measured.compared) / 2)  # what fell was asked about, too
    assert {event.text for event in events} >= {"net:network/conv"}


def test_what_only_one_of_them_has_is_said(made) -> None:
    _, measured, _, _ = made
    assert list(measured.new) == ["net:only_now/conv"]
    assert measured.vanished == ("net:only_then/conv",)


def test_a_crash_now_is_a_failure_with_its_signal(made) -> None:
    _, measured, _, _ = made
    ((name, why),) = measured.failed.items()
    assert "fall" in name
    assert why.startswith("crashed: SIGSEGV")


def test_each_side_has_its_own_code_and_kernel_cache(made) -> None:
    folder, measured, built, _ = made
    then, now = ([one for one in built if one["version"] == version] for version in ("then", "now"))
    assert {one["file"] for one in now} == {one["helper"].replace("helper", "net") for one in now}
    assert {one["file"] for one in now} == {str(folder / "repo" / "net.py")}
    assert not {one["file"] for one in then} & {one["file"] for one in now}
    assert {Path(one["helper"]).parent for one in then} == {Path(one["file"]).parent for one in then}
    assert {one["kernels"] for one in then} == {
        str(folder / "cache/drbench/commits" / measured.commit[:16] / "kernels")
    }
    assert {one["kernels"] for one in now} == {""}
    assert len({one["pid"] for one in built}) == len(built)  # fresh processes, each for one network


def test_two_of_the_commit_for_each_of_now(made) -> None:
    _, _, built, _ = made
    counts = {version: sum(one["version"] == version for one in built) for version in ("then", "now")}
    assert counts["then"] == 2 * counts["now"]


def test_changed_requirements_are_said(made) -> None:
    _, measured, _, _ = made
    (note,) = [note for note in measured.notes if "requirements.txt" in note]
    assert "--against-python" in note


def test_nothing_is_left(made) -> None:
    folder, _, built, _ = made
    assert not {one["pid"] for one in built} & set(psutil.pids())
    listed = subprocess.run(
        ["git", "worktree", "list"], cwd=folder / "repo", capture_output=True, text=True, check=True
    )
    assert len(listed.stdout.splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="how Linux does it")
def test_a_side_and_its_residents_die_with_the_conductor_whatever_they_do(tmp_path: Path) -> None:
    code = (
        "import time; from pathlib import Path; from drbench.against.conductor import Place, Side\n"
        "side = Side(Place('a side', Path.cwd())); side.ready()\n"
        "print(side.process.pid, side.fork().pid, flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 2
        time.sleep(1)  # for the fork to have begun: before that it is tied to nothing
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)  # as busy as can be: they look at no socket
        process.kill()
    end = time.monotonic() + 10
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(map(psutil.pid_exists, pids))


def test_a_suite_that_the_commit_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "nothing yet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write(tmp_path, tmp_path / "log", "now", [SAME])
    with pytest.raises(InputError, match=r"at HEAD: .*suite\.toml"):
        measure("suite.toml", "HEAD")


def test_a_commit_whose_drbench_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drbench").mkdir()
    (tmp_path / "drbench" / "__init__.py").write_text("")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "before there was drbench.against")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"at HEAD: its Python cannot load .*drbench is too old there"):
        measure("smoke", "HEAD")


def test_a_python_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "nothing yet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="--against-python: got '/nowhere/python'"):
        measure("smoke", "HEAD", python="/nowhere/python")


def test_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(InputError, match="is not in a git repository"):
        measure("smoke", "main")


def compared(log_ratios: list[float], floor: list[float]) -> Compared:
    return Compared("a/conv", 1, tuple(log_ratios), tuple(floor), 0.01, 0.01, 60.0, 0.98)


def test_of_too_few_blocks_nothing_is_said() -> None:
    """However clear it would be."""
    steady = [0.2 + 0.001 * number for number in range(7)]
    quiet = [0.001 * number for number in range(7)]
    assert compared(steady, quiet).decision == "unresolved"
    assert compared([*steady, 0.2], [*quiet, 0.0]).decision == "regression"


def test_what_is_finer_than_the_floor_says_what_it_could_have_told() -> None:
    floor = [0.1, -0.1, 0.08, -0.08, 0.05, -0.05, 0.02, -0.02]
    one = compared([0.03 + value for value in floor], floor)
    assert one.decision == "unresolved"
    assert one.resolution.share > 0.1
    assert "in 60 s here; " in one.resolution.text
    assert os.linesep not in one.resolution.text
