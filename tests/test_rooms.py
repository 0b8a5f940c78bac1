"""Who may import whom (docs/architecture.md). Read from the sources, so that no import escapes by being late."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[1]
ROOTS = (TOP, TOP / "kernels", TOP / "suites", TOP / "db")
BASE = {
    "drbench",
    "drbench.atomic",
    "drbench.bounds",
    "drbench.catalog",
    "drbench.errors",
    "drbench.figures",
    "drbench.identity",
    "drbench.interrupts",
    "drbench.names",
    "drbench.passwords",
    "drbench.conditions",
    "drbench.paths",
    "drbench.protocol_versions",
    "drbench.published",
    "drbench.records",
    "drbench.sources",
    "drbench.statistics.samples",
    "drbench.streams",
    "drbench.text",
}

# room -> what it may import beside itself, the base rooms and the standard library
ALLOWED: dict[str, set[str]] = {
    "drbench.records": set(),
    "drbench.atomic": set(),
    "drbench.bounds": set(),
    "drbench.catalog": set(),
    "drbench.trust": set(),
    "drbench.variant_table": {"pydantic"},
    "drbench.errors": set(),
    "drbench.figures": set(),
    "drbench.passwords": set(),
    "drbench.streams": set(),
    "drbench.text": set(),
    "drbench.interrupts": set(),
    "drbench.names": set(),
    "drbench.sources": set(),
    "drbench.paths": set(),
    "drbench.statistics": set(),
    "drbench.statistics.samples": {"numpy"},
    "drbench.published": {"drbench_suites"},
    "drbench_kernels": {"torch", "triton"},
    "drbench_suites": set(),
    "drbench_db": {"sqlalchemy", "alembic", "drbench.outcomes"},
    "drbench.outcomes": {"numpy"},
    "drbench.operators": {"torch", "timm", "drbench_kernels"},
    "drbench.models": {
        "torch",
        "torchvision",
        "timm",
        "safetensors",
        "drbench.operators",
        "drbench.trial",
        "drbench.trust",
        "drbench.variant_table",
    },
    "drbench.trial": {"torch"},
    "drbench.data": {"torch", "torchvision", "numpy", "PIL"},
    "drbench.measure": {"torch", "ptflops", "psutil", "drbench_kernels", "drbench.precision", "drbench.trial"},
    "drbench.tasks": {"torch", "numpy", "drbench.data", "drbench.models", "drbench.outcomes", "drbench.trial"},
    "drbench.precision": {"torch"},
    "drbench.devices": {"torch"},
    "drbench.training": {
        "torch",
        "accelerate",
        "safetensors",
        "drbench.data",
        "drbench.precision",
        "drbench.tasks",
        "drbench.outcomes",
    },
    "drbench.training.presets": set(),
    "drbench.latency": {"torch", "drbench.devices", "drbench.measure", "drbench.precision", "drbench.tasks"},
    "drbench.latency.turns": set(),
    "drbench.latency.busy": {"psutil"},
    "drbench.latency.schedule": {
        "drbench.executor",
        "drbench.job",
        "drbench.latency.busy",
        "drbench.latency.turns",
        "drbench.measure",
        "drbench.statistics.ratios",
    },
    "drbench.experiment": {
        "torch",
        "drbench.data",
        "drbench.devices",
        "drbench.executor",
        "drbench.job",
        "drbench.latency",
        "drbench.measure",
        "drbench.models",
        "drbench.operators",
        "drbench.tasks",
        "drbench.training",
    },
    "drbench.identity": set(),
    "drbench.job": set(),
    "drbench.executor": set(),
    "drbench.stages": {"drbench.executor", "drbench.job", "drbench.latency.schedule"},
    "drbench.workers": {"psutil", "drbench.executor"},
    "drbench.statistics.t_quantiles": {"scipy"},
    "drbench.statistics.ratios": {"drbench.statistics.t_quantiles"},
    "drbench.statistics.significance": {"scipy", "drbench.statistics.t_quantiles"},
    "drbench.against": {
        "torch",
        "drbench.devices",
        "psutil",
        "drbench.experiment",
        "drbench.latency",
        "drbench.measure",
        "drbench.statistics.ratios",
        "drbench.suite",
        "drbench.workers.lifeline",
    },
    "drbench.conditions": set(),
    "drbench.protocol_versions": set(),
    "drbench.check": {
        "drbench_db",
        "drbench.against",
        "drbench.outcomes",
        "drbench.statistics.significance",
        "drbench.statistics.ratios",
        "drbench.suite",
        "pydantic",
    },
    "drbench.check.formats": {"rich", "drbench.check", "drbench.report"},
    "drbench.ci": {"drbench.check", "drbench.run", "drbench.suite", "drbench_db"},
    "drbench.suite": {
        "pydantic",
        "drbench_suites",
        "drbench.data.info",
        "drbench.stages",
        "drbench.training.presets",
        "drbench.variant_table",
    },
    "drbench.run": {
        "drbench_db",
        "drbench.executor",
        "drbench.job",
        "drbench.latency.schedule",
        "drbench.measure",
        "drbench.stages",
        "drbench.statistics.ratios",
        "drbench.suite",
        "drbench.trust",
        "drbench.workers",
    },
    "drbench.run.opbench": {
        "torch",
        "drbench_kernels",
        "drbench_db",
        "drbench.measure",
        "drbench.run",
        "drbench.suite",
    },
    "drbench.exchange": {"drbench.run.opbench", "drbench_db"},
    "drbench.report": {"pandas", "numpy", "rich", "jinja2", "plotly", "drbench.statistics.significance", "drbench_db"},
}
TORCH_FREE = (
    "records",
    "errors",
    "figures",
    "names",
    "paths",
    "statistics.samples",
    "published",
    "suite.plan",
    "report",
    "identity",
    "training.presets",
    "cli",
    "run.opbench.files",
    "exchange",
    "statistics.ratios",
    "against",
    "conditions",
    "check.gate",
    "check.commits",
    "run.runner",
    "latency.schedule",
    "stages",
    "workers",
)


def room(module: str) -> str:
    """The room of a dotted module name: the longest that ALLOWED knows, or its first two parts."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in ALLOWED:
            return ".".join(parts[:length])
    return ".".join(parts[:2])


def sources() -> Iterator[tuple[str, Path]]:
    for root in ROOTS:
        for package in root.glob("drbench*"):
            for path in sorted(package.rglob("*.py")) if package.is_dir() else ():
                relative = path.relative_to(root).with_suffix("")
                parts = relative.parts[:-1] if relative.name == "__init__" else relative.parts
                yield ".".join(parts), path


PACKAGES = {module for module, path in sources() if path.name == "__init__.py"}


def imports(path: Path, module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            assert node.module is not None
            if node.module in PACKAGES:  # `from drbench import models`
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def arrows() -> dict[str, set[str]]:
    """Of every module, the modules that it imports, late imports included, those for type checkers alone left out."""
    known = dict(sources())
    found: dict[str, set[str]] = {}
    for module, path in known.items():
        tree = Untyped().visit(ast.parse(path.read_text(encoding="utf-8")))
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module in known]
        named = {(node.module or "", alias.name) for node in nodes for alias in node.names}
        found[module] = {f"{base}.{name}" if f"{base}.{name}" in known else base for base, name in named} - {module}
    return found


class Untyped(ast.NodeTransformer):
    """Removes the blocks that only type checkers read."""

    def visit_If(self, node: ast.If) -> ast.If | None:
        return None if "TYPE_CHECKING" in ast.unparse(node.test) else node


def test_modules_import_each_other_in_no_circle() -> None:
    graph = arrows()
    assert "drbench.data.sets" in graph["drbench.data.info"]  # a late import is seen
    list(TopologicalSorter(graph).static_order())  # CycleError names the circle


def test_every_source_was_found() -> None:
    found = {module for module, _ in sources()}
    assert {"drbench", "drbench.training.loop", "drbench_kernels.ops", "drbench_db.store", "drbench_suites"} <= found


def test_nobody_imports_who_they_may_not() -> None:
    wrong = []
    for module, path in sources():
        own = room(module)
        if module in ("drbench", "drbench.__main__") or own == "drbench.cli":
            continue
        allowed = ALLOWED[own] | BASE
        for name in imports(path, module):
            other = room(name)
            if name.split(".")[0] in sys.stdlib_module_names or f"{other}.".startswith(f"{own}."):
                continue
            if not any(name == a or name.startswith(f"{a}.") or other == a for a in allowed - {"drbench"}) and (
                name != "drbench" and name != "drbench.__version__"
            ):
                wrong.append(f"{module} imports {name}")
    assert not wrong


def test_nobody_imports_cli() -> None:
    guests = {m for m, path in sources() if room(m) != "drbench.cli" for i in imports(path, m) if "drbench.cli" in i}
    assert guests <= {"drbench.__main__"}


@pytest.mark.parametrize("name", TORCH_FREE)
def test_reading_costs_no_torch(name: str) -> None:
    script = f"import sys, drbench.{name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
