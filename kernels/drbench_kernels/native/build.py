"""Building the native kernels: a C++ compiler, torch's own headers, and a cache that killed builds cannot spoil.

One library holds the kernels for every vector width of the processor family (AVX2 and AVX-512, or NEON); which of them
run is decided when it is loaded. So a library built into an image works on any machine of that family.

    $DRBENCH_KERNELS_DIR or $XDG_CACHE_HOME/drbench/kernels or ~/.cache/drbench/kernels
        KEY/                 digest of the sources, the flags, torch and the processor family
            COMPILER.so      digest of the compiler; renamed into place when it is whole, and ignored where it is not
            build.log        what the compiler said, last time
            lock             held by flock, which the kernel gives back when its owner dies
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

SOURCE = Path(__file__).parent
FLAGS = ("-std=c++20", "-O3", "-ffp-contract=fast", "-fPIC", "-fvisibility=hidden")
GUARD = "import os, signal; os.read(0, 1); os.killpg(0, signal.SIGKILL)"
# Processor family -> table of kernels -> its flags. The order of contraction and the vector width are all that differs.
TABLES: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {
        "avx2": ("-mavx2", "-mfma", "-DDRBENCH_VECTOR_BYTES=32"),
        "avx512": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-DDRBENCH_VECTOR_BYTES=64"),
    },
    "aarch64": {"neon": ("-DDRBENCH_VECTOR_BYTES=16",)},
}


class BuildError(RuntimeError):
    """Why there is no library, in one line."""


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler, and the digest of what it is."""

    path: str
    digest: str


def family() -> str:
    """The processor family in the names of TABLES."""
    machine = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def hindrance() -> str:
    """Why nothing can be built here, in one line; "" where it can."""
    if family() not in TABLES:
        return f"no native kernels for {platform.machine()}: there are some for {', '.join(TABLES)}"
    if compiler() is None:
        return "no C++ compiler found: install g++ (GCC 10 or newer) or clang++, or set CXX"
    return ""


def root() -> Path:
    """Where libraries are kept, for all versions. BuildError where there is no such place."""
    given = os.environ.get("DRBENCH_KERNELS_DIR")
    if given:
        return Path(given)
    cached = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(cached) if cached else Path.home() / ".cache") / "drbench" / "kernels"
    except RuntimeError as error:  # a container's user without a home
        raise BuildError("no home directory to keep the library in: set DRBENCH_KERNELS_DIR") from error


@cache
def key() -> str:
    """Changes with the sources, the flags, torch's build and the processor family."""
    parts = [torch.__version__, str(torch.version.git_version), family(), repr(FLAGS), repr(TABLES.get(family()))]
    parts += [path.read_text(encoding="utf-8") for path in sorted(SOURCE.glob("*.[ch]*")) if path.suffix != ".pyc"]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def compiler() -> Compiler | None:
    """$CXX, or the first of c++, g++ and clang++ on the PATH."""
    for name in filter(None, (os.environ.get("CXX"), "c++", "g++", "clang++")):
        found = shutil.which(name)
        if found:
            real = Path(found).resolve()
            about = f"{real} {real.stat().st_size} {real.stat().st_mtime_ns}"
            return Compiler(found, hashlib.sha256(about.encode()).hexdigest()[:16])
    return None


def library(exact: bool = False) -> Path | None:
    """The library for this torch: of this compiler, or (unless `exact`) of any other that was there to build it."""
    place, mine = root() / key(), compiler()
    if mine is not None and whole(place / f"{mine.digest}.so"):
        return place / f"{mine.digest}.so"
    if exact and mine is not None:
        return None
    return next((path for path in sorted(place.glob("*.so")) if whole(path)), None)


def whole(path: Path) -> bool:
    """Whether all of a library is there. Loading a file that was cut short (a full disk, a lost power supply) is not an
    error but the end of the process: its missing pages are mapped, and touched.
    """
    try:
        with path.open("rb") as file:
            header, size = file.read(64), os.fstat(file.fileno()).st_size
    except OSError:
        return False
    if header[:6] != b"\x7fELF\x02\x01":  # 64 bits, little-endian; on macOS: something else
        return size > 0 and platform.system() == "Darwin"
    if len(header) < 64:
        return False
    (sections,), (each, count) = struct.unpack_from("<Q", header, 40), struct.unpack_from("<HH", header, 58)
    return bool(size >= sections + each * count)  # the table of sections is what comes last


def build(say: Callable[[str], object], *, force: bool = False) -> Path:
    """The library, built if it is not there; other processes wait for the one that builds. BuildError in one line."""
    why, mine = hindrance(), compiler()
    if why or mine is None:
        raise BuildError(why)
    place = root() / key()
    target = place / f"{mine.digest}.so"
    try:
        place.mkdir(parents=True, exist_ok=True)
        with _locked(place / "lock", say):
            if force or not whole(target):
                _sweep(place)
                _build(mine, place, target, say)
    except OSError as error:
        raise BuildError(f"{error.filename or place}: {error.strerror or error}") from error
    return target


def _sweep(place: Path) -> None:
    """Remove what killed owners left."""
    for left in place.glob("build-*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)


def _build(mine: Compiler, place: Path, target: Path, say: Callable[[str], object]) -> None:
    say(f"building the native CPU kernels with {mine.path} into {place} (once; about 20 seconds)")
    with tempfile.TemporaryDirectory(prefix="build-", dir=place) as folder:
        made = Path(folder)
        torch_root = Path(torch.__file__).parent
        abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
        openmp = () if platform.system() == "Darwin" else ("-fopenmp",)
        steps = {
            table: [mine.path, *FLAGS, *flags, f"-DDRBENCH_TABLE={table}", "-c", str(SOURCE / "kernels.cpp")]
            for table, flags in TABLES[family()].items()
        }
        includes = [f"-I{torch_root / 'include'}", f"-I{torch_root / 'include/torch/csrc/api/include'}"]
        steps["binding"] = [mine.path, *FLAGS, abi, *openmp, *includes, "-c", str(SOURCE / "binding.cpp")]
        _compile({name: [*step, "-o", str(made / f"{name}.o")] for name, step in steps.items()}, place)
        # libgomp is not named: torch brings its own, and a second one would bring a second crowd of threads.
        undefined = ("-undefined", "dynamic_lookup") if platform.system() == "Darwin" else ()
        objects = [str(made / f"{name}.o") for name in steps]
        libraries = [f"-L{torch_root / 'lib'}", "-ltorch_cpu", "-lc10"]
        linked = made / "linked.so"
        _compile({"link": [mine.path, "-shared", *undefined, *objects, *libraries, "-o", str(linked)]}, place)
        with linked.open("rb") as file:
            os.fsync(file.fileno())  # the name must not reach the disk before the content
        os.replace(linked, target)


def _compile(steps: dict[str, Sequence[str]], place: Path) -> None:
    """All steps at once; BuildError with the first complaint of the first that fails, all of it in build.log."""
    with ExitStack() as ends, _group() as group:
        running = {
            name: ends.enter_context(
                subprocess.Popen(
                    step,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    process_group=group,
                )
            )
            for name, step in steps.items()
        }
        said = {name: process.communicate()[0] for name, process in running.items()}
    failed = [name for name, process in running.items() if process.returncode]
    if not failed:
        return
    log = place / "build.log"
    log.write_text("\n".join(f"{' '.join(steps[name])}\n{said[name]}" for name in failed), encoding="utf-8")
    lines = said[failed[0]].splitlines()
    complaint = next((line for line in lines if "error" in line), lines[0] if lines else "no message")
    raise BuildError(f"{steps[failed[0]][0]} failed: {complaint.strip()[:200]} (all of it in {log})")


@contextmanager
def _group() -> Iterator[int]:
    """A process group that is killed at the end of the block, and when this process dies by any means.

    A compiler is several processes, and would go on for seconds: a guard in the group waits for this process's end.
    """
    guard = subprocess.Popen([sys.executable, "-I", "-S", "-c", GUARD], stdin=subprocess.PIPE, process_group=0)
    try:
        yield guard.pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(guard.pid, signal.SIGKILL)
        guard.communicate()


@contextmanager
def _locked(path: Path, say: Callable[[str], object]) -> Iterator[None]:
    import fcntl

    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is building the native CPU kernels: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
