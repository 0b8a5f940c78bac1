"""One thread for every test and every process that a test starts; the native kernels built before the first.

Small tensors gain nothing from a second thread, and on a machine with other work two threads wait for each other: the
same tests then take ten times as long. Set before torch is first imported.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


# The key that drbench.trust makes is the tests' own, as is a database's folder.
STATE = tempfile.mkdtemp(prefix="drbench-state-")
os.environ["XDG_STATE_HOME"] = STATE
atexit.register(shutil.rmtree, STATE, ignore_errors=True)

# What a shell starts in the background has Ctrl-C switched off, and what nohup starts hang-ups: so would all that a
# test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


# The files that take longest begin first: a worker that begins one of them last would work on alone.
LONGEST = (
    "cli/test_readme.py",
    "kernels/test_triton_interpreter.py",
    "kernels/test_triton_aot.py",
    "models/test_guided.py",
    "kernels/test_build.py",
    "cli/test_kernels.py",
    "cli/test_signals.py",
    "workers/test_workers.py",
    "cli/test_ops.py",
    "cli/test_isolation.py",
    "cli/test_check.py",
    "test_fuzz.py",
    "kernels/test_bench.py",
    "cli/test_resume.py",
    "cli/test_wrong_inputs.py",
    "cli/test_streams.py",
    "benchmarks/test_scripts.py",
    "cli/test_init.py",
    "run/test_runner.py",
    "kernels/test_widths.py",
    "benchmarks/test_calibration_accuracy.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In the order of LONGEST, then as collected."""
    here = Path(__file__).parent
    places = {str(here / name): number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(str(item.path), len(LONGEST)))


def pytest_sessionstart() -> None:
    """Before collection: tests/kernels/test_native.py asks then whether there are native kernels."""
    from drbench_kernels import native

    native.ensure(print)  # without a compiler the tests of the PyTorch path still run
