"""`drbench init ci`: what it writes is what a repository's CI does; its own steps are run here as GitHub does."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from jsonschema import Draft202012Validator

NET = """
from torch import nn


def net(num_classes=4):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, WIDTH, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(WIDTH, num_classes),
    )
"""
SUITE = """
name = "mine"
architectures = ["init_net:net"]
input_shape = [3, 8, 8]
num_classes = 4
"""
WORKFLOW = Path(".github/workflows/drbench.yml")
BASELINE = Path("drbench.baseline.json")


@pytest.fixture
def own(tmp_path: Path, drbench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with a network and a suite of its own."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    widen(tmp_path, 6)
    (tmp_path / "mine.toml").write_text(SUITE)
    yield tmp_path
    sys.modules.pop("init_net", None)


def widen(directory: Path, width: int) -> None:
    (directory / "init_net.py").write_text(NET.replace("WIDTH", str(width)))


def workflow(directory: Path) -> dict[Any, Any]:
    found = yaml.safe_load((directory / WORKFLOW).read_text())
    assert isinstance(found, dict)
    return found


def steps(directory: Path) -> list[dict[str, Any]]:
    (job,) = workflow(directory)["jobs"].values()
    return list(job["steps"])


def as_github(directory: Path) -> tuple[int, str, str]:
    """The workflow's steps after the installation, by GitHub's shell: first failure, what was said, the summary."""
    summary = directory / "summary"
    bin_ = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(summary)}
    environment.pop("DRBENCH_DB", None)
    code, said = 0, ""
    names = [step.get("name") for step in steps(directory)]
    for step in steps(directory)[names.index("Install") + 1 :]:
        shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        done = subprocess.run(shell, cwd=directory, env=environment, capture_output=True, text=True, check=False)
        code, said = code or done.returncode, said + done.stdout
    return code, said, summary.read_text() if summary.exists() else ""


def test_a_pull_request_that_changes_nothing_passes_and_one_channel_more_fails(own: Path, drbench) -> None:
    done = drbench("init", "ci", "--suite", "mine.toml")
    assert done.code == 0, done.err
    assert f"wrote {WORKFLOW}" in done.out
    assert not (own / "drbench.toml").exists()

    code, said, summary = as_github(own)
    assert code == 0, said
    assert "::error" not in said
    assert "mine" in summary

    widen(own, 7)
    code, said, summary = as_github(own)
    assert code == 1, said
    (error, *_) = [line for line in said.splitlines() if line.startswith("::error")]
    multiply_adds = {width: 8 * 8 * (27 * 8 + 8 * width) + 4 * width for width in (6, 7)}
    assert "init_net:net/conv" in error
    assert "layer 2 (Conv2d)" in error  # nn.Sequential numbers them
    assert f"{multiply_adds[6]:,}" in summary
    assert f"{multiply_adds[7]:,}" in summary
    assert "**regression**" in summary


def test_without_a_suite_there_is_one_to_start_from(tmp_path: Path, drbench) -> None:
    done = drbench("init", "ci")
    assert done.code == 0, done.err
    assert drbench("suites", "validate", "drbench.toml").code == 0
    held = json.loads((tmp_path / BASELINE).read_text())["suites"]["ci"]
    assert {name.partition("/")[2] for name in held} == {"conv", "drconv m=8"}
    assert not list(tmp_path.glob("*.db*"))
    assert drbench("check", "drbench.toml").code == 0


def test_commands_of_the_document(tmp_path: Path, drbench) -> None:
    """docs/ci.md: start, an intended change and its acceptance, all outputs."""
    text = (Path(__file__).parents[2] / "docs" / "ci.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S) for line in block.splitlines()]
    start, check, accept, outputs = ([*map(str, shlex.split(line)[1:])] for line in lines)
    assert drbench(*start).code == 0
    suite = (tmp_path / "drbench.toml").read_text()
    wider = suite.replace('["mobilenet_v2_0.35"]', '[{ name = "mobilenet_v2_0.35", width = 0.4 }]')
    (tmp_path / "drbench.toml").write_text(wider)
    assert drbench(*check).code == 1
    assert drbench(*accept).code == 0
    done = drbench(*outputs)
    assert done.code == 0, done.out
    schema = json.loads(resources.files("drbench.check").joinpath("schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(json.loads((tmp_path / "check.json").read_text()))
    assert set(json.loads((tmp_path / "check.bmf.json").read_text())) == {
        "mobilenet_v2_0.35/conv",
        "mobilenet_v2_0.35/drconv m=8",
    }
    assert ElementTree.fromstring((tmp_path / "check.xml").read_text()).get("failures") == "0"
    assert (tmp_path / "check.md").read_text().startswith("## drbench: nothing is worse")


def test_a_shipped_suite_is_copied(tmp_path: Path, drbench) -> None:
    assert drbench("init", "ci", "--suite", "smoke").code == 0
    shown = drbench("suites", "show", "smoke").out
    assert (tmp_path / "drbench.toml").read_text().strip() in shown
    assert "smoke" in json.loads((tmp_path / BASELINE).read_text())["suites"]
    (command,) = [step["run"] for step in steps(tmp_path) if "drbench check" in step.get("run", "")]
    assert shlex.split(command)[:3] == ["drbench", "check", "drbench.toml"]


def test_workflow_needs_no_rights(own: Path, drbench) -> None:
    assert drbench("init", "ci", "--suite", "mine.toml").code == 0
    found = workflow(own)
    assert set(found[True]) == {"pull_request", "push"}  # YAML 1.1 reads `on` as true
    assert found["permissions"] == {"contents": "read"}
    (job,) = found["jobs"].values()
    assert "permissions" not in job
    text = (own / WORKFLOW).read_text()
    assert "secrets." not in text
    assert "pull_request_target" not in text
    used = [step["uses"] for step in steps(own) if "uses" in step]
    assert len(used) == 2
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", one) for one in used)


def test_workflow_is_yaml_with_the_latency_gate_switched_on(own: Path, drbench) -> None:
    assert drbench("init", "ci", "--suite", "mine.toml").code == 0
    before, start, after = (own / WORKFLOW).read_text().partition("      # - name: Check latency\n")
    step, rest = after.split("\n\n", 1)
    switched = before + re.sub("^      # ", "      ", start + step, flags=re.MULTILINE) + "\n\n" + rest
    (job,) = yaml.safe_load(switched)["jobs"].values()
    (latency,) = [step for step in job["steps"] if step.get("name") == "Check latency"]
    assert set(latency) == {"name", "if", "env", "run"}
    assert "--against" in latency["run"]


def test_what_is_there_is_not_written_over(own: Path, drbench) -> None:
    (own / BASELINE).write_text("reviewed")
    done = drbench("init", "ci", "--suite", "mine.toml")
    assert done.code == 2
    assert str(BASELINE) in done.err
    assert "--force" in done.err
    assert (own / BASELINE).read_text() == "reviewed"
    assert not (own / WORKFLOW).exists()
    assert drbench("init", "ci", "--suite", "mine.toml", "--force").code == 0
    assert "mine" in json.loads((own / BASELINE).read_text())["suites"]


def test_the_same_repository_gets_the_same_files(own: Path, drbench) -> None:
    assert drbench("init", "ci", "--suite", "mine.toml").code == 0
    before = {path: (own / path).read_bytes() for path in (WORKFLOW, Path("mine.toml"))}
    costs = json.loads((own / BASELINE).read_text())["suites"]
    assert drbench("init", "ci", "--suite", "mine.toml", "--force").code == 0
    assert before == {path: (own / path).read_bytes() for path in before}
    again = json.loads((own / BASELINE).read_text())["suites"]
    for found in (costs, again):
        del found["mine"]["init_net:net/conv"]["costs"]["run"]
    assert costs == again


def test_another_directory_is_where_its_own_networks_come_from(own: Path, drbench, monkeypatch) -> None:
    elsewhere = own / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert drbench("init", "ci", "--suite", "../mine.toml", "--dir", "..").code == 0
    assert (own / WORKFLOW).exists()
    assert "drbench check mine.toml " in (own / WORKFLOW).read_text()
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--dir", "nowhere"), "is no directory"),
        (("--suite", "smok"), "did you mean 'smoke'"),
        (("--suite", "missing.toml"), "expected a file. No such file"),
        (("--suite", "mine.toml", "--dir", "inner"), "lies outside of"),
    ],
)
def test_wrong_input_is_a_line(own: Path, drbench, arguments: tuple[str, ...], said: str) -> None:
    (own / "inner").mkdir()
    done = drbench("init", "ci", *arguments)
    assert done.code == 2
    assert said in done.err
    assert done.err.count("\n") == 1
    assert not (own / WORKFLOW).exists()


def test_a_network_that_cannot_be_counted_leaves_nothing(own: Path, drbench) -> None:
    widen(own, 6)
    (own / "init_net.py").write_text((own / "init_net.py").read_text().replace("Conv2d(8, 6", "Conv2d(9, 6"))
    done = drbench("init", "ci", "--suite", "mine.toml")
    assert done.code == 4
    assert "init_net:net/conv" in done.err
    assert not (own / WORKFLOW).exists()
    assert not (own / BASELINE).exists()
