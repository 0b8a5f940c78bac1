from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from drbench.errors import InputError
from drbench.run.lock import hold, is_left

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such lock there")
OTHER = "import sys, time; from drbench.run.lock import hold; from pathlib import Path\n"
HOLDS = OTHER + "with hold(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(600)"


def test_a_run_is_held_by_one_process_and_left_when_that_is_killed(tmp_path: Path) -> None:
    files = tmp_path / "run"
    assert not is_left(files)  # nobody ever held it: nothing can be said
    command = [sys.executable, "-c", HOLDS, str(files)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert not is_left(files)
        with pytest.raises(InputError, match="run x: another process is running it"), hold(files, "x"):
            pass
        other.kill()
    assert is_left(files)
    with hold(files, "x"):
        pass
