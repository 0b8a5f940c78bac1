"""Facts of the machine and of the code. Never fails: unknown facts are empty.

Loads no torch: its version comes from the package's files, the GPU from the tool of its driver.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import psutil

from drbench.records import Code, Machine

AVX512 = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
AVX2 = {"avx2", "fma"}


def machine() -> Machine:
    """This machine. `cores` are physical; `threads` and `memory_bytes` are what this process may use."""
    gpu, gpu_memory, driver = _gpu()
    return Machine(
        hostname=socket.gethostname(),
        os=_operating_system(),
        cpu=_cpu(),
        cores=psutil.cpu_count(logical=False) or psutil.cpu_count() or 0,
        threads=_threads(),
        memory_bytes=_memory(),
        gpu=gpu,
        gpu_memory_bytes=gpu_memory,
        driver=driver,
        python=platform.python_version(),
        torch=_torch_version(),
        cpu_capability=_capability(),
    )


def code(directory: Path | None = None) -> Code:
    """drbench's version, and the git repository around `directory` (default: the current one) with its commit.

    `dirty`: whether tracked files differ from the commit. Untracked files, such as results and weights, do not count;
    the sources of a user's own callables are part of their variant's hash.
    """
    where = directory or Path.cwd()
    top = _git(where, "rev-parse", "--show-toplevel")
    if not top:
        return Code(drbench=_version("drbench"))
    remote = _git(where, "remote", "get-url", "origin")
    return Code(
        drbench=_version("drbench"),
        repository=without_secrets(remote) or Path(top).name,
        commit=_git(where, "rev-parse", "--verify", "HEAD"),
        dirty=bool(_git(where, "status", "--porcelain", "--untracked-files=no")),
    )


def without_secrets(url: str) -> str:
    """The URL of a remote without user and password, because databases are shared."""
    return re.sub(r"^(\w[\w+.-]*://)[^/@]*@", r"\1", url)


def _run(*command: str, directory: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeError):
        return ""
    return done.stdout.strip()


def _git(directory: Path, *arguments: str) -> str:
    return _run("git", "--no-optional-locks", *arguments, directory=directory)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _torch_version() -> str:
    """torch's version with its build (+cpu, +cu130), which the package's metadata lack."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    text = _read(str(Path(spec.origin).with_name("version.py")))
    version = re.search(r"^__version__ *= *['\"](.+)['\"]", text, re.MULTILINE)
    return version[1] if version else _version("torch")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _operating_system() -> str:
    if sys.platform == "linux":
        try:
            name = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
        except OSError:
            name = "Linux"
        return f"{name}, kernel {platform.release()}"
    return f"{platform.system()} {platform.release()}"


def _cpu() -> str:
    """The model name: from /proc/cpuinfo (Linux on x86 and others), sysctl (macOS), lscpu or platform (Windows)."""
    match = re.search(r"^(?:model name|Hardware|cpu model)\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    if match:
        return match[1].strip()
    if sys.platform == "darwin":
        return _run("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor()
    name = re.search(r"^Model name:\s*(.+)$", _run("lscpu"), re.MULTILINE) if sys.platform == "linux" else None
    return name[1].strip() if name else platform.processor() or platform.machine()


def _threads() -> int:
    """The number of logical CPUs that this process may use, at most a container's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        allowed = min(allowed, max(1, round(int(quota) / int(period))))
    return allowed


def _memory() -> int:
    """Memory in bytes, at most a container's limit (cgroup 2, then 1)."""
    total = int(psutil.virtual_memory().total)
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        limit = _read(path).strip()
        if limit.isdigit():
            return min(total, int(limit))
    return total


def _gpu() -> tuple[str, int, str]:
    """Model, bytes and driver of the first visible GPU: from nvidia-smi, or from torch if it is loaded."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    if visible in ("", "-1"):
        return "", 0, ""
    query = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
    fields = [field.strip() for field in _run("nvidia-smi", f"--id={visible}", *query).split("\n")[0].split(",")]
    if len(fields) == 3 and fields[1].isdigit():
        return fields[0], int(fields[1]) << 20, fields[2]
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return "", 0, ""
    properties = torch.cuda.get_device_properties(0)
    return properties.name, properties.total_memory, torch.version.hip or torch.version.cuda or ""


def _capability() -> str:
    """The CPU capability by which torch chooses its kernels, under torch's name; x86 only while torch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return str(torch.backends.cpu.get_cpu_capability())
    flags = re.search(r"^flags\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    if flags is None:
        return ""
    names = set(flags[1].split())
    return "AVX512" if names >= AVX512 | AVX2 else "AVX2" if names >= AVX2 else "DEFAULT"
