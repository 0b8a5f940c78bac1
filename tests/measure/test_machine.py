import os
import platform
import subprocess
import sys

import psutil
import pytest
import torch

from drbench.measure import machine as measured
from drbench.measure.machine import code, machine, without_secrets


def test_machine_agrees_with_other_sources():
    here = machine()
    assert here.hostname == platform.node()
    assert here.python == ".".join(map(str, sys.version_info[:3]))
    assert here.torch == torch.__version__
    assert here.cpu_capability == torch.backends.cpu.get_cpu_capability()
    assert here.cpu
    assert platform.release() in here.os
    assert 1 <= here.threads <= os.cpu_count()
    assert here.cores >= 1
    assert 0 < here.memory_bytes <= psutil.virtual_memory().total
    if torch.cuda.is_available():
        assert here.gpu == torch.cuda.get_device_name(0)
        assert here.driver
    else:
        assert (here.gpu, here.gpu_memory_bytes) == ("", 0)


def test_loads_no_torch_and_says_the_same_without_it():
    script = (
        "import sys; from drbench.measure.machine import machine; print(machine()); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    here = machine()
    assert f"torch={here.torch!r}" in done.stdout
    if platform.machine() == "x86_64" and "ATEN_CPU_CAPABILITY" not in os.environ:
        assert f"cpu_capability={here.cpu_capability!r}" in done.stdout


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_threads_follow_affinity():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine().threads == 1
    finally:
        os.sched_setaffinity(0, before)


def git(where, *arguments):
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=where, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_code_outside_a_repository(tmp_path):
    found = code(tmp_path)
    assert found.drbench
    assert (found.repository, found.commit, found.dirty) == ("", "", False)
    assert code(tmp_path / "absent") == found


def test_code_follows_the_users_repository(tmp_path):
    top = tmp_path / "theirs"
    (top / "deep").mkdir(parents=True)
    git(top, "init", "-q")
    assert (code(top).repository, code(top).commit) == ("theirs", "")  # no commit yet
    tracked = top / "net.py"
    tracked.write_text("a = 1\n")
    git(top, "add", "net.py")
    git(top, "commit", "-qm", "first")
    (top / "drbench.db").write_text("results")  # untracked: results are not code
    found = code(top / "deep")
    assert (found.repository, found.commit, found.dirty) == ("theirs", git(top, "rev-parse", "HEAD"), False)
    tracked.write_text("a = 2\n")
    git(top, "remote", "add", "origin", "https://user:secret@example.org/team/nets.git")
    assert code(top).dirty
    assert code(top).repository == "https://example.org/team/nets.git"


def test_current_directory_is_the_default(tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    monkeypatch.chdir(tmp_path)
    assert code().repository == tmp_path.name


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://token@host/a.git", "https://host/a.git"),
        ("ssh://git:pw@host:22/a.git", "ssh://host:22/a.git"),
        ("git@host:a/b.git", "git@host:a/b.git"),
        ("https://host/a@b.git", "https://host/a@b.git"),
        ("/srv/a@b", "/srv/a@b"),
    ],
)
def test_secrets_stay_out(url, clean):
    assert without_secrets(url) == clean


def test_without_git_nothing_fails(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code().commit == ""
    assert measured.machine().hostname
