"""Examples in docstrings are run, and print what they show."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

import drbench
from tests.golden.outputs import unpack
from tests.test_rooms import sources

MODULES = [module for module, path in sources() if ">>> " in path.read_text(encoding="utf-8")]
PUBLIC = {
    "drbench.models.convert": "convert",
    "drbench.models.create": "create_model",
    "drbench.models.model_file": "load_model",
    "drbench.operators.drconv": "DRConv2d",
    "drbench.report.frame": "load",
    "drbench_kernels": "region_conv2d",
}
"""What users call first: these have an example."""


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_show(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module(name)
    if name == "drbench.report.frame":  # a database of results
        unpack(tmp_path)
    monkeypatch.chdir(tmp_path)
    known = {"torch": torch, "drbench": drbench, **vars(module)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = doctest.testmod(module, extraglobs=known, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize(("module", "name"), PUBLIC.items())
def test_what_users_call_first_has_an_example(module: str, name: str) -> None:
    held: ModuleType = import_module(module)
    assert ">>> " in (getattr(held, name).__doc__ or "")
