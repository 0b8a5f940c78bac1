"""What is said of the accuracy gate follows from the bits that are kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

TOP = Path(__file__).resolve().parents[2]
SCRIPT = TOP / "benchmarks" / "calibration" / "accuracy.py"
RESULT = TOP / "results" / "2026-11-25-calibration-accuracy"


def judge(directory: Path) -> list[list[str]]:
    """The rows of the table that the bits in a directory give."""
    done = subprocess.run([sys.executable, SCRIPT, "judge", "--out", directory], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return rows(done.stdout)


def rows(text: str) -> list[list[str]]:
    found = [[cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return found[2:]


@pytest.mark.slow
def test_the_committed_table_is_that_of_the_committed_bits(tmp_path: Path) -> None:
    (tmp_path / "bits.npz").write_bytes((RESULT / "bits.npz").read_bytes())
    found = judge(tmp_path)
    assert found == rows((RESULT / "table.md").read_text()) == rows((RESULT / "README.md").read_text())
    for row, upper in zip(found, (True, False, False), strict=True):
        checks, regressions = int(row[1]), int(row[2])
        side = binomtest(regressions, checks, alternative="less" if upper else "greater")
        bound = side.proportion_ci(0.95, method="exact")
        assert row[4].endswith(f"{bound.high if upper else bound.low:.2%}")


def test_a_loss_is_a_regression_and_taking_turns_cancels(tmp_path: Path) -> None:
    before = np.ones((4, 10_000), bool)
    less = before.copy()
    less[:, :200] = False  # two points, on the same images
    bits = {"before": before, "equal": less, "worse": less, "worse-other": before}
    np.savez(tmp_path / "bits.npz", **{name: np.packbits(rows, axis=1) for name, rows in bits.items()})
    equal, worse, other = judge(tmp_path)
    assert equal[1:4] == ["4", "2", "50.00%"]  # the later one in half of the checks
    assert equal[7:9] == ["2", "+0.00 points"]
    assert worse[1:4] == ["4", "4", "100.00%"]
    assert worse[8] == "-2.00 points"
    assert other[2] == "0"
