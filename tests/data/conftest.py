"""Real images where there are some: $DRBENCH_TEST_DATA as torchvision reads it, or ../shared/data unpacked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ARCHIVE = Path(__file__).parents[2].parent / "shared" / "data" / "unpack.py"


def _real(name: str, leaves: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("DRBENCH_TEST_DATA")
    if given and (Path(given) / leaves).is_dir():
        return Path(given)
    if not ARCHIVE.is_file():
        pytest.skip(f"no {leaves}: set DRBENCH_TEST_DATA to a folder that has it")
    folder = tmp_path_factory.mktemp("real")
    subprocess.run([sys.executable, str(ARCHIVE), str(folder), name], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def cifar10_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _real("cifar10", "cifar-10-batches-py", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _real("tiny", "tiny_imagenet20", tmp_path_factory) / "tiny_imagenet20"
