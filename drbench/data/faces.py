"""Image folders of people: root/train/PERSON/*, root/verify/PERSON/* with a list of pairs, root/distractors/PERSON/*.

Without a list of pairs (`drbench.data.pairs_file`), pairs are drawn from the people in verify/. Nobody in verify/ or
distractors/ may be in train/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torchvision.transforms import v2

from drbench import bounds, paths
from drbench.data.augment import check_augment
from drbench.data.files import Found, find_images
from drbench.data.folders import FACE_SIZE, folder_classes, folder_root
from drbench.data.imagefolder import Folder, digest_of
from drbench.data.pairs_file import read_pairs
from drbench.data.preprocess import describe, override
from drbench.data.splits import Splits, hold_out_people
from drbench.data.verification import Protocol, draw_pairs, mates_of
from drbench.data.waiting import silent
from drbench.errors import InputError

MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
TRAIN, VERIFY, DISTRACTORS = "train", "verify", "distractors"


class FaceFolder(Folder):
    """Image files of people, and what is asked about them."""

    def __init__(self, paths: Sequence[str], protocol: Protocol, transform: Callable[[Any], Any]) -> None:
        super().__init__(list(zip(paths, protocol.people.tolist(), strict=True)), transform)
        self.protocol = protocol


def faces(
    *,
    root: str | None = None,
    pairs: str | None = None,
    draw: int = 1000,
    val_fraction: float = 0.1,
    augment: str = "standard",
    input_size: int | None = None,
    preprocessing: dict[str, Any] | None = None,
    say: Callable[[str], None] = silent,
) -> Splits:
    """Images resized to `input_size` px (default 112), neither cropped nor aligned. Train: mirrored at random.

    `pairs`: the list of pairs in `root`; by default the one file pairs*.txt there. Without one, `draw` pairs are drawn.
    Whole people are held out of train/ for validation. `say` is called with the files that are left out. InputError for
    a folder that is missing, a person in two parts, and a list that names an image that does not exist.
    """
    check_augment(augment)
    base = folder_root(root, "faces")
    if isinstance(draw, bool) or not isinstance(draw, int) or not 20 <= draw <= bounds.ITEMS:
        raise InputError(f"data set 'faces': draw: got {draw!r:.50}; expected a whole number, 20 to {bounds.ITEMS:,}")
    size = input_size or FACE_SIZE
    prepared = override(describe(size, MEAN, STD), preprocessing)
    plain = v2.Compose([v2.RGB(), v2.PILToTensor(), v2.Resize(list(prepared["input_size"]), antialias=True)])
    mirrored = plain if augment == "none" else v2.Compose([plain, v2.RandomHorizontalFlip()])
    names = {part: _people(base, part) for part in (TRAIN, VERIFY, DISTRACTORS)}
    for part in (VERIFY, DISTRACTORS):
        if common := sorted(set(names[TRAIN]) & set(names[part])):
            raise InputError(
                f"{base / part}: got {len(common)} people who are in {TRAIN}/ too ({', '.join(common[:3])}, ...); "
                "expected other people: a network knows those that it was trained on"
            )
    found = {part: find_images(base / part, people, say) for part, people in names.items()}
    _say_left_out(base, found, say)
    train, verify = found[TRAIN], found[VERIFY]
    labels = np.array([label for _, label in train.samples])
    kept, held = hold_out_people(labels, val_fraction)
    classes, targets = np.unique(labels[kept], return_inverse=True)
    _, held_people = np.unique(labels[held], return_inverse=True)
    listed = _pairs_file(base, pairs)
    tested, protocol = _test_part(base, listed, verify, found[DISTRACTORS], names, draw, say)
    files = [path for path, _ in train.samples]
    return Splits(
        name="faces",
        train=Folder([(files[one], int(label)) for one, label in zip(kept, targets, strict=True)], mirrored),
        val=FaceFolder([files[one] for one in held], draw_pairs(held_people, draw), plain) if held else None,
        test=FaceFolder(tested, protocol, plain),
        classes=tuple(names[TRAIN][number] for number in classes),
        input_shape=(3, *prepared["input_size"]),
        preprocessing=prepared,
        digest=digest_of(base, *found.values(), extra=listed.read_bytes() if listed else str(draw).encode()),
        val_indices=tuple(held),
        targets="people",
    )


def _people(base: Path, part: str) -> tuple[str, ...]:
    """The names of the people of a part, or () if the folder does not exist."""
    return folder_classes(base / part) if (base / part).is_dir() else ()


def _say_left_out(base: Path, found: Mapping[str, Found], say: Callable[[str], None]) -> None:
    for part, files in found.items():
        if files.left_out:
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in files.left_out.most_common(5))
            say(f"data faces: left out {files.left_out.total():,} files in {base / part}: {kinds}")


def _pairs_file(base: Path, given: str | None) -> Path | None:
    """The list of pairs, or None if there is none. InputError for several, or if the given one does not exist."""
    if given is not None:
        return paths.regular(base / given, "data set 'faces': pairs")
    found = sorted(base.glob("pairs*.txt"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise InputError(
            f"{base}: got several lists of pairs ({names}); expected one. Name it as `pairs` in the data's args"
        )
    return found[0] if found else None


def _test_part(
    base: Path,
    listed: Path | None,
    verify: Found,
    distractors: Found,
    names: Mapping[str, Sequence[str]],
    draw: int,
    say: Callable[[str], None],
) -> tuple[list[str], Protocol]:
    """The files of the test part, verify/ before distractors/, and its protocol."""
    people = {name: number for number, name in enumerate(sorted({*names[VERIFY], *names[DISTRACTORS]}))}
    owner = [people[names[VERIFY][label]] for _, label in verify.samples]
    probes, mates = mates_of(np.array(owner), np.arange(len(owner)))
    searched = {owner[probe] for probe in probes.tolist()}
    files = [path for path, _ in verify.samples]
    dropped = 0
    for path, label in distractors.samples:
        person = people[names[DISTRACTORS][label]]
        if person in searched:  # it would be a second mate
            dropped += 1
            continue
        files.append(path)
        owner.append(person)
    if dropped:
        say(f"data faces: {dropped:,} distractors show the person of a probe; they are left out")
    apart = np.arange(len(verify.samples), len(files))
    everybody = np.array(owner)
    if listed is None:
        return files, draw_pairs(everybody, draw, apart)
    places = {
        Path(path).relative_to(base / VERIFY).with_suffix("").as_posix(): n
        for n, (path, _) in enumerate(verify.samples)
    }
    first, second, same, fold = read_pairs(listed, places)
    return files, Protocol(everybody, first, second, same, fold, probes, mates, apart)
