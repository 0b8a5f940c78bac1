"""What checks would have said, formed from recorded blocks (see record.py): each block is used in one check only.

    python benchmarks/calibration/table.py results/.../samples

The blocks of a condition are one stream in the order of recording. A check takes blocks from it as the real one does:
it looks after 8, 16 and 32 of them and ends as soon as it can tell. The next check begins with the next block.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import beta

from drbench.against import LEVEL, LOOKS, Compared, said
from drbench.intervals import LIMIT, shared
from drbench.measure.turns import Samples

CONDITIONS = {"same": "A/A", "5": "+5%", "10": "+10%", "20": "+20%"}
SEATS_OF_A_CHECK = 3


def blocks(folder: Path) -> Iterator[tuple[dict[str, Samples], float]]:
    """Seat -> turns of seconds, and the block's seconds, in order."""
    for path in sorted(folder.glob("*.npz")):
        found = np.load(path)
        seats = [str(seat) for seat in found["seats"]]
        for block, seconds in zip(found["samples"], found["seconds"], strict=True):
            turns = {
                seat: tuple(tuple(call / 1e9 for call in turn if call) for turn in block[column])
                for column, seat in enumerate(seats)
            }
            yield turns, float(seconds)


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


def within(hits: int, of: int) -> tuple[float, float]:
    """Clopper and Pearson's 95% interval of a share."""
    low = beta.ppf(0.025, hits, of - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, of - hits) if hits < of else 1.0
    return float(low), float(high)


def upper(hits: int, of: int) -> float:
    """One-sided: with 95% confidence the share is no larger."""
    return float(beta.ppf(0.95, hits + 1, of - hits)) if hits < of else 1.0


def table(folder: Path) -> list[str]:
    """Markdown."""
    found, seconds = zip(*blocks(folder), strict=True)
    each = float(np.median(seconds)) * SEATS_OF_A_CHECK / len(found[0])
    lines = [
        f"{len(found)} blocks per condition; a block of three networks takes {each:.1f} s, the start of a check not "
        "counted.",
        "",
        "| | checks | regression | held | cannot resolve | improvement | blocks: mean, most | seconds: mean |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines_below = []
    for seat, name in CONDITIONS.items():
        ratios, floors = zip(*(said(block[seat], block["then"], block["copy"]) for block in found), strict=True)
        made = list(checks(ratios, floors))
        counts, used = Counter(one.decision for one in made), [len(one.floor) for one in made]
        shares = [
            f"{counts[key]} ({counts[key] / len(made):.1%})"
            for key in ("regression", "held", "unresolved", "improvement")
        ]
        mean = float(np.mean(used))
        lines.append(f"| {name} | {len(made)} | {' | '.join(shares)} | {mean:.1f}, {max(used)} | {mean * each:.0f} |")
        hits = counts["regression"]
        low, _ = within(hits, len(made))
        lines_below.append(
            f"{name}: {hits} false regressions in {len(made)}; {upper(hits, len(made)):.1%} at most (95%)."
            if seat == "same"
            else f"{name}: found {hits} of {len(made)}, {hits / len(made):.1%} (at least {low:.1%}); the ratio itself: "
            f"median {np.exp(np.median(ratios)):.3f}."
        )
    spread = np.std(floors, ddof=1)
    return [
        *lines,
        "",
        *lines_below,
        f"Floor: one block's log-ratio of the copy has a standard deviation of {spread:.2%}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Form checks from recorded blocks and count what they say.")
    parser.add_argument("folder", type=Path)
    print("\n".join(table(parser.parse_args().folder)))


if __name__ == "__main__":
    main()
