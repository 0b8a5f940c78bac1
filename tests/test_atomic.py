from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from drbench import atomic


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


def test_a_new_file_is_written(tmp_path: Path) -> None:
    atomic.write(tmp_path / "new", b"content")
    assert (tmp_path / "new").read_bytes() == b"content"
    assert names(tmp_path) == ["new"]


def test_the_former_file_is_replaced_and_its_permissions_stay(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a longer content than the new one")
    path.chmod(0o640)
    atomic.write(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_has_the_permissions_that_the_umask_says(tmp_path: Path) -> None:
    (tmp_path / "like").write_bytes(b"")
    atomic.write(tmp_path / "new", b"")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "like").stat().st_mode


def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    for content in (b"first", b"second"):
        atomic.write(tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "there" / "file").read_bytes() == content
    assert names(tmp_path / "there") == ["file"]


def test_a_long_name_is_as_good_as_a_short_one(tmp_path: Path) -> None:
    atomic.write(tmp_path / ("n" * 255), b"content")
    assert names(tmp_path) == ["n" * 255]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_the_former_file_stays_where_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"former")

    def fails(descriptor: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(type(error)):
        atomic.write(path, b"new")
    assert path.read_bytes() == b"former"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("blocked", ["missing/file", "directory"])
def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path, blocked: str) -> None:
    (tmp_path / "directory").mkdir()
    with pytest.raises(OSError, match=r"missing|directory"):
        atomic.write(tmp_path / blocked, b"new")
    assert names(tmp_path) == ["directory"]


def test_a_kill_leaves_the_former_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    whole = {bytes([digit]) * 3_000_000 for digit in range(256)}
    path.write_bytes(b"\0" * 3_000_000)
    script = (
        "import sys; from pathlib import Path; from drbench import atomic\n"
        "print('ready', flush=True)\n"
        "for digit in list(range(256)) * 100: atomic.write(Path(sys.argv[1]), bytes([digit]) * 3_000_000)\n"
    )
    for wait in (0.0, 0.01, 0.05):
        with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(wait)
            writer.kill()
        assert path.read_bytes() in whole
