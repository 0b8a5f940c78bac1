"""How checks are formed from recorded blocks; and that the committed table is that of the committed blocks."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

TOP = Path(__file__).resolve().parents[2]
SEATS = ("then", "copy", "same", "5", "10", "20")


@pytest.fixture(scope="module")
def table() -> ModuleType:
    path = TOP / "benchmarks" / "calibration" / "table.py"
    spec = importlib.util.spec_from_file_location("calibration_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def write(path: Path, blocks: int, factors: dict[str, float], noise: float = 0.0) -> None:
    """Blocks of four rounds of two calls of 1 ms, times a factor, with a turn of a single call."""
    rng = np.random.default_rng(0)
    samples = np.zeros((blocks, len(SEATS), 4, 2), np.int32)
    for column, seat in enumerate(SEATS):
        luck = np.exp(rng.normal(0, noise, (blocks, 1, 1)))
        samples[:, column] = 1e6 * factors.get(seat, 1.0) * luck
    samples[:, :, 3, 1] = 0
    about = {"session": np.zeros(blocks), "started": np.zeros(blocks), "seconds": np.full(blocks, 2.0)}
    np.savez_compressed(path, samples=samples, seats=np.array(SEATS), **about)


def test_each_block_is_in_one_check(table: ModuleType) -> None:
    """Clear ones take 8 blocks each, as long as there are the 32 that a check may need."""
    ratios = [0.2 + 0.001 * (number % 7) for number in range(100)]
    made = list(table.checks(ratios, [0.0] * 100))
    assert [one.decision for one in made] == ["regression"] * 9
    assert [number for one in made for number in one.log_ratios] == ratios[:72]


def test_an_unclear_one_takes_all_32_blocks(table: ModuleType) -> None:
    rng = np.random.default_rng(1)
    made = list(table.checks(list(rng.normal(0, 0.2, 70)), list(rng.normal(0, 0.2, 70))))
    assert [(one.decision, len(one.floor)) for one in made] == [("unresolved", 32)] * 2


def test_blocks_are_read_in_order_without_what_was_not_there(table: ModuleType, tmp_path: Path) -> None:
    write(tmp_path / "001.npz", 1, {"5": 1.05})
    write(tmp_path / "002.npz", 2, {"5": 1.06})
    found = list(table.blocks(tmp_path))
    assert [block.seconds for block in found] == [2.0] * 3
    assert [block.start for block in found] == [("001.npz", 0), ("002.npz", 0), ("002.npz", 0)]
    assert [block.turns["5"][0][0] for block in found] == pytest.approx([1.05e-3, 1.06e-3, 1.06e-3])
    assert [len(turn) for turn in found[0].turns["then"]] == [2, 2, 2, 1]


def test_a_recording_with_a_known_answer(table: ModuleType, tmp_path: Path) -> None:
    write(tmp_path / "001.npz", 64, {"5": 1.05, "10": 1.1, "20": 1.2}, noise=0.004)
    text = "\n".join(table.table(tmp_path))
    assert "| A/A | 5 | 0 (0.0%) | 5 (100.0%) |" in text
    assert "+5%: found 5 of 5; at least 54.9%" in text
    assert "a block of three networks takes 1.0 s" in text
    assert "Starts of the Pythons: 1." in text


def test_intervals_of_shares_are_clopper_and_pearsons(table: ModuleType) -> None:
    """Their own closed forms for no hits and for all, and what the bound means."""
    assert table.upper(0, 300) == pytest.approx(1 - 0.05 ** (1 / 300))
    assert table.lower(20, 20) == pytest.approx(0.05 ** (1 / 20))
    assert table.lower(0, 20) == 0
    assert table.upper(20, 20) == 1
    chance = sum(
        math.comb(20, k) * table.lower(7, 20) ** k * (1 - table.lower(7, 20)) ** (20 - k) for k in range(7, 21)
    )
    assert chance == pytest.approx(0.05)


def test_the_committed_table_is_that_of_the_committed_blocks(table: ModuleType) -> None:
    (folder,) = (TOP / "results").glob("*-calibration-latency")
    lines = table.table(folder / "samples")
    committed = (folder / "README.md").read_text(encoding="utf-8")
    assert [line for line in lines if line not in committed] == []
