"""Lists of pairs in LFW's format: which images are compared, whether they show one person, in which fold.

The first line has the number of folds (if there are several) and the number of pairs of each kind in a fold. In each
fold the same pairs follow as "NAME 1 2", then the different ones as "NAME 1 OTHER 2", separated by tabs. Image 7 of
NAME is NAME/NAME_0007.jpg. Huang et al., "Labeled Faces in the Wild", 2007.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drbench.data.verification import in_folds
from drbench.errors import InputError

FORMAT = "NAME 1 2, or NAME 1 OTHER 2, separated by tabs"


def read_pairs(path: Path, places: Mapping[str, int]) -> tuple[Any, Any, Any, Any]:
    """First and second image, whether they show one person, and the fold, each (pairs,).

    A list without folds is cut into ten. InputError names the line that is wrong.

    Args:
        path: the list.
        places: "NAME/NAME_0007" -> the number of that image.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"list of pairs {path} cannot be read as UTF-8 text: {error}") from error
    head = lines[0].split() if lines else []
    if len(head) not in (1, 2) or not all(map(_is_number, head)):
        raise InputError(
            f"list of pairs {path}: line 1: got {' '.join(head)[:40]!r}; expected the number of pairs of each kind, or "
            "the number of folds before it"
        )
    folds, each = (1, int(head[0])) if len(head) == 1 else (int(head[0]), int(head[1]))
    rows = [(number, line.split("\t")) for number, line in enumerate(lines[1:], 2) if line.strip()]
    if len(rows) != 2 * folds * each or not rows or folds > 255:
        raise InputError(
            f"list of pairs {path}: got {len(rows):,} pairs; expected {2 * folds * each:,}, for line 1 says {folds} "
            f"folds of {each:,} same and {each:,} different pairs"
        )
    found = np.array([_pair(path, number, words, places) for number, words in rows], np.int64)
    same = found[:, 2].astype(bool)
    fold = np.arange(len(rows)) // (2 * each) if folds > 1 else in_folds(same)
    return found[:, 0], found[:, 1], same, fold


def _pair(path: Path, number: int, words: Sequence[str], places: Mapping[str, int]) -> tuple[int, int, bool]:
    words = [word.strip() for word in words]
    if len(words) == 3:
        named, same = ((words[0], words[1]), (words[0], words[2])), True
    elif len(words) == 4:
        named, same = ((words[0], words[1]), (words[2], words[3])), False
    else:
        raise InputError(f"list of pairs {path}: line {number}: got {len(words)} fields; expected {FORMAT}")
    images = []
    for name, image in named:
        key = f"{name}/{name}_{int(image):04d}" if _is_number(image) else ""
        if key not in places:
            raise InputError(
                f"list of pairs {path}: line {number}: got image {image:.20} of {name:.80}; expected one that exists, "
                "such as NAME/NAME_0001.jpg for image 1 of NAME"
            )
        images.append(places[key])
    return images[0], images[1], same


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 10
