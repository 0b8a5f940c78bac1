"""What checks would have said, formed from recorded blocks (see record.py): each block is used in one check only.

    python benchmarks/calibration/table.py results/.../samples

The blocks of a condition are one stream in the order of recording. A check takes blocks from it as the real one does:
it looks after 8, 16 and 32 of them and ends as soon as it can tell. The next check begins with the next block.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

from drbench.against import LEVEL, LOOKS, Compared, block_log_ratios
from drbench.latency.turns import Samples
from drbench.statistics.ratios import LIMIT, shared

CONDITIONS = {"same": "A/A", "5": "+5%", "10": "+10%", "20": "+20%"}
SEATS_OF_A_CHECK = 3


@dataclass(frozen=True)
class Block:
    """Seat -> turns of seconds; how long it took; which start of the Pythons it belongs to."""

    turns: dict[str, Samples]
    seconds: float
    start: tuple[str, int]


def blocks(folder: Path) -> Iterator[Block]:
    """In the order of recording."""
    for path in sorted(folder.glob("*.npz")):
        found = np.load(path)
        seats = [str(seat) for seat in found["seats"]]
        for block, seconds, session in zip(found["samples"], found["seconds"], found["session"], strict=True):
            turns = {
                seat: tuple(tuple(call / 1e9 for call in turn if call) for turn in block[column])
                for column, seat in enumerate(seats)
            }
            yield Block(turns, float(seconds), (path.name, int(session)))


def checks(ratios: Sequence[float], floors: Sequence[float]) -> Iterator[Compared]:
    """Complete checks, one after the other."""
    start, level = 0, shared(LEVEL, len(LOOKS))
    while start + LOOKS[-1] <= len(ratios):
        for look in LOOKS:
            part = slice(start, start + look)
            one = Compared("", 1, tuple(ratios[part]), tuple(floors[part]), 1.0, 1.0, float(look), level, LIMIT)
            if one.decision != "unresolved":
                break
        yield one
        start += look


def by_start(found: Sequence[Block], values: Sequence[float]) -> list[np.ndarray[Any, Any]]:
    """The blocks' values, apart for each start of the Pythons."""
    starts = [block.start for block in found]
    return [np.array([v for v, at in zip(values, starts, strict=True) if at == one]) for one in dict.fromkeys(starts)]


def resampled(ratios: Sequence[Sequence[float]], floors: Sequence[Sequence[float]], times: int = 10_000) -> float:
    """The share of regressions among checks of blocks drawn with replacement, each from one start of the Pythons, as a
    real check has one: not independent of each other, but a guess at what is too rare for the disjoint ones.
    """
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(times):
        start = rng.integers(len(ratios))
        drawn = rng.integers(len(ratios[start]), size=LOOKS[-1])
        one = next(checks([ratios[start][n] for n in drawn], [floors[start][n] for n in drawn]))
        hits += one.decision == "regression"
    return hits / times


def lower(hits: int, of: int) -> float:
    """With 95% confidence the share is no smaller (Clopper and Pearson, one-sided)."""
    return float(beta.ppf(0.05, hits, of - hits + 1)) if hits else 0.0


def upper(hits: int, of: int) -> float:
    """With 95% confidence the share is no larger."""
    return float(beta.ppf(0.95, hits + 1, of - hits)) if hits < of else 1.0


def table(folder: Path) -> list[str]:
    """Markdown."""
    found = list(blocks(folder))
    each = float(np.median([block.seconds for block in found])) * SEATS_OF_A_CHECK / len(found[0].turns)
    lines = [
        f"{len(found)} blocks per condition; a block of three networks takes {each:.1f} s, the start of a check not "
        "counted.",
        "",
        "| | checks | regression | held | cannot resolve | improvement | blocks: mean, most | seconds: mean |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines_below = []
    for seat, name in CONDITIONS.items():
        ratios, floors = zip(*(_log_ratios(block.turns, seat) for block in found), strict=True)
        made = list(checks(ratios, floors))
        counts, used = Counter(one.decision for one in made), [len(one.floor) for one in made]
        shares = [
            f"{counts[key]} ({counts[key] / len(made):.1%})"
            for key in ("regression", "held", "unresolved", "improvement")
        ]
        mean = float(np.mean(used))
        lines.append(f"| {name} | {len(made)} | {' | '.join(shares)} | {mean:.1f}, {max(used)} | {mean * each:.0f} |")
        hits = counts["regression"]
        if seat == "same":
            each_start = by_start(found, ratios)
            drawn = resampled(each_start, by_start(found, floors))
            middles = [float(np.median(one)) for one in each_start]
            apart = np.std(middles, ddof=min(1, len(middles) - 1))
            lines_below += [
                f"- {name}: {hits} false regressions in {len(made)}; at most {upper(hits, len(made)):.1%} with 95% "
                f"confidence. In 10,000 checks of blocks drawn from one start each: {drawn:.2%}.",
                f"- Starts of the Pythons: {len(middles)}. Of equal code, their medians lie from {min(middles):+.2%} "
                f"to {max(middles):+.2%} (standard deviation {apart:.2%}).",
            ]
        else:
            lines_below.append(
                f"- {name}: found {hits} of {len(made)}; at least {lower(hits, len(made)):.1%} with 95% confidence. "
                f"The ratio itself: median {np.exp(np.median(ratios)):.3f}."
            )
    spread = np.std(floors, ddof=1)
    return [
        *lines,
        "",
        *lines_below,
        f"- Floor: one block's log-ratio of the copy has a standard deviation of {spread:.2%}.",
    ]


def _log_ratios(turns: dict[str, Samples], seat: str) -> tuple[float, float]:
    return block_log_ratios(turns[seat], turns["then"], turns["copy"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Form checks from recorded blocks and count what they say.")
    parser.add_argument("folder", type=Path)
    print("\n".join(table(parser.parse_args().folder)))


if __name__ == "__main__":
    main()
