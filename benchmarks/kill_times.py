"""What is left when a suite is killed or interrupted at a random moment: the command, its server, or a worker.

    python benchmarks/kill_times.py --times 200 --seed 0

Each time a small suite is started, something happens to one of its processes, and the run is resumed. Every second time
it happens while latency is measured or a network is trained, otherwise at any moment. Then:
- the database is whole (PRAGMA integrity_check), and every record that was announced is in it;
- the exit code, the status of the run and what is on stderr are as docs/kill.md says;
- no process is left when the promised time is over;
- `--resume` ends with exit code 0 and all that the suite has, each once, what was done before unchanged.

Linux. One line of JSON for each time goes to --results; the same command continues after the last one. Ends with a
table by moment and act, and with exit code 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from drbench_db import Store

from drbench.records import Record

SUITE = """
name = "killed"
architectures = ["mobilenet_v1_0.25"]
operators = [{ operator = "drconv", regions = 2 }]
stages = ["cost", "latency", "train"]
data = { args = { train = 120, test = 20 } }
train = { epochs = 3, batch_size = 20, threads = 1 }
latency = { batch_sizes = [1], workers = 3, warmup_runs = 0, min_runs = 3, min_seconds = 0.0, threads = 1 }
"""
MARK = "DRBENCH_KILL_TIMES"
PROMISED_SECONDS = 5.0
"""docs/kill.md, on a loaded machine: from a signal to the command's end, and from there to that of all it started."""
ENOUGH_SECONDS = 300.0
"""After which a command counts as hanging."""
GAP_SECONDS = 0.3
"""Most time between two signals of one act."""
ACTS = {
    "SIGKILL command": ("command", (signal.SIGKILL,)),
    "SIGTERM command": ("command", (signal.SIGTERM,)),
    "SIGINT command": ("command", (signal.SIGINT,)),
    "SIGINT twice command": ("command", (signal.SIGINT, signal.SIGINT)),
    "SIGHUP command": ("command", (signal.SIGHUP,)),
    "SIGKILL server": ("server", (signal.SIGKILL,)),
    "SIGTERM server": ("server", (signal.SIGTERM,)),
    "SIGKILL worker": ("worker", (signal.SIGKILL,)),
    "SIGTERM worker": ("worker", (signal.SIGTERM,)),
    "SIGINT worker": ("worker", (signal.SIGINT,)),
    "SIGSTOP server, SIGKILL command": ("server", (signal.SIGSTOP,)),
    "SIGSTOP worker, SIGTERM command": ("worker", (signal.SIGSTOP,)),
}
THEN = {"SIGSTOP server, SIGKILL command": signal.SIGKILL, "SIGSTOP worker, SIGTERM command": signal.SIGTERM}
"""What the command gets after its server or worker was stopped."""
WORK = ("latency", "train")
ANNOUNCED = re.compile(r"^(cost|latency|train) mobilenet\S* [^:]*: (?:[\d.]+|top-1) .*$", re.MULTILINE)
ONE_LINE = re.compile(r"drbench: error: interrupted( by SIG(TERM|HUP))?(; continue with: drbench run --resume \S+)?")


@dataclass
class Happened:
    """One time. Seconds: `after` the stage (or the command) began; `to_end` from the last signal to the command's end;
    `to_gone` from there to the end of its last process.
    """

    number: int
    act: str
    wanted: str
    moment: str = ""
    after: float = 0.0
    code: int = 0
    to_end: float = 0.0
    to_gone: float = 0.0
    seconds: float = 0.0
    complaints: list[str] = field(default_factory=list)
    said: str = ""


class Command:
    """`drbench run` in a directory, its processes marked; `lines` holds what it has said on stderr so far."""

    def __init__(self, directory: Path, *words: str) -> None:
        directory.mkdir(exist_ok=True)
        self.directory, self.began = directory, time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "drbench", "run", *words],
            cwd=directory,
            env={**os.environ, "OMP_NUM_THREADS": "1", MARK: str(directory)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[tuple[float, str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append((time.monotonic(), line))

    @property
    def said(self) -> str:
        """All that it has said; once it has ended, after the end of those who might add to it."""
        if self.process.poll() is not None:
            self._reader.join(PROMISED_SECONDS)
        return "".join(line for _, line in list(self.lines))

    def stage(self) -> str:
        """What it is at, by what it has announced."""
        made = Counter(line.split()[0] for _, line in list(self.lines) if ANNOUNCED.match(line))
        if self.process.poll() is not None:
            return "end"
        if made["latency"] == 2:
            return "train"
        return "latency" if made["cost"] == 2 else "start"

    def wait(self) -> int:
        """Its exit code; -1000 where it hangs."""
        try:
            return self.process.wait(ENOUGH_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return -1000

    def server(self) -> list[psutil.Process]:
        """The process that workers are forked from, once it is one of its own: a fork that has not become a Python yet
        cannot be tied to its parent, and exists for a millisecond.
        """
        with suppress(psutil.Error):
            command = psutil.Process(self.process.pid)
            return [child for child in command.children() if child.cmdline() != command.cmdline()]
        return []

    def workers(self) -> list[psutil.Process]:
        """The one there is, if there is one."""
        with suppress(psutil.Error):
            return [worker for server in self.server() for worker in server.children()]
        return []

    def marked(self) -> list[psutil.Process]:
        """All processes that it has started, directly or not, and that live."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.directory) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found


def handles_signals(process: subprocess.Popen[Any]) -> bool:
    """Whether Python has started and drbench's handlers are in place; true also where it has ended."""
    with suppress(OSError, IndexError):
        caught = Path(f"/proc/{process.pid}/status").read_text().split("SigCgt:")[1].split()[0]
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
    return True


class Usual:
    """A run that nothing happens to: its keys, and the seconds of its stages."""

    def __init__(self, suite: Path, directory: Path) -> None:
        command = Command(directory, "suite", str(suite))
        if command.wait():
            raise SystemExit(f"the suite does not run: {command.said}")
        self.keys = [record.key for record in records(directory)]
        ends = {line.split()[0]: when for when, line in command.lines if ANNOUNCED.match(line)}
        self.seconds = {
            "any": ends["train"] - command.began,
            "latency": ends["latency"] - ends["cost"],
            "train": ends["train"] - ends["latency"],
        }


def happen(number: int, seed: int, suite: Path, directory: Path, usual: Usual) -> Happened:
    """Do it once: start, signal, look, resume, look."""
    chance = random.Random(f"{seed}/{number}")
    order = random.Random(f"{seed}/order/{number // len(ACTS)}").sample(list(ACTS), len(ACTS))
    act = order[number % len(ACTS)]
    wanted = chance.choice(WORK) if number % 2 else "any"
    found = Happened(number, act, wanted, after=chance.uniform(0.0, 0.9) * usual.seconds[wanted])
    began = time.monotonic()
    command = Command(directory, "suite", str(suite))
    while not handles_signals(command.process) or (wanted != "any" and command.stage() not in (wanted, "end")):
        time.sleep(0.002)
    time.sleep(found.after)
    found.moment = command.stage()
    last = signalled(command, act, chance)
    found.code = command.wait()
    ended = time.monotonic()
    found.to_end = ended - last
    while command.marked() and time.monotonic() - ended < PROMISED_SECONDS:
        time.sleep(0.01)
    found.to_gone = time.monotonic() - ended
    found.said = command.said
    found.complaints = [*wrong_end(command, found), *resumed(suite, directory, usual, found)]
    found.seconds = time.monotonic() - began
    return found


def signalled(command: Command, act: str, chance: random.Random) -> float:
    """Do what the act says; the moment of the last signal to the command."""
    victim, numbers = ACTS[act]
    for place, number in enumerate(numbers):
        if place:
            time.sleep(chance.uniform(0.0, GAP_SECONDS))
        if victim == "command":
            command.process.send_signal(number)
            continue
        there: list[psutil.Process] = []
        while command.process.poll() is None and not there:
            there = command.server() if victim == "server" else command.workers()
        with suppress(psutil.Error):
            there[:1] and there[0].send_signal(number)
    if act in THEN:
        command.process.send_signal(THEN[act])
    return time.monotonic()


def wrong_end(command: Command, found: Happened) -> Iterator[str]:
    """How the command ended, and what it left."""
    victim, numbers = ACTS[found.act]
    to_command = THEN.get(found.act, numbers[-1] if victim == "command" else None)
    by_signal = to_command is not None and found.code != 0
    if to_command == signal.SIGKILL:
        allowed = {0, -signal.SIGKILL}
    elif to_command is not None:
        allowed = {0, 130}
    else:
        allowed = {0} if numbers[0] in (signal.SIGINT, signal.SIGHUP) or found.act == "SIGTERM server" else {0, 4}
    if found.code not in allowed:
        yield f"exit code {found.code}, not {' or '.join(map(str, sorted(allowed)))}"
    if by_signal and found.to_end > PROMISED_SECONDS:
        yield f"it ended {found.to_end:.1f} s after the signal"
    if found.to_gone >= PROMISED_SECONDS:
        yield f"{len(command.marked())} processes are left"
    if "Traceback" in found.said or "Exception ignored" in found.said:
        yield "a traceback on stderr"
    errors = [line for line in found.said.splitlines() if line.startswith("drbench: error")]
    if found.code == 130 and not (len(errors) == 1 and ONE_LINE.fullmatch(errors[0])):
        yield f"it said {errors}"
    yield from damage(command.directory)
    announced, there = len(ANNOUNCED.findall(found.said)), records(command.directory)
    if announced > sum(record.status == "done" for record in there):
        yield f"{announced} records were announced, {len(there)} are there"
    if found.code == 130 and (status := status_of(command.directory)) not in ("interrupted", None):
        yield f"the run is noted as {status}"


def resumed(suite: Path, directory: Path, usual: Usual, found: Happened) -> Iterator[str]:
    """What came of going on."""
    before = [record for record in records(directory) if record.status == "done"]
    if found.code != 0:
        words = ["--resume", "latest", "--retry-failed"] if status_of(directory) else ["suite", str(suite)]
        again = Command(directory, *words)
        if code := again.wait():
            yield f"going on ended with {code}: {again.said.splitlines()[-1:]}"
        yield from damage(directory)
    after = [record for record in records(directory) if record.status == "done"]
    if Counter(record.key for record in after) != Counter(usual.keys):
        yield f"{len(after)} pieces of work are done, {len(usual.keys)} were to be, once each"
    kept = {record.key: record for record in after}
    if changed := [record for record in before if kept.get(record.key) != record]:
        yield f"{len(changed)} records are no longer what they were"


def damage(directory: Path) -> Iterator[str]:
    """What SQLite finds wrong with the file."""
    if has_database(directory):
        with closing(sqlite3.connect(directory / "drbench.db")) as database:
            (found,) = database.execute("PRAGMA integrity_check").fetchone()
        if found != "ok":
            yield f"the database is damaged: {found}"


def has_database(directory: Path) -> bool:
    """Whether there is more than an empty file."""
    path = directory / "drbench.db"
    return path.exists() and path.stat().st_size > 0


def status_of(directory: Path) -> str | None:
    """Of the newest run; None where there is no database or no run yet."""
    if not has_database(directory):
        return None
    with Store.open(directory / "drbench.db") as store:
        runs = store.runs()
    return runs[0].status if runs else None


def records(directory: Path) -> list[Record]:
    """Of all runs of a directory; none where there is no database yet."""
    if status_of(directory) is None:
        return []
    with Store.open(directory / "drbench.db") as store:
        return list(store.records())


def table(all_: Sequence[Happened]) -> Iterator[str]:
    """By act and moment: how often, and the longest times."""
    moments = ("start", *WORK, "end")
    yield f"{'':34}" + "".join(f"{moment:>9}" for moment in moments) + "   to end  to gone  wrong"
    for act in ACTS:
        ours = [one for one in all_ if one.act == act]
        if not ours:
            continue
        counts = Counter(one.moment for one in ours)
        ended = [one.to_end for one in ours if one.code not in (0, 4)]
        longest = f"{max(ended):7.2f} s" if ended else f"{'':9}"
        wrong = sum(bool(one.complaints) for one in ours)
        row = "".join(f"{counts[moment] or '':>9}" for moment in moments)
        yield f"{act:34}{row}{longest}{max(one.to_gone for one in ours):7.2f} s{wrong:7}"
    at_work, wrong = sum(one.moment in WORK for one in all_), sum(bool(one.complaints) for one in all_)
    yield f"{len(all_)} times, {at_work} of them in latency or training; {wrong} with something wrong"


def main() -> int:
    """The exit code: 0 where all was as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, help="JSON lines (kill_times-SEED.jsonl).")
    given = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGHUP):  # ignored in the background and under nohup, and then by all we start
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    results = given.results or Path(f"kill_times-{given.seed}.jsonl")
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    done = [Happened(**json.loads(line)) for line in lines]
    with tempfile.TemporaryDirectory() as top, results.open("a", encoding="utf-8") as file:
        suite = Path(top) / "killed.toml"
        suite.write_text(SUITE)
        usual = Usual(suite, Path(top) / "usual") if len(done) < given.times else None
        for number in range(len(done), given.times):
            assert usual is not None
            directory = Path(top) / str(number)
            one = happen(number, given.seed, suite, directory, usual)
            done.append(one)
            kept: dict[str, Any] = {**asdict(one), "said": one.said[-2000:] if one.complaints else ""}
            print(json.dumps(kept), file=file, flush=True)
            said = "; ".join(one.complaints) or "ok"
            times = f"to end {one.to_end:5.2f} s, to gone {one.to_gone:4.2f} s"
            print(f"{number + 1:3} {one.act:32} {one.moment:8} code {one.code:4}, {times}: {said}", flush=True)
            shutil.rmtree(directory, ignore_errors=True)
    print(*table(done), sep="\n")
    return 1 if any(one.complaints for one in done) else 0


if __name__ == "__main__":
    sys.exit(main())
