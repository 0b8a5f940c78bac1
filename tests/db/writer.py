"""A program of the tests: wait for the file GO, then write RUNS runs of RECORDS records into a database, as NAME."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

from drbench_db import Store

from drbench.records import Code, Machine, Measurement, Record, Run, Variant

RUNS, RECORDS = 5, 20
VARIANT = Variant("net", "drconv", {"regions": 8})
TIME = "2026-01-01T12:00:00Z"
SAMPLES = tuple(0.001 * i for i in range(100))


def run(name: str, number: int) -> Run:
    """All processes share some machines, suites and code, which only one of them can be the first to write."""
    machine = Machine(f"box{number}", "Linux", "a CPU", 2, 4, 8 << 30)
    return Run(
        f"{name}-{number}",
        "suite",
        f"number = {number}",
        "drbench run",
        "2026-01-01T12:00:00Z",
        machine,
        Code(str(number)),
    )


def record(number: int) -> Record:
    latency = Measurement("latency", 1.0, "s", samples=SAMPLES)
    made = Record(
        f"key{number}", VARIANT, f"hash{number}", "m=8", "latency", "done", TIME, TIME, measurements=(latency,)
    )
    return replace(made, seed=number)


def main(database: str, name: str, go: str) -> None:
    """Each record is a commit of its own, as in a real run; every run is a new opening of the database."""
    while not Path(go).exists():
        time.sleep(0.001)
    for number in range(RUNS):
        with Store.open(database, write=True) as store:
            wanted = run(name, number)
            store.begin_run(wanted)
            for one in range(RECORDS):
                store.add(wanted.id, record(one))
            store.end_run(wanted.id, "done")


if __name__ == "__main__":
    main(*sys.argv[1:])
