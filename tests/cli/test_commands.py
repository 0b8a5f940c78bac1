"""The verbs that look, and the command line itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import drbench as package
from drbench.suite.read import shipped


def test_help_names_every_verb_and_loads_nothing_heavy() -> None:
    script = (
        "import sys; from drbench.cli import main; code = main(['--help']);"
        "heavy = {'torch', 'pandas', 'sqlalchemy', 'pydantic', 'numpy', 'timm'} & set(sys.modules);"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for verb in ("run", "report", "runs", "show", "env", "suites", "models"):
        assert f" {verb} " in done.stdout
    assert "--install-completion" in done.stdout


def commands(app, path: tuple[str, ...] = ()):
    for name, command in app.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


def test_every_command_and_option_has_help() -> None:
    import typer

    from drbench.cli.app import app

    found = dict(commands(typer.main.get_command(app)))
    assert ("run", "suite") in found
    for path, command in found.items():
        assert command.help, path
        for option in command.params:
            assert getattr(option, "help", None), (path, option.name)


@pytest.mark.parametrize("group", [(), ("baseline",), ("db",), ("models",), ("runs",), ("suites",)], ids="-".join)
def test_a_group_without_a_command_prints_its_help(drbench, group: tuple[str, ...]) -> None:
    found = drbench(*group)
    assert (found.code, found.err) == (2, "")
    assert "Usage: " in found.out
    assert found.out.strip() == drbench(*group, "--help").out.strip()


def test_version(drbench) -> None:
    assert drbench("--version").out.strip() == package.__version__


def test_env_says_what_a_run_would_record(drbench) -> None:
    found = json.loads(drbench("env", "--json").out)
    assert found["drbench"] == package.__version__
    assert found["cores"] >= 1
    assert found["torch"]
    assert found["cpu"] in drbench("env").out


def test_suites(drbench) -> None:
    assert all(name in drbench("suites", "list").out for name in shipped())
    shown = drbench("suites", "show", "smoke").out
    assert 'name = "smoke"' in shown
    assert "# shufflenet_v2_x0_5/drconv m=8" in shown
    for name in shipped():
        assert drbench("suites", "validate", name).code == 0


def test_a_suite_of_ones_own_by_path(drbench, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('name = "mine"\narchitectures = ["mobilenet_v1_0.25"]\n')
    valid = drbench("suites", "validate", "mine.toml")
    assert valid.code == 0
    assert "valid; a run of it makes 4 records" in valid.out
    dry = drbench("run", "suite", "mine.toml", "--dry-run")
    assert dry.code == 0, dry.err
    assert "train    mobilenet_v1_0.25: conv seed 0" in dry.out
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize(
    ("arguments", "madds", "params"),
    [
        ((), 40.48, 1.37),
        (("--regions", 8), 45.57, 1.83),
        (("--regions", 8, "--where-set", "guide=block"), 46.36, None),
        (("--regions", 8, "--where", "released"), 50.10, 2.29),
    ],
)
def test_models_show_as_in_the_worked_example(drbench, arguments, madds: float, params: float | None) -> None:
    shown = drbench("models", "show", "shufflenet_v2_x0_5", *arguments)
    assert shown.code == 0, shown.err
    assert f"{madds:.2f} M" in shown.out
    found = json.loads(drbench("models", "show", "shufflenet_v2_x0_5", *arguments, "--json").out)
    assert found["madds"] / 1e6 == pytest.approx(madds, abs=0.005)
    assert sum(layer["madds"] for layer in found["layers"]) == found["madds"]
    if params is not None:
        assert found["params"] / 1e6 == pytest.approx(params, abs=0.005)


def test_models_show_puts_published_figures_beside(drbench) -> None:
    shown = drbench("models", "show", "shufflenet_v2_x0_5").out
    assert "41.0 M multiply-adds (-1.3%), 1.4 M parameters (-2.4%)" in shown
    assert "over 2%" in shown
    assert "published" not in drbench("models", "show", "shufflenet_v2_x0_5", "--input", 64).out


OWN = """
from torch import nn

def lines(num_classes=4):
    flat = nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 4, 1), nn.Flatten(), nn.Linear(4, num_classes))
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 6), nn.Conv2d(4, 4, 1), flat)
"""


def test_models_show_skips_on_request_and_says_what(drbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_lines.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    arguments = ("models", "show", "own_lines:lines", "--input", "3,8,8", "--operator", "drconv", "--where", "*")
    refused = drbench(*arguments)
    assert refused.code == 2
    assert "where: got '3.1', a torch.nn.Conv1d, which is no torch.nn.Conv2d" in refused.err
    assert "--where-set unsuitable=skip" in refused.err
    shown = drbench(*arguments, "--where-set", "unsuitable=skip")
    assert shown.code == 0
    notes = [
        "2 of 3 replaced layers have one output position, where regions have no effect (1, 2)",
        "selected layers that are not replaced: 1 ('3.1', a torch.nn.Conv1d, which is no torch.nn.Conv2d)",
    ]
    assert [line.removeprefix("note: ") for line in shown.out.splitlines() if line.startswith("note: ")] == notes
    assert json.loads(drbench(*arguments, "--where-set", "unsuitable=skip", "--json").out)["notes"] == notes


def test_models_list(drbench) -> None:
    found = json.loads(drbench("models", "list", "--json").out)
    assert {"shufflenet_v2_x0_5", "mobilenet_v1_0.25", "mobilenetv4_conv_small"} <= set(found["models"])
    assert {"last-pointwise", "pointwise", "released"} <= set(found["recipes"])
    assert "drconv" in drbench("models", "list").out


def test_a_reader_who_has_had_enough_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m drbench models list | head -n 1 > /dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_our_own_fault_is_one_line_and_a_file(drbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drbench.suite.read.shipped", lambda: 1 / 0)
    found = drbench("suites", "list")
    assert found.code == 70
    (report,) = tmp_path.glob("drbench-error-*.txt")
    assert found.err.count("\n") == 1
    assert report.name in found.err
    assert "Traceback" in report.read_text()


def test_no_command_shows_the_help(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "drbench"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Usage" in done.stdout + done.stderr
    assert done.returncode == 2
