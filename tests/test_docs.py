"""The pages: links lead somewhere, paths and names exist. (Commands: tests/cli/test_readme.py.)"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]


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
