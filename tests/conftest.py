"""One thread for every test and every process that a test starts.

Small tensors gain nothing from a second one, and on a machine with other work two threads wait for each other: the same
tests then take ten times as long. Set before torch is first imported.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def _native_kernels() -> None:
    """Built before the first test, for it and for every process that a test starts; see tests/kernels/test_build.py."""
    from drbench_kernels import native

    native.ensure()
