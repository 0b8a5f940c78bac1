"""The README says what works: every command and piece of code in it is run. (docs/your-own.md: test_your_own.py.)"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import ENVIRONMENT, process

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
FEW = """
from drbench.data.identities import identities
from drbench.data.scenes import scenes
from drbench.data.shapes import shapes


def few():
    return shapes(train=200, test=50)


def people():
    return identities(people=6, test_people=4, images=6, pairs=20, distractors=4)


def drawn():
    return scenes(train=40, test=10, size=64)
"""
# Commands that would take too long, or need what a test has not: the command, and what is run in its place. Every
# network and stage of the demo stays in; its images are few, and the timing of ShuffleNet is left to the demo's.
SHORTENED = {
    "drbench run suite mobilenet --regions 8": "drbench run suite mobilenet --regions 8 --epochs 1 --data few:few",
    "drbench run suite shufflenet --only 'shufflenet_v2_x0_5*' --match madds --data cifar10 --data-root DATA --download"
    " --preset standard --epochs 10 --seeds 5": "drbench run suite shufflenet --only 'shufflenet_v2_x0_5*' --data"
    " few:few --stages cost,memory,train --match madds --preset standard --epochs 1 --seeds 1",
    "drbench run suite faces": "drbench run suite faces --epochs 1 --data few:people --stages cost,memory,train",
    "drbench run suite segmentation": "drbench run suite segmentation --epochs 1 --data few:drawn"
    " --stages cost,memory,train",
    "drbench run ops --quick": "drbench run ops --shapes 1x1-24-24@28 --batch-sizes 1 --rounds 3",
}
# An installation, and what runs these tests.
ELSEWHERE = {"make test", "make lint", "make fuzz", "pip install ."}


def commands() -> list[str]:
    """Command lines: those in blocks, and those in running text that need no stand-in for a word."""
    inline = re.findall(r"`(drbench [a-z][^`]*)`", re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE))
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    shown = [line for block in blocks for line in block.splitlines() if line.strip()]
    return shown + [line for line in inline if not re.search(r"\b[A-Z]{2,}\b", line)]


def examples() -> list[tuple[str, str]]:
    """Blocks of Python, each with the text block that follows it directly: what it prints."""
    return re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", README, re.DOTALL | re.MULTILINE)


def test_every_command_ends_well_and_every_example_prints_what_it_shows(
    drbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other in one directory, as a reader types them; the first in a process, the others without one."""
    (tmp_path / "few.py").write_text(FEW)
    monkeypatch.setattr(sys, "path", [*sys.path])
    first, *others = [command for command in commands() if command not in ELSEWHERE]
    words = shlex.split(SHORTENED[first])
    assert words[0] == "drbench"
    done = process(words[1:], tmp_path)
    assert done.returncode == 0, f"{first}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    for command in others:
        words = shlex.split(SHORTENED.get(command, command))
        assert words[0] == "drbench"
        found = drbench(*words[1:])
        assert found.code == 0, f"{command}\n{found.out[-2000:]}\n{found.err[-2000:]}"
    sys.modules.pop("few", None)
    for code, shown in examples():  # one of them reads the database
        script = [sys.executable, "-c", code]
        ran = subprocess.run(script, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stdout) == (0, shown), ran.stderr


def test_there_are_examples_and_every_shortened_command_is_still_there() -> None:
    assert len(examples()) >= 2
    assert set(SHORTENED) <= set(commands())
