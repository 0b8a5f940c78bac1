"""Widths of equal cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from drbench.errors import FailedError, InputError
from drbench.models import ARCHITECTURES, build, create_model, match_width
from drbench.records import Variant

FAMILIES = {architecture.family: name for name, architecture in reversed(ARCHITECTURES.items())}


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", [FAMILIES[f] for f in FAMILIES if "medium" not in f and "large" not in f])
def test_parameters_come_within_one_percent(name):
    variant = Variant(name, num_classes=10)
    target = round(parameters(build(variant)) * 1.13)
    width = match_width(variant, target, "params", parameters)
    # what is built from the recorded width has the matched cost
    matched = build(replace(variant, match="params", matched_to="0123", width=width))
    assert parameters(matched) == pytest.approx(target, rel=0.01)


def test_a_target_already_met_keeps_the_published_width():
    variant = Variant("shufflenet_v2_x0_5")
    assert match_width(variant, parameters(build(variant)), "params", parameters) == 0.5


def test_a_converted_networks_cost_is_reached():
    converted = create_model("shufflenet_v2_x0_5", operator="drconv", where="released")
    width = match_width(Variant("shufflenet_v2_x0_5"), target := parameters(converted), "params", parameters)
    assert width > 0.9
    assert parameters(create_model("shufflenet_v2_x0_5", width=width)) == pytest.approx(target, rel=0.02)


def test_out_of_reach_is_said_with_the_nearest():
    with pytest.raises(
        FailedError, match=r"no width of shufflenet_v2_x0_5 costs 1000 params .* the nearest is .* with \d+"
    ):
        match_width(Variant("shufflenet_v2_x0_5"), 1000, "params", parameters)


def test_wrong_arguments_are_refused(tmp_path, monkeypatch):
    variant = Variant("shufflenet_v2_x0_5")
    with pytest.raises(InputError, match=r"^match: got 'flops'; expected madds, params"):
        match_width(variant, 1000, "flops", parameters)
    for target, tolerance in (("9", 0.01), (True, 0.01), (float("nan"), 0.01), (9, -1), (9, None)):
        with pytest.raises(InputError, match=r"^match: (target|tolerance): got .*; expected a number from"):
            match_width(variant, target, "madds", parameters, tolerance=tolerance)
    with pytest.raises(InputError, match=r"^variant: got a str"):
        match_width("shufflenet_v2_x0_5", 9, "madds", parameters)
    with pytest.raises(InputError, match=r"^match: target: got 0; expected a number from 1 on"):
        match_width(variant, 0, "madds", parameters)
    (tmp_path / "own_fixed.py").write_text("from torch import nn\n\n\ndef make():\n    return nn.Conv2d(3, 4, 1)\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^width: got 1.0, but 'own_fixed:make' has no argument 'width'"):
        match_width(Variant("own_fixed:make"), 1000, "params", parameters)


def test_a_users_network_is_widened_by_its_own_argument(tmp_path, monkeypatch):
    (tmp_path / "own_wide.py").write_text(
        "from torch import nn\n\n\ndef make(width=1.0):\n    return nn.Conv2d(3, round(100 * width), 1, bias=False)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert match_width(Variant("own_wide:make"), 420, "params", parameters) == pytest.approx(1.4, abs=0.02)
    assert create_model("own_wide:make", width=1.4)(torch.zeros(1, 3, 2, 2)).shape == (1, 140, 2, 2)
