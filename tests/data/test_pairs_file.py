"""Lists of pairs in LFW's format: what is read, and the line that is named when it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from drbench.data.pairs_file import read_pairs
from drbench.errors import InputError

PLACES = {f"{name}/{name}_{image:04d}": 10 * number + image for number, name in enumerate("ABC") for image in (1, 2, 3)}
TWO_FOLDS = "2\t1\nA\t1\t3\nA\t2\tB\t1\nB\t3\t2\nC\t1\tB\t2\n"


def read(tmp_path: Path, text: str | bytes):
    path = tmp_path / "pairs.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [found.tolist() for found in read_pairs(path, PLACES)]


def test_folds(tmp_path: Path) -> None:
    assert read(tmp_path, TWO_FOLDS) == [[1, 2, 13, 21], [3, 11, 12, 12], [True, False, True, False], [0, 0, 1, 1]]


def test_one_list_is_cut_into_folds(tmp_path: Path) -> None:
    first, _, same, fold = read(tmp_path, "2\nA\t1\t2\nB\t1\t2\nA\t1\tB\t1\nA\t1\tC\t1\n")
    assert (first, same, fold) == ([1, 11, 1, 1], [True, True, False, False], [0, 5, 0, 5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: got ''"),
        ("ten\t300\n", "line 1: got 'ten 300'"),
        ("1\t2\t3\n", "line 1"),
        ("\u00b2\n", "line 1"),
        (f"{'9' * 5000}\n", "line 1"),
        (TWO_FOLDS + "A\t1\t2\n", "got 5 pairs; expected 4, for line 1 says 2 folds of 1 same and 1 different"),
        ("0\n", "got 0 pairs"),
        (TWO_FOLDS.replace("B\t3\t2", "B\t3"), "line 4: got 2 fields; expected NAME 1 2, or NAME 1 OTHER 2"),
        (TWO_FOLDS.replace("B\t3\t2", "B 3 2"), "line 4: got 1 fields"),
        (TWO_FOLDS.replace("A\t1\t3", "A\t1\t4"), "line 2: got image 4 of A; expected one that exists"),
        (TWO_FOLDS.replace("C\t1", "D\t1"), "line 5: got image 1 of D"),
        (TWO_FOLDS.replace("A\t1\t3", "A\t1\t-3"), "line 2: got image -3 of A"),
        (b"\xff\xfe", "cannot be read as UTF-8 text"),
    ],
)
def test_a_wrong_list_names_its_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "pairs.txt" in str(caught.value)
