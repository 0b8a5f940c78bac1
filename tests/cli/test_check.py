"""The gate through the real command: every exit code, and what is said with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from drbench_db import Store

from tests.books import LAYERS, MORE, Book
from tests.cli.conftest import ENVIRONMENT

NET = """
import os
from torch import nn

def build(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, num_classes)
    )

def broken(num_classes):
    {broken}
    return build(num_classes)
"""
SUITE = """
name = "mine"
architectures = ["net:build", "net:broken"]
input_shape = [3, 16, 16]
num_classes = 10
"""


def keep(*books: Book) -> None:
    """Into ./drbench.db."""
    with Store.open("drbench.db", write=True) as store:
        for one in books:
            store.begin_run(one.run)
            for record in one.records:
                store.add(one.run.id, record)
            store.end_run(one.run.id, "done")


@pytest.fixture
def saved(drbench, book):
    """A run whose costs are in the baseline; the function adds another run and checks it."""
    keep(book().costs().costs("net/drconv m=8"))
    assert drbench("baseline", "save").code == 0

    def check(now: Book, *options: object):
        keep(now)
        return drbench("check", "--run", now.run.id, *options)

    return check


def test_nothing_is_worse(saved, book) -> None:
    found = saved(book("cd34").costs().costs("net/drconv m=8"))
    assert (found.code, found.err) == (0, "")
    assert "nothing is worse" in found.out


def test_a_regression_is_1(saved, book) -> None:
    found = saved(book("cd34").costs(layers=MORE).costs("net/drconv m=8"))
    assert found.code == 1
    assert "regression" in found.out
    assert "drbench baseline accept --run 20261101-1200-two-cd34 --metric costs --only net/conv" in found.out


def test_a_variant_that_vanished_is_1_unless_it_was_left_out(saved, book, drbench) -> None:
    assert saved(book("cd34").costs()).code == 1
    assert drbench("check", "--run", "latest", "--only", "net/conv").code == 0


def test_nothing_to_compare_is_3(saved, book, drbench) -> None:
    assert saved(book("cd34")).code == 3
    assert saved(book("ef56", suite="other").costs()).code == 3
    assert saved(book("0718").costs(counting=2).costs("net/drconv m=8", counting=2)).code == 3
    unknown = drbench("check", "smoke")  # told before anything is measured
    assert (unknown.code, unknown.out) == (3, "")
    assert "does not have suite 'smoke' (its suites: two)" in unknown.err
    found = drbench("check", "--run", "20261101-1200-two-ab12", "--only", "nothing*")
    assert (found.code, found.err.count("\n")) == (3, 1)
    assert "--only nothing*" in found.err


def test_what_failed_is_4_whatever_else_there_is(saved, book) -> None:
    now = book("cd34").costs(layers=LAYERS[:1]).record("cost", "net/drconv m=8", status="failed", error="oom: 9 GiB")
    found = saved(now)
    assert found.code == 4
    assert "oom: 9 GiB" in found.out


def test_what_cannot_be_told_is_5_where_that_was_asked_for(drbench, book) -> None:
    keep(book().latency([0.1], [0.0]), book("cd34").latency([0.1], [0.0]))
    assert drbench("baseline", "save", "--run", "20261101-1200-two-ab12").code == 0
    check = ("check", "--run", "latest", "--metrics", "latency")
    found = drbench(*check)
    assert found.code == 0
    assert "unresolved" in found.out
    assert "held" not in found.out
    assert drbench(*check, "--on-unresolved", "fail").code == 5
    assert drbench(*check, "--on-unresolved", "latency=fail").code == 5
    assert drbench(*check, "--on-unresolved", "top1=fail").code == 0


def test_an_improvement_is_0_and_the_baseline_stale(saved, book, drbench) -> None:
    found = saved(book("cd34").costs(layers=LAYERS[:2]).costs("net/drconv m=8"))
    assert found.code == 0
    assert "baseline is stale: drbench baseline accept --run 20261101-1200-two-cd34 --metric costs" in found.out


def test_our_own_fault_is_70(saved, tmp_path: Path) -> None:
    script = (
        "import sys, drbench.check.gate as gate\n"
        "def broken(*given): raise ZeroDivisionError('of ours')\n"
        "gate.against_file = broken\n"
        "from drbench.cli import main\n"
        "sys.exit(main(['check', '--run', 'latest']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 70
    assert "ZeroDivisionError: of ours" in done.stderr
    assert list(tmp_path.glob("drbench-error-*.txt"))


def test_against_another_run(drbench, book) -> None:
    keep(book().costs(), book("cd34").costs(layers=MORE))
    found = drbench("check", "--run", "latest", "--against", "20261101-1200-two-ab12")
    assert found.code == 1
    assert "20261101-1200-two-ab12" in found.out


def test_outputs_go_where_they_are_asked_to(saved, book, tmp_path: Path) -> None:
    files = {"c.md": "regression", "c.json": "exit_code", "c.xml": "<testsuite", "c.bmf.json": "{", "c.txt": "check of"}
    options = [part for name in files for part in ("-o", name)]
    found = saved(book("cd34").costs(layers=MORE).costs("net/drconv m=8"), "--format", "md", *options)
    assert found.code == 1
    assert found.out == (tmp_path / "c.md").read_text()
    for name, part in files.items():
        assert part in (tmp_path / name).read_text()
    assert json.loads((tmp_path / "c.json").read_text())["exit_code"] == 1


def test_judging_a_run_loads_no_torch(saved, book, tmp_path: Path) -> None:
    keep(book("cd34").costs().costs("net/drconv m=8"))
    script = (
        "import sys; from drbench.cli import main\n"
        "code = main(['check', '--run', 'latest']); sys.exit(9 if 'torch' in sys.modules else code)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=ENVIRONMENT, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((), ("expected a suite or a run, got neither", "`drbench check --run RUN`")),
        (("smoke", "--run", "latest"), ("expected a suite or a run, got both", "`drbench check SUITE`")),
        (("--run", "latest", "--against", "a", "--baseline", "b"), ("expected one of them",)),
        (("--run", "2019"), ("no run '2019'",)),
        (("--run", "latest", "--metrics", "cost"), ("unknown metric 'cost'", "did you mean 'costs'")),
        (("--run", "latest", "--limit", "2%"), ("--limit: got '2%'", "latency=0.03")),
        (("--run", "latest", "--on-unresolved", "pass"), ("--on-unresolved: got 'pass'", "warn or fail")),
        (("--run", "latest", "--against", "2019"), ("has no run '2019'", "`drbench check SUITE --against REF`")),
        (("--run", "latest", "--format", "html"), ("unknown format 'html'", "terminal")),
        (("--run", "latest", "-o", "c.html"), ("-o: got 'c.html'", ".xml")),
        (("--run", "latest", "-o", "no/c.md"), ("expected an existing directory, and no is none",)),
        (("--run", "latest", "--baseline", "none.json"), ("there is no baseline none.json",)),
        (("smoke", "--baseline", "none.json"), ("there is no baseline none.json",)),
        (("smoke", "--against", "main", "--metrics", "costs"), ("got costs", "only latency can")),
        (("smok",), ("unknown suite 'smok'", "did you mean 'smoke'")),
    ],
)
def test_wrong_input_is_one_line(saved, drbench, arguments, parts) -> None:
    found = drbench("check", *arguments)
    assert (found.code, found.out) == (2, "")
    assert found.err.count("\n") == 1
    for part in parts:
        assert part in found.err


def test_a_channel_more_in_one_layer_fails_with_the_layer_named_and_a_crash_with_its_row(
    drbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way: a suite is run, saved, changed and checked."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mine.toml").write_text(SUITE)
    (tmp_path / "net.py").write_text(NET.format(broken="pass"))
    run = drbench("run", "suite", "mine.toml", "--stages", "cost")
    assert run.code == 0, run.err
    assert drbench("baseline", "save").code == 0

    text = (tmp_path / "net.py").read_text()
    (tmp_path / "net.py").write_text(text.replace("8, 16, 3", "8, 17, 3").replace("Linear(16", "Linear(17"))
    worse = drbench("check", "mine.toml", "--only", "*/conv")
    assert worse.code == 1, worse.err
    assert "3 (Conv2d)" in worse.out
    assert "3 (Conv2d) 165,888 -> 176,256" in worse.out  # 12 x 12 outputs of 3 x 3 x 8, for 16 and 17 channels

    (tmp_path / "net.py").write_text(NET.format(broken="os.abort()"))
    crashed = drbench("check", "mine.toml", "-o", "c.json")
    assert crashed.code == 4, crashed.out + crashed.err
    rows = json.loads((tmp_path / "c.json").read_text())["verdicts"]
    assert {row["outcome"] for row in rows if row["variant"] == "net:broken/conv"} == {"failed"}
    assert {row["outcome"] for row in rows if row["variant"] == "net:build/conv"} == {"held"}
    sys.modules.pop("net", None)
