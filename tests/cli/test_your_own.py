"""What docs/your-own.md shows, done as it says, in a directory outside the repository."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from drbench_db import Store

DOCUMENT = (Path(__file__).parents[2] / "docs" / "your-own.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own.py").write_text(blocks("python")[0])
    (tmp_path / "own.toml").write_text(blocks("toml")[0])
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("own", None)


def test_commands_of_the_document(own: None, drbench) -> None:
    commands = [shlex.split(line) for block in blocks("sh") for line in block.splitlines() if line]
    assert sum(command[:3] == ["drbench", "run", "model"] for command in commands) >= 1
    assert sum(command[:3] == ["drbench", "run", "suite"] for command in commands) >= 1
    for program, *arguments in commands:
        assert program == "drbench"
        found = drbench(*arguments)
        assert found.code == 0, (arguments, found.err)
        if arguments[0] == "report":
            assert "own:GatedConv2d" in found.out
    with Store.open("drbench.db") as store:
        records = store.records()
    assert {record.status for record in records} == {"done"}
    gated = [record for record in records if record.variant.operator == "own:GatedConv2d" and record.stage == "cost"]
    for record in gated:
        assert set(record.variant.sources) == {"own:tiny", "own:GatedConv2d"}
        assert {m.part for m in record.measurements if m.name == "madds"} == {"", "conv", "gate"}
        assert record.variant.input_shape == (3, 16, 16)
        assert record.variant.num_classes == 4
    assert {record.seed for record in records if record.stage == "train"} == {0, 1}


def test_python_of_the_document(own: None, tmp_path: Path) -> None:
    for text in blocks("python")[1:]:
        exec(compile(text, "your-own.md", "exec"), {})


def test_operator_without_cost_is_shown_as_undeclared(own: None, drbench, tmp_path: Path) -> None:
    text = (tmp_path / "own.py").read_text()
    (tmp_path / "own.py").write_text(text.replace("def cost(", "def not_cost("))
    found = drbench("run", "model", "own:tiny", "--operator", "own:GatedConv2d", "--where", "3", "--stages", "cost")
    assert found.code == 0, found.err
    assert "executed multiply-adds (convention not declared)" in found.err
    assert "not declared" in drbench("report").out


def test_failing_variant_does_not_end_the_suite(own: None, drbench, tmp_path: Path) -> None:
    with (tmp_path / "own.py").open("a") as file:
        file.write("\ndef broken(*args, **kwargs):\n    raise RuntimeError('no\\nluck')\n")
    (tmp_path / "mixed.toml").write_text(
        'name = "mixed"\narchitectures = ["own:tiny"]\nstages = ["cost", "latency"]\n'
        'operators = [{ operator = "own:broken", where = "3" }, { operator = "own:GatedConv2d", where = "3" }]\n'
        "latency = { min_runs = 2, min_seconds = 0.0 }\n"
    )
    found = drbench("run", "suite", "mixed.toml")
    assert found.code == 4
    assert "4 done, 2 failed" in found.out
    assert "Traceback" not in found.err
    with Store.open("drbench.db") as store:
        assert store.run().status == "failed"
        failed = [record for record in store.records() if record.status == "failed"]
    assert {(record.stage, record.label) for record in failed} == {("cost", "own:broken"), ("latency", "own:broken")}
    for record in failed:
        assert "RuntimeError: no luck" in record.error
        assert "raise RuntimeError" in Path(record.files["traceback"]).read_text()
    assert "no luck" in drbench("report").out
