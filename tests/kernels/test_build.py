"""Building and loading the native kernels where things go wrong: no compiler, killed builds, broken files.

Everything runs in processes of its own, with a cache directory of its own.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from drbench_kernels import native
from drbench_kernels.native.build import compiler, key, whole

builder = importlib.import_module("drbench_kernels.native.build")  # `native.build` is the function
pytestmark = [
    pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler"),
    pytest.mark.skipif(not native.ready(), reason=f"no native kernels: {native.why_not()}"),
]

# A small region convolution, and that it is what the definition says; then which path it took.
USE = """
import torch
from drbench_kernels import native, region_conv2d
from drbench_kernels.reference import region_conv2d_by_choice
torch.manual_seed(0)
x, filters, guide = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 6, 3, 1, 1), torch.randn(2, 3, 5, 4)
for _ in range(3):
    got = region_conv2d(x, filters, guide)
want = region_conv2d_by_choice(x.double(), filters.double(), guide.double())
assert (got - want).abs().max() < 1e-5
print(native.kernels(), native.loaded() or native.why_not(), sep="\\n")
"""
ENSURE = "from drbench_kernels import native; native.ensure()\n" + USE


def start(script: str, cache: Path, **environment: str) -> subprocess.Popen[str]:
    """A fresh process with `cache` as its cache directory, in a process group of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DRBENCH_", "CXX"))}
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env={**kept, "OMP_NUM_THREADS": "1", "DRBENCH_KERNELS_DIR": str(cache), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(script: str, cache: Path, **environment: str) -> tuple[list[str], str]:
    """The lines it printed, and what it said on stderr; it has to end well."""
    process = start(script, cache, **environment)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out.splitlines(), err


def said(err: str) -> list[str]:
    """The lines of stderr without the line of source that Python shows below a warning."""
    return [line for line in err.splitlines() if not line.startswith("  ")]


def listing(cache: Path) -> list[tuple[Path, int]]:
    return sorted((path, path.stat().st_mtime_ns) for path in cache.rglob("*"))


def wait_for(happened: Callable[[], object]) -> None:
    for _ in range(1200):
        if happened():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen within a minute")


def script(path: Path, lines: str) -> str:
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)
    return str(path)


def stand_in(tmp_path: Path) -> str:
    """A compiler that takes a second and makes the library of this process: for what happens around it."""
    path = tmp_path / "stand-in"
    seek = 'for word; do [ "$before" = -o ] && out=$word; before=$word; done'
    return str(path) if path.exists() else script(path, f'{seek}\n: > "$out"; sleep 1; cp "{native.loaded()}" "$out"')


def without_compiler(tmp_path: Path) -> str:
    empty = tmp_path / "nothing-on-the-path"
    empty.mkdir(exist_ok=True)
    return str(empty)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A cache directory that holds the library which this process runs on."""
    library = native.loaded()
    assert library is not None
    place = tmp_path / "built" / library.parent.name
    place.mkdir(parents=True)
    shutil.copy(library, place)
    return place.parent


def the_library(cache: Path) -> Path:
    (found,) = cache.glob("*/*.so")
    return found


def test_without_a_compiler_the_pytorch_path_runs_and_says_so_once(tmp_path: Path) -> None:
    (kernels, _), err = run(USE, tmp_path / "empty", PATH=without_compiler(tmp_path))
    assert kernels == "none"
    (line,) = said(err)
    for words in ("PyTorch path", "slower", "no C++ compiler found", "install g++"):
        assert words in line
    assert not (tmp_path / "empty").exists()


def test_what_is_not_built_says_how_to_build_it(tmp_path: Path) -> None:
    (kernels, _), err = run(USE, tmp_path / "empty")
    assert kernels == "none"
    (line,) = said(err)
    assert "not built; `drbench kernels build`" in line


def test_a_library_built_ahead_needs_no_compiler(built: Path, tmp_path: Path) -> None:
    for script in (USE, ENSURE):
        (kernels, library), err = run(script, built, PATH=without_compiler(tmp_path))
        assert (kernels, library, err) == (native.kernels(), str(the_library(built)), "")


def test_off_is_silent(built: Path) -> None:
    for script in (USE, ENSURE):
        (kernels, why), err = run(script, built, DRBENCH_NATIVE="off")
        assert (kernels, err) == ("none", "")
        assert "DRBENCH_NATIVE=off" in why


def test_any_other_wish_is_refused(tmp_path: Path) -> None:
    process = start("import drbench_kernels", tmp_path, DRBENCH_NATIVE="yes")
    _, err = process.communicate()
    assert err.splitlines()[-1].endswith("SettingError: DRBENCH_NATIVE: got 'yes'; expected auto, build, off")


def test_build_when_importing(built: Path, tmp_path: Path) -> None:
    """And a second cache directory is as it was."""
    cache, before = tmp_path / "second", listing(built)
    (kernels, library), err = run(USE, cache, DRBENCH_NATIVE="build", CXX=stand_in(tmp_path))
    assert (kernels, library) == (native.kernels(), str(the_library(cache)))
    (line,) = said(err)
    assert line.startswith("drbench_kernels: building the native CPU kernels with ")
    assert listing(built) == before
    assert run(USE, cache, DRBENCH_NATIVE="build", CXX=stand_in(tmp_path))[1] == ""  # once


@pytest.mark.parametrize("damage", ["cut short", "empty", "for another torch"])
def test_a_broken_library_is_not_loaded_and_built_anew(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """Importing builds nothing, so it takes the PyTorch path; what builds, puts a whole one in its place."""
    monkeypatch.setenv("CXX", stand_in(tmp_path))
    mine = compiler()
    assert mine is not None
    library = the_library(built).rename(the_library(built).with_name(f"{mine.digest}.so"))
    content = library.read_bytes()
    broken = {
        "cut short": content[: len(content) // 2],  # loading it would end the process: SIGBUS
        "empty": b"",
        "for another torch": content.replace(b"libc10.so", b"libc99.so"),
    }[damage]
    library.write_bytes(broken)
    (kernels, _), err = run(USE, built, CXX=mine.path)
    assert kernels == "none"
    (line,) = said(err)
    assert ("does not load: libc99.so" if damage == "for another torch" else "not built") in line
    (kernels, loaded), err = run(ENSURE, built, CXX=mine.path)
    assert (kernels, loaded) == (native.kernels(), str(library))
    (line,) = said(err)
    assert "building" in line
    assert library.read_bytes() == content


def test_a_library_that_is_not_whole_is_seen(built: Path) -> None:
    library = the_library(built)
    content = library.read_bytes()
    assert whole(library)
    for length in (0, 1, 20, 63, 64, 4096, len(content) // 2, len(content) - 1):
        library.write_bytes(content[:length])
        assert not whole(library), length
    assert not whole(built / "not there")


@pytest.mark.parametrize("complaint", ["", "kernels.cpp:1:1: fatal error: no vectors today"])
def test_a_compiler_that_fails_is_quoted(tmp_path: Path, complaint: str) -> None:
    failing = shutil.which("false") or ""
    if complaint:
        failing = script(tmp_path / "failing", f"echo 'In file included from somewhere:'; echo '{complaint}'; exit 1")
    (kernels, _), err = run(ENSURE, tmp_path / "cache", CXX=failing)
    assert kernels == "none"
    building, line = said(err)
    assert "building" in building
    (log,) = (tmp_path / "cache").glob("*/build.log")
    for words in ("PyTorch path", f"{failing} failed: {complaint or 'no message'}", str(log)):
        assert words in line
    assert complaint in log.read_text()
    assert not list((tmp_path / "cache").glob("*/build-*"))


def test_a_cache_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = tmp_path / "file" / "kernels"
    for code, words in ((USE, "not built"), (ENSURE, f"{cache}/{key()}: Not a directory")):
        (kernels, _), err = run(code, cache, CXX=stand_in(tmp_path))
        assert kernels == "none"
        (line,) = said(err)
        assert words in line


def test_no_home_for_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")  # what pathlib says to a user without one

    for name in ("DRBENCH_KERNELS_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(native.BuildError, match="set DRBENCH_KERNELS_DIR"):
        native.build(print)


def test_the_key_is_of_sources_flags_and_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key_of = key.__wrapped__  # not the one that was worked out before
    source = tmp_path / "native"
    shutil.copytree(builder.SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(builder, "SOURCE", source)
    keys = [key_of()]
    assert key_of() == keys[0]
    for path in (source / "kernels.cpp", source / "vector.h"):
        path.write_text(path.read_text() + "\n")
        keys.append(key_of())
    monkeypatch.setattr(builder, "FLAGS", (*builder.FLAGS, "-g"))
    keys.append(key_of())
    monkeypatch.setattr(builder.torch, "__version__", "2.999")
    keys.append(key_of())
    monkeypatch.setattr(builder.platform, "machine", lambda: "aarch64")
    keys.append(key_of())
    assert len(set(keys)) == len(keys) == 6


@pytest.mark.parametrize(
    "how",
    [
        "the owner alone, a stand-in compiler",
        pytest.param("all of them, the real compiler", marks=pytest.mark.slow),
    ],
)
def test_a_killed_build_then_four_at_once(tmp_path: Path, how: str) -> None:
    """All get native kernels from one library; neither a held lock nor a half-built folder stays behind."""
    cache = tmp_path / "cache"
    chosen = {} if "real" in how else {"CXX": stand_in(tmp_path)}
    owner = start(ENSURE, cache, **chosen)
    wait_for(lambda: list(cache.glob("*/build-*/*")) or ("real" in how and list(cache.glob("*/build-*"))))
    time.sleep(0.5)  # well into it
    if "alone" in how:
        owner.kill()
    else:
        os.killpg(owner.pid, signal.SIGKILL)
    assert owner.wait() == -signal.SIGKILL
    assert list(cache.glob("*/build-*"))
    assert not list(cache.glob("*/*.so"))
    (lock,) = cache.glob("*/lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    four = [start(ENSURE, cache, **chosen) for _ in range(4)]
    ends = [process.communicate(timeout=110) for process in four]
    assert [process.returncode for process in four] == [0] * 4, ends
    assert [out.splitlines() for out, _ in ends] == [[native.kernels(), str(the_library(cache))]] * 4
    assert sum("building the native CPU kernels with" in err for _, err in ends) == 1
    assert not list(cache.glob("*/build-*"))
    for pipe in (owner.stdout, owner.stderr):
        assert pipe is not None
        pipe.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_compilers_and_what_they_start_end_with_the_owner(tmp_path: Path, number: signal.Signals) -> None:
    note = tmp_path / "pids"
    slow = script(tmp_path / "slow", f'sleep 600 &\necho $$ $! >> "{note}"\nwait')
    owner = start(ENSURE, tmp_path / "cache", CXX=slow)
    wait_for(lambda: note.exists() and len(note.read_text().split()) >= 4)
    owner.send_signal(number)
    owner.communicate(timeout=60)
    pids = [int(word) for word in note.read_text().split()]
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
