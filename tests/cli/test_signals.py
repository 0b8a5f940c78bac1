"""Ctrl-C, SIGTERM and SIGHUP sent to real commands, at moments from their start to their end."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest
from drbench_db import Store

from drbench.errors import FAILED, NOTHING, InputError, NothingError

from .conftest import ENVIRONMENT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
PROMISED_SECONDS = 5.0
"""See docs/kill.md: on a machine with other work."""
SUITE = """
name = "long"
architectures = ["mobilenet_v1_0.25"]
data = { args = { train = 400, test = 20 } }
train = { epochs = 30, batch_size = 10, threads = 1 }
latency = { batch_sizes = [1], workers = 200, warmup_runs = 0, min_runs = 3, min_seconds = 0.0, threads = 1 }
"""
BEGUN = {"latency": "cost mobilenet", "train": "epoch 1 of"}
"""What is said just before the work of a stage, or during it."""
ONE_LINE = re.compile(r"drbench: error: interrupted( by SIG\w+)?(; continue with: drbench run --resume \S+)?\n")


def start(directory: Path, *words: object, ignored: Sequence[int] = ()) -> subprocess.Popen[str]:
    """`python -m drbench`, once its handlers are in place."""

    def ignore() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    process = subprocess.Popen(
        [sys.executable, "-m", "drbench", *map(str, words)],
        cwd=directory,
        env={**ENVIRONMENT, "DRBENCH_TEST": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=ignore if ignored else None,
    )
    while not _caught(process.pid, signal.SIGTERM):
        time.sleep(0.001)
    return process


def _caught(pid: int, number: int) -> bool:
    text = Path(f"/proc/{pid}/status").read_text()
    return "SigCgt" not in text or bool(int(text.split("SigCgt:")[1].split()[0], 16) >> (number - 1) & 1)


def until(process: subprocess.Popen[str], words: str) -> str:
    """What the command says on stderr up to a line with these words."""
    assert process.stderr is not None
    said = ""
    while words not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return said


def left(directory: Path) -> list[psutil.Process]:
    """Processes of the commands in a directory that outlive what is promised."""
    end = time.monotonic() + PROMISED_SECONDS
    while (there := marked(directory)) and time.monotonic() < end:
        time.sleep(0.02)
    return there


def marked(directory: Path) -> list[psutil.Process]:
    found = []
    for one in psutil.process_iter():
        try:
            if one.environ().get("DRBENCH_TEST") == str(directory) and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except psutil.Error:
            pass
    return found


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "long.toml"
    path.write_text(SUITE)
    return path


def test_two_signals_during_the_start(suite: Path) -> None:
    """Imports, the command line, the first workers; the second signal comes while the first one ends the command."""
    interrupt, terminate, hang_up = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    for delay, gap, first, second in (
        (0.0, 0.0, interrupt, interrupt),
        (0.05, 0.02, interrupt, interrupt),
        (0.15, 0.0, terminate, hang_up),
        (0.3, 0.1, hang_up, hang_up),
        (0.7, 0.05, interrupt, interrupt),
    ):
        process = start(suite.parent, "run", "suite", suite)
        time.sleep(delay)
        process.send_signal(first)
        time.sleep(gap)
        process.send_signal(second)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, ONE_LINE.fullmatch(errors) is not None) == (130, True), (delay, errors)
        assert ("by " in errors) is (first is not interrupt)
        assert not left(suite.parent)


@pytest.mark.parametrize(
    ("number", "stage"),
    [(signal.SIGTERM, "latency"), (signal.SIGINT, "train")],
    ids=["SIGTERM in latency", "two SIGINT in training"],
)
def test_a_signal_during_work_marks_the_run(suite: Path, number: signal.Signals, stage: str) -> None:
    process = start(suite.parent, "run", "suite", suite, "--stages", f"cost,{stage}")
    until(process, BEGUN[stage])
    process.send_signal(number)
    if number is signal.SIGINT:
        process.send_signal(number)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted:" in out
    last = [line for line in errors.splitlines() if line.startswith("drbench: error: ")]
    assert len(last) == 1
    assert ONE_LINE.fullmatch(f"{last[0]}\n")
    assert "continue with" in last[0]
    assert ("by " + number.name in last[0]) is (number is not signal.SIGINT)
    assert "Traceback" not in errors
    assert not left(suite.parent)
    with Store.open(suite.parent / "drbench.db") as store:
        assert store.run().status == "interrupted"
        assert {record.status for record in store.records()} == {"done"}


@pytest.mark.parametrize(
    ("words", "delay", "numbers"),
    [
        (("noise", "smoke", "--threads", "1"), 2.0, (signal.SIGTERM,)),
        (("run", "ops", "--quick", "--threads", "1"), 1.5, (signal.SIGINT, signal.SIGINT)),
        (("check", "smoke", "--against", "HEAD"), 1.0, (signal.SIGHUP, signal.SIGINT)),
        (("report",), 0.1, (signal.SIGINT, signal.SIGINT)),
    ],
    ids=["noise", "run ops", "check --against", "report"],
)
def test_other_commands_end_the_same_way(
    tmp_path: Path, words: Sequence[str], delay: float, numbers: Sequence[int]
) -> None:
    where = Path(__file__).parents[2] if "check" in words else tmp_path
    with Store.open(tmp_path / "x.db", write=True):
        pass
    process = start(where, *words, "--db", tmp_path / "x.db")
    time.sleep(delay)
    for number in numbers:
        process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    if words == ("report",) and process.returncode == NOTHING:  # it was done before
        return
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "Exception ignored" not in errors
    assert sum(line.startswith("drbench: error: interrupted") for line in errors.splitlines()) == 1
    assert not left(where)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT], ids=["nohup", "in the background"])
def test_what_is_ignored_on_entry_ends_nothing(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, "suites", "list", ignored=[number])
    while process.poll() is None:
        process.send_signal(number)
        time.sleep(0.01)
    out, errors = process.communicate()
    assert (process.returncode, errors) == (0, "")
    assert "smoke" in out


def test_a_run_goes_on_without_its_terminal(tmp_path: Path) -> None:
    """As after `disown`: there is no SIGHUP, and what is written to the terminal is an error."""
    master, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as end:
        process = subprocess.Popen(
            [sys.executable, "-m", "drbench", "run", "suite", "smoke", "--stages", "cost"],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
        )
    while not _caught(process.pid, signal.SIGTERM):
        time.sleep(0.001)
    os.close(master)
    assert process.wait(timeout=60) == FAILED  # its result could not be printed
    with Store.open(tmp_path / "drbench.db") as store:
        assert store.run().status == "done"
        assert {record.status for record in store.records()} == {"done"}


def busy() -> Callable[[], None]:
    """Keeps all processors busy until it is called."""
    there = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]

    def end() -> None:
        for one in there:
            one.kill()
            one.wait()

    return end


def test_nothing_outlives_a_killed_command_on_a_loaded_machine(suite: Path) -> None:
    end = busy()
    try:
        for moment in ("start", "training"):
            process = start(suite.parent, "run", "suite", suite, "--stages", "train")
            if moment == "training":
                until(process, BEGUN["train"])
            else:
                while len(marked(suite.parent)) < 2:
                    time.sleep(0.01)
            process.kill()
            assert not left(suite.parent), moment
            process.communicate()
    finally:
        end()


@pytest.mark.parametrize("words", [("noise", "smoke", "--max-time", "100"), ("run", "ops", "--quick")])
def test_a_killed_noise_or_operator_run_is_listed_as_killed(tmp_path: Path, words: tuple[str, ...]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "drbench", *words],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while process.poll() is None and not (list(tmp_path.glob("drbench-files/*/held")) and begun(tmp_path)):
            time.sleep(0.05)
        assert process.poll() is None, "it ended before it could be killed"
    finally:
        process.kill()
        process.wait()
    listed = subprocess.run(
        [sys.executable, "-m", "drbench", "runs", "list", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [run["status"] for run in json.loads(listed.stdout)] == ["killed"]


def begun(directory: Path) -> bool:
    """Whether the database has a run."""
    try:
        with Store.open(directory / "drbench.db") as store:
            return bool(store.runs())
    except (InputError, NothingError):
        return False
