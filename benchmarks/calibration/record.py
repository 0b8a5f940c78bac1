"""Record blocks of a latency check whose answer is known, with the code that the check itself runs.

    python benchmarks/calibration/record.py results/.../samples --minutes 4

Six networks take turns in each block: `then` and `copy` (20 equal blocks of layers), and `same`, `5`, `10`, `20` of
another code directory each (20, 21, 22, 24 of them: so many per cent more work). A real check has three of these in a
block. Every call appends one file and starts every side's Python anew each 45 s, so calls can be repeated and
stopped at will. A file holds, of `blocks` blocks in order:

    samples   int32 [blocks, 6, rounds, calls]   nanoseconds of each kept call, 0 where a turn had fewer
    seats     str   [6]                          the networks, in the order of `samples`
    session   int   [blocks]                     which start of the Pythons the block belongs to
    started   float [blocks]                     Unix time
    seconds   float [blocks]                     how long it took
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from drbench.against import ROUNDS
from drbench.against.conductor import Place, Side, block
from drbench.latency.turns import Samples

REPOSITORY = Path(__file__).with_name("repository")
VARIANT, SUITE, SESSION = "stack:network/conv", "calibration.toml", 45.0
EXTRA = {"then": 0, "copy": 0, "same": 0, "5": 1, "10": 2, "20": 4}
"""Seat -> how many of the network's blocks more than twenty."""


@contextmanager
def sides() -> Iterator[dict[str, Side]]:
    """A Python for each seat, on a directory of its own; the copy is the other one's."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = {}
        for seat, extra in EXTRA.items():
            if seat != "copy":
                place = shutil.copytree(REPOSITORY, folder / seat)
                source = (place / "stack.py").read_text(encoding="utf-8")
                changed = source.replace("BLOCKS = 20", f"BLOCKS = {20 + extra}")
                (place / "stack.py").write_text(changed, encoding="utf-8")
                found[seat] = stack.enter_context(Side(Place(seat, place)))
        for side in found.values():
            side.ready()
        found["copy"] = found["then"]
        yield {seat: found[seat] for seat in EXTRA}


def session(end: float) -> Iterator[tuple[dict[str, Samples], float, float]]:
    """Blocks until `end`, or for the length of a session."""
    with sides() as found:
        with found["then"].fork() as resident:
            plan = resident.ask("plan", suite=SUITE, overrides={})
        seats = {seat: (side, plan["variants"][VARIANT]) for seat, side in found.items()}
        stop = min(end, time.time() + SESSION)
        number = 0
        while (started := time.time()) < stop:
            samples, _ = block(seats, plan["latency"], rounds=ROUNDS, number=number)
            yield samples[1], started, time.time() - started
            number += 1


def record(folder: Path, minutes: float) -> Path:
    """Record for so long into a new file of `folder`."""
    blocks: list[tuple[dict[str, Samples], int, float, float]] = []
    end, number = time.time() + 60 * minutes, 0
    try:
        while time.time() < end:
            for samples, started, seconds in session(end):
                blocks.append((samples, number, started, seconds))
            number += 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    longest = max(len(turn) for one, *_ in blocks for turns in one.values() for turn in turns)
    samples = np.zeros((len(blocks), len(EXTRA), ROUNDS, longest), np.int32)
    for row, (one, *_) in enumerate(blocks):
        for column, seat in enumerate(EXTRA):
            for turn, values in enumerate(one[seat]):
                samples[row, column, turn, : len(values)] = np.rint(1e9 * np.array(values))
    _, sessions, started, seconds = zip(*blocks, strict=True)
    path = folder / f"{max((int(p.stem) for p in folder.glob('*.npz')), default=0) + 1:03}.npz"
    folder.mkdir(parents=True, exist_ok=True)
    about: dict[str, Any] = {"session": sessions, "started": started, "seconds": seconds}
    np.savez_compressed(path, samples=samples, seats=np.array(list(EXTRA)), **about)
    print(f"{path}: {len(blocks)} blocks in {number} sessions, {np.mean(seconds):.2f} s each, {path.stat().st_size} B")
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Record blocks for the calibration of latency checks.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=4)
    given = parser.parse_args()
    record(given.folder, given.minutes)


if __name__ == "__main__":
    main()
