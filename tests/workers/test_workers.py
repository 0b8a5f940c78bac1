"""Workers that do well, crash, hang, grow and leave others behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from drbench.errors import InputError
from drbench.executor import Ended, Limits
from drbench.records import Event
from drbench.workers import Workers, starting
from drbench.workers.watch import free

HERE = Path(__file__).parent
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="how Linux does it")


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


def run(name: str, *arguments: Any, **limits: Any) -> Ended:
    with Workers() as workers:
        return workers.run(f"workers_test_functions:{name}", *arguments, limits=Limits(**limits))


def gone(pid: int) -> bool:
    for _ in range(500):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.01)
    return False


def test_value_and_events_come_back() -> None:
    events: list[Event] = []
    with Workers() as workers:
        ended = workers.run("workers_test_functions:add", 2, 3, on_event=events.append)
    assert (ended.status, ended.value, ended.reason) == ("done", 5, "")
    assert [event.text for event in events] == ["adding"]
    assert ended.seconds > 0


@LINUX
def test_worker_is_in_the_callers_place_and_in_a_session_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("add", 1, 1)  # a server is there, from before all this
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DRBENCH_TEST_VARIABLE", "here")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    found = run("surroundings").value
    assert found["directory"] == str(tmp_path)
    assert (found["variable"], found["omp"], found["threads"]) == ("here", "2", 2)
    assert found["server_threads"] == 1  # a fork would have lost the others
    assert not found["cuda"]  # could not be used after a fork
    assert found["session"] == found["pid"]


def test_what_is_raised_comes_back_in_one_line_with_its_traceback() -> None:
    ended = run("raises")
    assert (ended.status, ended.reason, ended.error) == ("failed", "ValueError: two lines", None)
    assert "workers_test_functions.py" in ended.traceback
    ended = run("bad_input")
    assert (ended.status, ended.reason) == ("failed", "say what?")
    assert isinstance(ended.error, InputError)
    assert run("leaves").reason == "SystemExit: 3"
    assert "pickle" in run("not_to_be_pickled").reason
    assert "no attribute 'nothing'" in run("nothing").reason


@pytest.mark.parametrize(
    ("name", "reason"), [("segfault", "SIGSEGV"), ("aborts", "SIGABRT"), ("exits", "exit code 7 before it was done")]
)
def test_crash_is_named(name: str, reason: str) -> None:
    ended = run(name)
    assert (ended.status, ended.reason) == ("crashed", reason)
    if name != "exits":
        assert f"in {name}" in ended.traceback


def test_kill_from_outside_is_a_crash() -> None:
    with Workers() as workers:
        ended = workers.run(
            "workers_test_functions:sleeps", 60, on_event=lambda event: os.kill(int(event.text), signal.SIGKILL)
        )
    assert (ended.status, ended.reason) == ("crashed", "SIGKILL (killed from outside)")


def test_death_within_a_message_is_a_crash() -> None:
    assert run("dies_within_a_message", seconds=60).reason == "exit code 9 before it was done"


@pytest.mark.parametrize("name", ["python_memory", "torch_memory", "device_memory"])
def test_memory_that_cannot_be_had_is_told_from_other_errors(name: str) -> None:
    assert run(name).status == "oom"


@pytest.mark.parametrize("name", ["grows", "a_child_grows"])
def test_what_allocates_without_end_is_stopped_at_its_limit(name: str) -> None:
    limit = 700 << 20
    ended = run(name, memory_bytes=limit, seconds=60)
    assert (ended.status, ended.reason) == ("oom", "it and its children held more than the limit of 0.68 GiB")
    assert limit < ended.peak_memory < limit + (1 << 30)


def test_timeout_says_where_it_was() -> None:
    ended = run("sleeps", 60, seconds=0.2)
    assert (ended.status, ended.reason) == ("timeout", "not done within 0.2 s")
    assert "in sleeps" in ended.traceback


def test_a_fresh_python_serves_where_nothing_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "FORKS", False)
    assert run("add", 2, 3).value == 5
    assert run("raises").reason == "ValueError: two lines"
    assert run("exits").reason == "exit code 7 before it was done"
    assert run("sleeps", 60, seconds=0.2).status == "timeout"
    assert run("a_child_grows", memory_bytes=300 << 20, seconds=60).status == "oom"


@LINUX
def test_nothing_that_a_worker_started_outlives_it() -> None:
    assert all(gone(pid) for pid in run("leaves_children").value)


def test_what_interrupts_the_wait_ends_the_worker() -> None:
    seen: list[int] = []

    def interrupt(event: Event) -> None:
        seen.append(int(event.text))
        raise KeyboardInterrupt

    with Workers() as workers, pytest.raises(KeyboardInterrupt):
        workers.run("workers_test_functions:sleeps", 60, on_event=interrupt)
    assert gone(seen[0])
    assert run("add", 1, 2).value == 3


@pytest.fixture
def caller() -> Iterator[subprocess.Popen[str]]:
    """A process whose worker says who server, worker and a child of the worker are, and sleeps."""
    code = (
        "import psutil; from drbench.workers import Workers\n"
        "with Workers() as workers:\n"
        "    print(*[one.pid for one in psutil.Process().children()], flush=True)\n"
        "    print(workers.run('workers_test_functions:forks', on_event=lambda e: print(e.text, flush=True)))\n"
    )
    path = os.pathsep.join([str(HERE), *sys.path])
    words, environment = [sys.executable, "-c", code], {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield process
        process.kill()


@LINUX
@pytest.mark.parametrize("victim", ["caller", "server", "caller of a stopped server"])
def test_workers_and_what_they_forked_die_with_their_caller_and_with_their_server(
    caller: subprocess.Popen[str], victim: str
) -> None:
    assert caller.stdout is not None
    caller.stdout.readline()
    server, worker, child = map(int, caller.stdout.readline().split())
    if "stopped" in victim:
        os.kill(server, signal.SIGSTOP)
    os.kill(server if victim == "server" else caller.pid, signal.SIGKILL)
    assert all(map(gone, (server, worker, child)))
    said, _ = caller.communicate(timeout=60)
    assert victim != "server" or "status='crashed'" in said


@LINUX
def test_a_server_that_loads_torch_ends_with_its_caller(caller: subprocess.Popen[str]) -> None:
    assert caller.stdout is not None
    server = psutil.Process(int(caller.stdout.readline()))
    while not any("libtorch" in one.path for one in server.memory_maps()):
        time.sleep(0.005)
    caller.kill()
    began = time.monotonic()
    assert gone(server.pid)
    assert time.monotonic() - began < 1.0  # to load the rest takes longer


@LINUX
def test_a_server_that_is_stopped_before_its_python_has_started_ends_with_its_caller() -> None:
    code = (
        "import os, signal, time; from drbench.workers import starting\n"
        "server = starting.warm_up().process.pid; os.kill(server, signal.SIGSTOP); print(server, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server = int(process.stdout.readline())
        process.kill()
    assert gone(server)


@LINUX
def test_a_worker_that_is_stopped_before_it_is_tied_to_its_server_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has been forked and not been reported: the caller is interrupted then."""
    at_once = "import os, signal; os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGSTOP))"
    (tmp_path / "sitecustomize.py").write_text(at_once)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = starting.Server()
    with open(os.devnull, "wb") as nowhere:
        socket.send_fds(server.control, [b"!"], [nowhere.fileno()] * 4)
    while not (workers := psutil.Process(server.process.pid).children()) or workers[0].status() != "stopped":
        time.sleep(0.001)
    server.stop()
    assert gone(server.process.pid)
    assert gone(workers[0].pid)


@LINUX
def test_servers_leave_signals_to_the_command_and_a_worker_takes_sigterm_alone() -> None:
    """Also while they start: what a service manager sends to all processes of a command."""
    starting.stop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    ends = []
    with Workers() as workers:
        server = starting.warm_up()
        assert server is not None
        for number in numbers:
            os.kill(server.process.pid, number)
        for number in numbers:
            ended = workers.run("workers_test_functions:is_sent", int(number))
            ends.append((ended.status, ended.reason))
        assert starting.warm_up() is server
    assert ends == [("done", ""), ("crashed", "SIGTERM"), ("done", "")]


def test_a_caller_that_was_interrupted_waiting_for_a_worker_gets_its_own_next() -> None:
    if not starting.FORKS:
        pytest.skip("nothing to wait for")
    starting.stop()  # the next server takes its time
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            run("add", 1, 1)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [run("add", 1, one).value for one in range(3)] == [1, 2, 3]


def test_free_memory_is_some_and_no_more_than_there_is() -> None:
    assert 0 < free() <= psutil.virtual_memory().total
