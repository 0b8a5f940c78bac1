"""What every verb prints: nothing raw from a database full of harmful text, and an end of its own on every stream."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from drbench.cli import main
from drbench.text import printable
from tests import hostile


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A database of harmful texts, and the ids of its two runs."""
    path = tmp_path_factory.mktemp("hostile") / "hostile.db"
    return path, *hostile.fill(path)


READING = {
    "runs list": 0,
    "runs list --json": 0,
    "show": 0,
    "show --layers": 0,
    "show --json": 0,
    "show --suite": 0,
    "report": 0,
    "report --format md": 0,
    "report --format csv": 0,
    "report --format json": 0,
    "compare 20261101-1200-two-ab11 --metrics costs": 1,
    "compare 20261101-1200-two-ab11 --metrics costs --format md": 1,
    "compare 20261101-1200-two-ab11 --metrics costs --format json": 1,
    "compare 20261101-1200-two-ab11 --metrics costs --format bmf": 1,
    "compare 20261101-1200-two-ab11 --metrics costs --format junit": 1,
    "compare 20261101-1200-two-ab11 --metrics costs --format github": 1,
    "check --run latest --against 20261101-1200-two-ab11 --metrics costs": 1,
    "baseline save --metrics costs --baseline b.json": 0,
    "export -o out.db": 0,
}


@pytest.mark.parametrize("words", READING)
def test_nothing_raw_reaches_a_terminal(drbench, database, words: str) -> None:
    found = drbench(*words.split(), "--db", database[0])
    assert found.code == READING[words], found.err[-500:]
    data = any(kind in words for kind in ("json", "bmf", "csv"))
    assert hostile.harm(found.out, commands="github" in words, data=data) == []
    assert hostile.harm(found.err) == []


def test_json_gives_every_text_back_exactly(drbench, database) -> None:
    shown = json.loads(drbench("show", "--json", "--db", database[0]).out)
    assert {record["notes"][0] for record in shown["records"]} == set(hostile.TEXTS)
    assert {record["error"] for record in shown["records"]} == {*hostile.TEXTS, ""}
    report = json.loads(drbench("report", "--format", "json", "--db", database[0]).out)
    assert {row["architecture"] for table in report["tables"] for row in table["rows"]} == set(hostile.TEXTS)


def test_csv_has_a_line_a_row_and_no_formula(drbench, database) -> None:
    text = drbench("report", "--format", "csv", "--db", database[0]).out
    head, *rows = csv.reader(io.StringIO(text))
    assert len(text.splitlines()) == 1 + len(rows)
    assert {len(row) for row in rows} == {len(head)}
    named = {row[head.index("architecture")].removeprefix("'") for row in rows}
    assert named == {printable(one).replace("##", "## ") for one in hostile.TEXTS}
    for cell in {cell for row in rows for cell in row}:
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r")) or float(cell) is not None


def test_markdown_has_a_line_a_row_and_nothing_foreign_in_it(drbench, database) -> None:
    check = drbench(
        "check",
        "--run",
        "latest",
        "--against",
        database[1],
        "--metrics",
        "costs",
        "--format",
        "md",
        "--db",
        database[0],
    )
    for text in (drbench("report", "--format", "md", "--db", database[0]).out, check.out):
        rows = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("| ")]
        assert len({row.count("|") for row in rows}) == 1
        assert "<img" not in text
        assert "](" not in text.replace("\\]", "")
        assert "://h.example" not in text.replace("<!-- -->://", "")
        assert " @someone" not in text


def test_junit_can_be_read(drbench, database) -> None:
    found = drbench("compare", database[1], "--metrics", "costs", "--format", "junit", "--db", database[0])
    names = {case.get("name") for case in ElementTree.fromstring(found.out).iter("testcase")}
    assert any("::error::injected" in name for name in names)


def test_annotations_are_the_only_commands(drbench, database) -> None:
    found = drbench("compare", database[1], "--metrics", "costs", "--format", "github", "--db", database[0])
    *lines, last = found.out.splitlines()
    assert len(lines) == 10
    assert all(line.startswith("::error title=drbench") for line in lines)
    assert last.startswith("worse than the reference")


def test_one_module_writes_to_stdout_and_stderr() -> None:
    """Whoever prints by another way would miss a field that is to be made printable."""
    top = Path(__file__).resolve().parents[2] / "drbench"
    writers = set()
    for path in top.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            if (isinstance(called, ast.Name) and called.id == "print") or (
                isinstance(called, ast.Attribute)
                and ast.unparse(called) in ("sys.stdout.write", "sys.stderr.write", "typer.echo")
            ):
                writers.add(str(path.relative_to(top)))
    assert writers == {"cli/output.py"}


def test_a_long_name_leaves_room_for_what_is_to_be_done(drbench, database) -> None:
    found = drbench("show", hostile.LONG, "--db", database[0])
    assert found.code == 2
    assert "... (99,703 more characters) newest: 20261101-1200-two-ab12" in found.err
    assert "'latest' is the newest" in found.err
    other = drbench("report", "--db", "\n".join(["y" * 150] * 100))
    assert len(other.err) < 2500


# Streams and encodings, by real processes


def shell(command: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """A command line of bash, `drbench` in it being `python -m drbench`; its exit code is that of the first command."""
    script = f'drbench() {{ "{sys.executable}" -m drbench "$@"; }}; {command}; exit ${{PIPESTATUS[0]}}'
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "100", **variables}
    return subprocess.run(
        ["bash", "-c", script], cwd=directory, env=environment, capture_output=True, check=False, timeout=120
    )


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("report >&-", 0),
        ("report 2>&-", 0),
        ("report >&- 2>&- <&-", 0),
        ("report 2>/dev/full", 0),
        ("report | true", 0),
        ("report >/dev/full", 4),
        ("report >/dev/full 2>/dev/full", 4),
        ("show nothing >&- 2>&-", 2),
        ("show nothing 2>/dev/full", 2),
        ("--help >&-", 0),
        ("--help >/dev/full", 4),
        ("compare 20261101-1200-two-ab11 --metrics costs | true", 1),
        ("compare 20261101-1200-two-ab11 --metrics costs >/dev/full", 4),
    ],
)
def test_a_stream_that_cannot_be_written_ends_no_command(database, tmp_path: Path, command: str, code: int) -> None:
    found = shell(f"DRBENCH_DB={database[0]} drbench {command}", tmp_path)
    full = ">/dev/full" in command and "2>" not in command
    says = b"drbench: error: stdout could not be written: No space left on device\n" if full else b""
    assert (found.returncode, found.stderr) == (code, says)
    assert list(tmp_path.iterdir()) == []


def is_plain(text: str) -> bool:
    """Whether lines of tables, signs and the rest are there in plain characters."""
    return "-----" in text and "\nd after a cost: " in text and hostile.harm(text) == []


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_an_encoding_that_lacks_characters(database, monkeypatch, encoding: str) -> None:
    said = io.BytesIO()
    for words in ("report", "runs list", "show", "suites list", "models list", "--help", "show nothing"):
        stream = io.TextIOWrapper(said, encoding=encoding, write_through=True)
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("DRBENCH_DB", str(database[0]))
        assert main(words.split()) == (2 if words == "show nothing" else 0)
        stream.detach()
    assert is_plain(said.getvalue().decode(encoding))


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["ascii", "posix"],
)
def test_a_process_with_a_plain_encoding(database, tmp_path: Path, variables: dict[str, str]) -> None:
    found = shell("drbench report", tmp_path, DRBENCH_DB=str(database[0]), **variables)
    assert (found.returncode, found.stderr) == (0, b"")
    assert is_plain(found.stdout.decode("ascii"))


# Passwords

SECRET = "S3cr3tS3cr3t"
URLS = (
    "postgresql://u:{}@127.0.0.1:1/x",
    "postgresql:/u:{}@h/x",
    "postgresql://u:p@{}@h/x",
    "://u:{}@h",
    "u:{}@h/x",
    "postgresql://u:a {}\n@h:port/x",
    "mysql://u:{}@h/x",
    "postgresql://u@h:port/x?password={}",
    "host=h password={}",
)
VERBS = (
    ("report", "--db"),
    ("runs", "rm", "latest", "--db"),
    ("import",),
    ("export", "-o"),
    ("db", "upgrade", "--db"),
)


@pytest.mark.parametrize("url", URLS)
def test_no_password_leaves_a_command(drbench, database, tmp_path: Path, monkeypatch, url: str) -> None:
    given = url.format(SECRET)
    shutil.copy(database[0], "drbench.db")
    monkeypatch.setenv("DRBENCH_DB_TIMEOUT", "1")
    said = []
    for verb in VERBS:
        monkeypatch.setattr(sys, "argv", ["drbench", *verb, given])
        said.append(drbench(*verb, given))
    monkeypatch.setattr(sys, "argv", ["drbench", "show", f"--db={given}"])
    said.append(drbench("show", f"--db={given}"))
    monkeypatch.setenv("DRBENCH_DB", given)
    monkeypatch.setattr(sys, "argv", ["drbench", "report"])
    said.append(drbench("report"))
    for found in said:
        assert found.code in (2, 4), found.err
        assert SECRET not in found.out + found.err
        assert found.err.count("\n") == 1
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET in path.name or SECRET.encode() in path.read_bytes()]


def test_no_password_is_recorded_with_a_run_or_a_fault_of_ours(drbench, tmp_path: Path, monkeypatch) -> None:
    words = ["run", "model", "mobilenet_v1_0.25", "--input", "3,32,32", "--stages", "cost", "--data-root"]
    given = f"postgresql:/u:{SECRET}@h/x"
    monkeypatch.setattr(sys, "argv", ["drbench", *words, given])
    assert drbench(*words, "somewhere").code == 0  # the word is in the command line that is recorded
    assert "postgresql:/u:***@h/x" in drbench("show").out

    def fail() -> None:
        raise RuntimeError(f"cannot connect to {given} ({SECRET})")

    monkeypatch.setattr("drbench.suite.read.shipped", fail)
    found = drbench("suites", "list")
    assert found.code == 70
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if path.name.startswith("drbench-error-")]
    assert SECRET not in found.err
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_text_in_a_database_that_is_not_utf8(drbench, tmp_path: Path) -> None:
    path = tmp_path / "drbench.db"
    hostile.fill(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE record SET label = CAST(x'636166e9' AS TEXT) WHERE id = 1")
    connection.close()
    assert drbench("runs", "list").code == 0
    for words in ("show 20261101-1200-two-ab11", "report", "report --format json", "report --format csv"):
        found = drbench(*words.split())
        assert found.code == 4  # one record is damaged and left out
        assert r"record 1: label: got 'caf\udce9'" in found.err
        assert found.out.count("::error::host") > 1  # the others are there
        assert hostile.harm(found.out, data="--format" in words) == []
        assert hostile.harm(found.err) == []
