"""The catalogue says of networks, recipes and operators what their own modules say."""

from __future__ import annotations

import subprocess
import sys

import pytest

from drbench import catalog, models, operators
from drbench.errors import unknown


def test_models() -> None:
    found = {name: (one.name, one.family, one.width, one.stem_stride) for name, one in models.ARCHITECTURES.items()}
    assert found == {name: (one.name, one.family, one.width, one.stem_stride) for name, one in catalog.MODELS.items()}


def test_recipes_and_operators() -> None:
    assert {name: recipe.description for name, recipe in models.RECIPES.items()} == dict(catalog.RECIPES)
    assert tuple(operators.OPERATORS) == catalog.OPERATORS


def test_the_list_needs_no_torch() -> None:
    script = (
        "import sys; from drbench.cli import main; code = main(['models', 'list']); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, "mobilenet_v1_0.25" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("mobilenet_v2", "mobilenet_v2_1.00"),
        ("mobilenetv2", "mobilenet_v2_1.00"),
        ("MobileNet-V1", "mobilenet_v1_1.00"),
        ("mobilenet_v3_large", "mobilenet_v3_large_1.00"),
        ("shufflenet_v2", "shufflenet_v2_x1_0"),
        ("shufflenet_v2_x0.5", "shufflenet_v2_x0_5"),
        ("mobilenet_v2_1.0", "mobilenet_v2_1.00"),
    ],
)
def test_the_network_that_is_meant_is_suggested(given: str, meant: str) -> None:
    assert f"did you mean {meant!r}?" in str(unknown("model", given, catalog.MODELS))
