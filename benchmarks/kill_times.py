"""What is left when a suite is killed at a random moment: its command, or one of its workers, with SIGKILL.

    python benchmarks/kill_times.py --times 50 --seed 0

Each time a small suite with all four stages is started, killed, looked at, gone on with and looked at again:
- the database is whole (PRAGMA integrity_check), and every record that was announced is in it;
- `--resume` (`--retry-failed` where a worker was killed) ends the run as done, with all that the suite has;
- what was done before is as it was, and nothing is done twice;
- no process is left, neither after the kill nor after the end.

Linux. Prints one line a time and a summary; exits 1 where anything was not so.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psutil
from drbench_db import Store

from drbench.records import Record

SUITE = """
name = "killed"
architectures = ["mobilenet_v1_0.25"]
operators = [{ operator = "drconv", regions = 2 }]
data = { args = { train = 200, test = 20 } }
train = { epochs = 2, batch_size = 20, threads = 1 }
latency = { batch_sizes = [1], workers = 2, warmup_runs = 0, min_runs = 3, min_seconds = 0.0, threads = 1 }
"""
MARK = "DRBENCH_KILL_TIMES"
LEFT_SECONDS = 10.0
"""How long the processes of a command that was killed have to be gone."""


def main() -> int:
    """The exit code: 0 where all was as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as top:
        suite = Path(top) / "killed.toml"
        suite.write_text(SUITE)
        whole, seconds, all_keys = undisturbed(suite, Path(top) / "whole")
        print(f"undisturbed: {seconds:.1f} s, {whole} records", flush=True)
        moments: Counter[str] = Counter()
        wrong = 0
        for number in range(given.times):
            chance = random.Random(f"{given.seed}/{number}")
            victim = chance.choice(("command", "worker"))
            after = chance.uniform(0.0, seconds)
            one = Killed(suite, Path(top) / str(number), victim, after, all_keys)
            complaints = list(one.complaints())
            moments[f"{victim} during {one.moment}"] += 1
            wrong += bool(complaints)
            said = "; ".join(complaints) or "ok"
            print(f"{number + 1:3} {victim:7} after {after:5.2f} s, {one.moment}: {said}", flush=True)
    for moment, count in sorted(moments.items()):
        print(f"{count:4} times {moment}")
    print(f"{given.times} kills, {wrong} with something wrong")
    return 1 if wrong else 0


def undisturbed(suite: Path, directory: Path) -> tuple[int, float, set[str]]:
    """Records, seconds and keys of a run that nothing happens to."""
    start = time.monotonic()
    process = started(directory, "suite", str(suite))
    _, said = process.communicate()
    if process.returncode:
        raise SystemExit(f"the suite does not run: {said}")
    found = records(directory)
    return len(found), time.monotonic() - start, {record.key for record in found}


class Killed:
    """One kill, and what came of it."""

    def __init__(self, suite: Path, directory: Path, victim: str, after: float, keys: set[str]) -> None:
        self.suite, self.directory, self.victim, self.after, self.keys = suite, directory, victim, after, keys
        self.moment = "start"

    def complaints(self) -> Iterator[str]:
        """Kill, look, go on, look: what is not as it should be."""
        process = started(self.directory, "suite", str(self.suite))
        time.sleep(self.after)
        said = self.kill(process)
        announced = re.findall(r"^(cost|memory|latency|train) mobilenet\S* .*$", said, re.MULTILINE)
        yield from self.left("the kill")
        yield from self.damage()
        before = records(self.directory)
        self.moment = (["start", *announced])[-1] if announced else "start"
        if len(announced) > len(before):
            yield f"{len(announced)} records were announced, {len(before)} are there"

        words = ["--resume", "latest", "--retry-failed"] if self.has_run() else ["suite", str(self.suite)]
        again = started(self.directory, *words)
        _, said = again.communicate()
        if again.returncode:
            yield f"going on ended with {again.returncode}: {said.splitlines()[-1:]}"
        yield from self.left("the end")
        yield from self.damage()
        after = [record for record in records(self.directory) if record.status == "done"]
        if Counter(record.key for record in after) != Counter(self.keys):
            yield f"{len(after)} pieces of work are done, {len(self.keys)} were to be, once each"
        kept = {record.key: record for record in after}
        if changed := [record for record in before if record.status == "done" and kept.get(record.key) != record]:
            yield f"{len(changed)} records are no longer what they were"

    def kill(self, process: subprocess.Popen[str]) -> str:
        """Kill the victim; what the command had said by its end."""
        if self.victim == "command":
            process.kill()
        else:
            while process.poll() is None and not (there := workers(process.pid)):
                time.sleep(0.005)
            if process.poll() is None:
                with suppress(psutil.NoSuchProcess):
                    there[0].send_signal(signal.SIGKILL)
        return process.communicate()[1]

    def has_run(self) -> bool:
        """Whether it came so far."""
        if not (self.directory / "drbench.db").exists():
            return False
        with Store.open(self.directory / "drbench.db") as store:
            return bool(store.runs())

    def damage(self) -> Iterator[str]:
        """What SQLite finds wrong with the file."""
        if (self.directory / "drbench.db").exists():
            with closing(sqlite3.connect(self.directory / "drbench.db")) as database:
                (found,) = database.execute("PRAGMA integrity_check").fetchone()
            if found != "ok":
                yield f"the database is damaged: {found}"

    def left(self, when: str) -> Iterator[str]:
        """Processes that are still there."""
        until = time.monotonic() + LEFT_SECONDS
        while (there := marked(self.directory)) and time.monotonic() < until:
            time.sleep(0.05)
        if there:
            yield f"{len(there)} processes are left after {when}"


def started(directory: Path, *words: str) -> subprocess.Popen[str]:
    """`drbench run` in a directory, its processes marked."""
    directory.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "drbench", "run", *words],
        cwd=directory,
        env={**os.environ, "OMP_NUM_THREADS": "1", MARK: str(directory)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def workers(command: int) -> list[psutil.Process]:
    """The children of the process that a command's workers are forked from."""
    try:
        servers = psutil.Process(command).children()
        return [worker for server in servers for worker in server.children()]
    except psutil.NoSuchProcess:
        return []


def marked(directory: Path) -> list[psutil.Process]:
    """All processes that a command in this directory has started, directly or not, and that live."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == str(directory) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def records(directory: Path) -> list[Record]:
    """Of the one run of a directory; none where there is no database or no run yet."""
    if not (directory / "drbench.db").exists():
        return []
    with Store.open(directory / "drbench.db") as store:
        return list(store.records())


if __name__ == "__main__":
    sys.exit(main())
