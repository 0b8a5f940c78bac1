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


def pytest_sessionstart() -> None:
    """Before collection: tests/kernels/test_native.py asks then whether there are native kernels."""
    from drbench_kernels import native

    native.ensure(print)  # without a compiler the tests of the PyTorch path still run
