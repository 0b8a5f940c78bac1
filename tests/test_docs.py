"""The README says what works: every command and piece of code in it is run. (docs/your-own.md: tests/cli.)"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "COLUMNS": "120"}
ENVIRONMENT.pop("DRBENCH_DB", None)

# Commands that would take too long, or need what a test has not: the command, and what is run in its place.
SHORTENED = {
    "drbench run suite mobilenet --regions 8": "drbench run suite mobilenet --regions 8 --epochs 1",
    "drbench run suite shufflenet --only 'shufflenet_v2_x0_5*' --match madds --data cifar10 --data-root DATA --download"
    " --preset standard --epochs 10 --seeds 5": "drbench run suite shufflenet --only 'shufflenet_v2_x0_5*'"
    " --match madds --preset standard --epochs 1 --seeds 1",
    "drbench run ops --quick": "drbench run ops --shapes 1x1-24-24@28 --batch-sizes 1 --rounds 3",
}
# An installation, and what runs these tests.
ELSEWHERE = {"make test", "make lint", "make fuzz", "pip install ."}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (TOP / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[str]:
    """Command lines of a page: in its blocks, and in its running text where they need no stand-in for a word."""
    text = (TOP / page).read_text(encoding="utf-8")
    inline = re.findall(r"`(drbench [a-z][^`]*)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    shown = [line for block in blocks(page, "sh") for line in block.splitlines() if line.strip()]
    return shown + [line for line in inline if not re.search(r"\b[A-Z]{2,}\b", line)]


def run(command: str, where: Path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    assert words[0] == "drbench", command
    return subprocess.run(
        [sys.executable, "-m", "drbench", *words[1:]],
        cwd=where,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_all(page: str, where: Path) -> None:
    for command in commands(page):
        if command in ELSEWHERE:
            continue
        done = run(SHORTENED.get(command, command), where)
        assert done.returncode == 0, f"{page}: {command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_the_readme(tmp_path: Path) -> None:
    run_all("README.md", tmp_path)
    for code, shown in examples("README.md"):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, shown), done.stderr


def examples(page: str) -> list[tuple[str, str]]:
    """Blocks of Python, each with the text block that follows it directly: what it prints."""
    text = (TOP / page).read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", text, re.DOTALL | re.MULTILINE)
    assert found
    return found


def test_every_shortened_command_is_still_there() -> None:
    assert set(SHORTENED) <= set(commands("README.md"))


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(TOP)) for p in (TOP / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(page: str) -> None:
    text = (TOP / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((TOP / page).parent / link).exists(), f"{page} links to {link}"


PAGES = ("docs/architecture.md", "CONTRIBUTING.md")
BASES = (
    "",
    "drbench",
    "kernels/drbench_kernels",
    "db/drbench_db",
    "suites/drbench_suites",
    "db",
    "docs",
    "drbench/check/formats",
)


@pytest.mark.parametrize("page", PAGES)
def test_every_path_that_a_page_names_exists(page: str) -> None:
    """A path is relative to the top, to a package, or in a table to the folder with which its entry begins."""
    missing, base = [], ""
    for line in (TOP / page).read_text(encoding="utf-8").splitlines():
        begin = re.match(r" +(?:[\w.]+/)+", line)
        base = begin.group().strip() if begin else base if line.startswith("    ") else ""
        for path in re.findall(r"(?<![\w/.<-])(?:\w+/)*(?:\w+\.(?:py|toml|csv|json|md)\b|\w+/(?=[\s,;:|`]))", line):
            places = [TOP / one / path for one in (*BASES, base, f"drbench/{base}")]
            if "NAME" not in path and not any(place.exists() for place in places):
                missing.append(path)
    assert not missing


def test_the_architecture_names_every_module_and_package_of_drbench() -> None:
    text = (TOP / "docs/architecture.md").read_text(encoding="utf-8")
    names = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (TOP / "drbench").iterdir()
        if path.name[0] != "_" and (path.suffix == ".py" or (path / "__init__.py").exists())
    }
    assert {name for name in names if not re.search(rf"(?<!\w){re.escape(name)}", text)} == set()


def test_every_dotted_name_works_after_import_drbench_alone():
    """`drbench.operators.DRConv2d` and the like; nothing of torch is loaded until one is used."""
    pages = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    dotted = re.findall(r"(?<![\w/.-])drbench(?:\.[A-Za-z]\w*)+", text)
    names = {name for name in dotted if name.split(".")[1] not in ("toml", "yml", "baseline", "db")}  # files
    assert {
        "drbench.operators.DRConv2d",
        "drbench.data.Splits",
        "drbench.convert",
        "drbench.measure.cost.count",
    } <= names
    script = f"import sys, drbench; assert 'torch' not in sys.modules; print({', '.join(sorted(names))})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
