"""Columns side by side as long as there is room, then below."""

from __future__ import annotations

from drbench.report.layout import Cells, lay_out

FIRST = Cells(("name", ""), ("one", "two"), left=True)


def columns(*topics: str) -> list[Cells]:
    return [Cells((f"{topic}{n}", ""), ("1234567", "1"), topic) for n, topic in enumerate(topics)]


def text(width: int, *topics: str) -> list[str]:
    return [line.plain for line in lay_out(FIRST, columns(*topics), width)]


def test_figures_are_flush_right_names_flush_left() -> None:
    assert text(80, "a") == ["name       a0", "────  ───────", "one   1234567", "two         1"]


def test_a_topic_moves_to_the_next_block_as_a_whole() -> None:
    lines = text(30, "a", "b", "b")  # four for the name, nine for each column
    assert [line for line in lines if line.startswith("name")] == ["name       a0", "name       b1       b2"]


def test_a_topic_that_is_too_wide_is_broken() -> None:
    lines = text(22, "a", "a", "a")
    assert [line for line in lines if line.startswith("name")] == ["name       a0       a1", "name       a2"]


def test_one_column_is_shown_however_narrow_the_terminal() -> None:
    assert text(5, "a", "b")[0] == "name       a0"


def test_wide_characters_take_two_places() -> None:
    cells = Cells(("x", ""), ("測定", "1"))
    assert [line.plain for line in lay_out(FIRST, [cells], 80)][2:] == ["one   測定", "two      1"]
