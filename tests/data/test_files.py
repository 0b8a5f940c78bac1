import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from drbench.data.files import find_images
from drbench.data.folders import folder_classes
from drbench.errors import DataError, InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cat/a.png", "cat/b/10.JPG", "cat/b/9.png", "cat/b-c/1.webp", "dog/x.png", "dog/sub/deep/y.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * len(name))
    return tmp_path


def test_files_are_those_of_torchvision_in_its_order(folder: Path) -> None:
    (folder / "linked").mkdir()
    (folder / "more" / "z").mkdir(parents=True)
    (folder / "more" / "z" / "1.png").write_bytes(b"1")
    (folder / "linked" / "link").symlink_to(folder / "more" / "z")
    theirs = ImageFolder(str(folder))
    found = find_images(folder, folder_classes(folder))
    assert found.samples == theirs.samples
    assert found.sizes == [os.path.getsize(path) for path, _ in theirs.samples]
    assert list(folder_classes(folder)) == theirs.classes


def test_hidden_files_and_other_files_are_left_out_and_counted(folder: Path) -> None:
    before = find_images(folder, ("cat", "dog"))
    for name in (".ipynb_checkpoints/1.png", "cat/.ipynb_checkpoints/2.png", "cat/._a.png", "dog/notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    assert folder_classes(folder) == ("cat", "dog")
    found = find_images(folder, ("cat", "dog"))
    assert found.samples == before.samples
    assert found.left_out == {"hidden": 2, "*.txt": 1}


def dead(path: Path) -> None:
    path.symlink_to("/nonexistent.png")


def circle(path: Path) -> None:
    path.symlink_to(path.name)


def loop(path: Path) -> None:
    path.with_suffix("").symlink_to("..")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (dead, r"bad\.png is a link to /nonexistent\.png, which cannot be opened: No such file"),
        (circle, r"bad\.png is a link to bad\.png, which cannot be opened: Too many levels"),
        (loop, r"bad leads back to a folder that contains it"),
        (os.mkfifo, r"bad\.png is not a regular file"),
        (Path.touch, r"bad\.png is empty \(0 bytes\)"),
    ],
)
def test_a_file_that_cannot_be_opened_is_named(folder: Path, spoil: object, words: str) -> None:
    spoil(folder / "cat" / "bad.png")  # type: ignore[operator]
    with pytest.raises(DataError, match=words):
        find_images(folder, ("cat", "dog"))


@pytest.fixture
def nobody(folder: Path) -> Iterator[Path]:
    """A folder that is not under pytest's own, which only its user may enter; root becomes somebody else meanwhile."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        (Path(place) / "cat").mkdir()
        Image.new("L", (4, 4)).save(Path(place) / "cat" / "a.png")
        root = os.geteuid() == 0
        if root:
            os.chown(Path(place) / "cat", 65534, 65534)
            os.chown(Path(place) / "cat" / "a.png", 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(place)
        finally:
            (Path(place) / "cat").chmod(0o755)
            if root:
                os.seteuid(0)


def test_what_may_not_be_read_is_named(nobody: Path) -> None:
    assert len(find_images(nobody, ("cat",)).samples) == 1
    (nobody / "cat" / "a.png").chmod(0)
    with pytest.raises(DataError, match=r"a\.png cannot be read: permission denied"):
        find_images(nobody, ("cat",))
    (nobody / "cat").chmod(0)
    with pytest.raises(DataError, match=r"cat cannot be read: Permission denied"):
        find_images(nobody, ("cat",))


def test_classes_without_images_and_folders_without_classes(folder: Path) -> None:
    (folder / "eel").mkdir()
    (folder / "eel" / "notes.txt").touch()
    with pytest.raises(InputError, match=r"eel: got no images"):
        find_images(folder, ("cat", "dog", "eel"))
    with pytest.raises(InputError, match=r"eel/CLASS/\*\.jpg .*got none"):
        folder_classes(folder / "eel")


def test_class_folders_that_are_dead_links_or_have_unusable_names(folder: Path) -> None:
    (folder / "fox").symlink_to("/nonexistent")
    with pytest.raises(InputError, match=r"fox is a link that leads nowhere"):
        folder_classes(folder)
    (folder / "fox").unlink()
    os.mkdir(os.fsencode(folder) + b"/b\xe4r")
    with pytest.raises(InputError, match=r"'b\\udce4r'; expected printable UTF-8"):
        folder_classes(folder)
