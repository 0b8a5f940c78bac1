"""What a result needs to be believed: the machine and the code, as far as torch and the standard library know them."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

import drbench_kernels


def now() -> str:
    """The time in UTC, ISO-8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def machine(device: torch.device) -> dict[str, str | int]:
    """This machine; "" and 0 for what is not there."""
    facts: dict[str, str | int] = {
        "hostname": platform.node(),
        "os": f"{platform.system()} {platform.release()}",
        "cpu": _cpu(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "memory_bytes": _memory(),
        "gpu": "",
        "gpu_capability": "",
        "gpu_memory_bytes": 0,
        "cuda": torch.version.cuda or torch.version.hip or "",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": _version("triton"),
    }
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        facts["gpu"], facts["gpu_memory_bytes"] = about.name, about.total_memory
        facts["gpu_capability"] = getattr(about, "gcnArchName", "") or f"sm_{about.major}{about.minor}"
    return facts


def code() -> dict[str, str]:
    """The version of drbench, where its metadata are there, and a digest of the sources of drbench_kernels."""
    top = Path(drbench_kernels.__file__).parent
    sources = hashlib.sha256()
    for path in sorted(p for kind in ("py", "cpp", "h") for p in top.rglob(f"*.{kind}")):
        sources.update(f"{path.relative_to(top).as_posix()}\n".encode() + path.read_bytes())
    return {"drbench": _version("drbench"), "kernels": sources.hexdigest()[:16]}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^(?:model name|Hardware|cpu model)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _memory() -> int:
    if sys.platform == "win32":
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
