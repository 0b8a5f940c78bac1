"""Hostile inputs by the thousand: `make fuzz`, or

    python -m tests.fuzz --cases 2000 --seed 1
    python -m tests.fuzz --seed 1 --case databases/17 --keep

No case may end with exit code 70, a traceback, raw control characters, a hang of 60 s, or a lost record. Equal seeds
make equal cases. Prints what was wrong as it is found, then a table of cases by kind and outcome; exits with 1 where
anything was wrong.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.fuzz import material
from tests.fuzz.kinds import KINDS
from tests.fuzz.runner import HANG, Case, Result, faults, run_all


def plan(count: int) -> list[tuple[str, int]]:
    """`count` cases as (kind, number), by the kinds' shares, in turn."""
    shares = {kind: share for kind, (_, share) in KINDS.items()}
    total = sum(shares.values())
    counts = {kind: max(1, round(count * share / total)) for kind, share in shares.items()}
    return sorted(
        ((kind, number) for kind, most in counts.items() for number in range(most)),
        key=lambda one: (one[1] / counts[one[0]], one[0]),
    )


def cases(chosen: list[tuple[str, int]], seed: int, top: Path, made: material.Material) -> Iterator[Case]:
    """The cases, each prepared in a directory of its own just before it runs."""
    for kind, number in chosen:
        place = top / f"{kind}-{number}"
        place.mkdir()
        case = KINDS[kind][0](Random(f"{seed}/{kind}/{number}"), place, made)
        case.name = f"{kind}/{number} {case.name}"
        yield case


def outcome(case: Case, result: Result) -> str:
    """What a case counts as in the table."""
    return "hang" if result.seconds >= HANG else f"exit {result.code}"


def main() -> int:
    """The exit code: 0 where all was as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time")
    parser.add_argument("--case", help="one case again: KIND/NUMBER, or all of a KIND")
    parser.add_argument("--keep", action="store_true", help="keep the cases' directories, and show what they printed")
    given = parser.parse_args()
    chosen = plan(given.cases)
    if given.case:
        kind, _, number = given.case.partition("/")
        chosen = [(kind, int(number))] if number else [one for one in chosen if one[0] == kind]
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in (signal.SIGINT, signal.SIGHUP):  # ignored in the background and under nohup, and then by all we start
        signal.signal(name, signal.default_int_handler if name == signal.SIGINT else signal.SIG_DFL)
    _load()
    start = time.monotonic()
    counted: Counter[tuple[str, str]] = Counter()
    wrong = slowest = 0.0
    top = Path(tempfile.mkdtemp(prefix="drbench-fuzz-"))
    os.environ["XDG_STATE_HOME"] = str(top / "state")
    print(f"{len(chosen)} cases, seed {given.seed}, in {top}", flush=True)
    made = material.make(top / "material")
    for case, result in run_all(cases(chosen, given.seed, top, made), given.jobs):
        kind = case.name.partition("/")[0]
        found = faults(case, result)
        counted[kind, outcome(case, result)] += 1
        counted[kind, "wrong"] += bool(found)
        wrong += bool(found)
        slowest = max(slowest, result.seconds)
        if found or given.keep:
            print(f"{case.name!r}: exit {result.code}, {result.seconds:.1f} s: {'; '.join(found) or 'ok'}", flush=True)
            last = (result.err.strip().splitlines() or ["nothing on stderr"])[-1]
            print(f"    {list(case.arguments)!r:.300}\n    {last!r:.600}", flush=True)
        if not given.keep:
            shutil.rmtree(case.directory, ignore_errors=True)
            for name in ("out", "err"):
                case.directory.with_name(f"{case.directory.name}.{name}").unlink(missing_ok=True)
    if not given.keep:
        shutil.rmtree(top, ignore_errors=True)
    _table(counted)
    seconds = time.monotonic() - start
    print(
        f"{len(chosen)} cases, seed {given.seed}: {wrong:.0f} wrong; {seconds:.0f} s, the slowest case {slowest:.1f} s"
    )
    return 1 if wrong else 0


def _load() -> None:
    """What cases need, loaded once before they are forked."""
    import drbench.experiment
    import drbench.models
    import drbench.report  # noqa: F401
    from drbench.cli.app import app  # noqa: F401

    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(1)


def _table(counted: Counter[tuple[str, str]]) -> None:
    outcomes = sorted({name for _, name in counted} - {"wrong"})
    print(f"{'kind':12}" + "".join(f"{name:>9}" for name in (*outcomes, "cases", "wrong")))
    for kind in KINDS:
        row = [counted[kind, name] for name in outcomes]
        if sum(row):
            print(f"{kind:12}" + "".join(f"{number:9}" for number in (*row, sum(row), counted[kind, "wrong"])))


if __name__ == "__main__":
    sys.exit(main())
