"""Any operator may say which kernels computed it, and have them built before anything is timed."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from drbench.measure import kernels
from drbench.operators import OPERATORS

CPU = torch.device("cpu")


class Own(nn.Conv2d):
    """An operator of a user, which knows nothing of DRConv."""

    built: ClassVar[list[str]] = []

    @staticmethod
    def build_kernels(device, say):
        say(f"building for {device}")
        Own.built.append(device.type)

    @staticmethod
    def kernels_used(device, dtype):
        return f"own {device.type} {str(dtype).removeprefix('torch.')}"


def test_a_network_without_such_operators_names_none() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ModuleDict({"kernels_used": nn.ReLU()}))
    assert kernels.of_model(model, CPU, torch.float32) == {}


def test_an_operator_of_the_user_names_its_kernels() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Own(4, 4, 1), Own(4, 4, 1))
    assert kernels.of_model(model, CPU, torch.float16) == {"kernels": "own cpu float16"}


def test_several_operators_are_all_named() -> None:
    model = nn.Sequential(OPERATORS["drconv"](3, 4, 1, regions=2), Own(4, 4, 1))
    (named,) = kernels.of_model(model, CPU, torch.float64).values()
    assert named == "own cpu float64, torch"  # the native kernels have no float64


def test_region_operators_name_their_kernels_and_dynamic_ones_have_none() -> None:
    offers = {name: hasattr(operator, "kernels_used") for name, operator in OPERATORS.items()}
    assert offers == {"drconv": True, "condconv": False, "fixed-grid": True, "random-guide": True}


def test_each_operator_builds_its_own() -> None:
    said: list[str] = []
    kernels.build_first([nn.Conv2d, Own, OPERATORS["condconv"], lambda *_: None], CPU, said.append)
    assert (Own.built, said) == (["cpu"], ["building for cpu"])
