"""Which layers are replaced: those that compute what nn.Conv2d computes; all others are named, or skipped."""

from __future__ import annotations

import re
import warnings

import pytest
import torch
from timm.layers import Conv2dSame, StdConv2d
from torch import nn

from drbench.errors import InputError
from drbench.models import convert
from drbench.operators import DRConv2d


def test_tensorflows_same_padding_is_kept_or_refused():
    torch.manual_seed(0)
    for kernel, stride in ((3, 1), (2, 1), (1, 2)):
        same = Conv2dSame(3, 4, kernel, stride=stride)
        x = torch.randn(2, 3, 9, 8)
        torch.testing.assert_close(convert(same, "*", init="preserve")(x), same(x), atol=1e-5, rtol=1e-5)
    with pytest.raises(
        InputError, match=r"^where: got '0', a timm\.layers\.conv2d_same\.Conv2dSame with stride \(2, 2\)"
    ):
        convert(nn.Sequential(Conv2dSame(3, 4, 3, stride=2)), "*")


class Named(nn.Conv2d):
    """Another name for the same function."""


class Standardised(nn.Conv2d):
    """Another function."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(input, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)


def test_a_subclass_is_replaced_only_if_it_computes_the_same():
    model = nn.Sequential(Named(3, 4, 3))
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(convert(model, "0", regions=3)(x), model(x), atol=1e-5, rtol=0)


def scripted(model: nn.Module) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # that it will go
        return torch.jit.script(model)


UNSUITABLE = [
    (nn.ConvTranspose2d(3, 4, 3), r"a torch\.nn\.ConvTranspose2d, which is no torch\.nn\.Conv2d"),
    (nn.Conv3d(3, 4, 3), r"a torch\.nn\.Conv3d, which is no"),
    (nn.Conv1d(3, 4, 3), r"a torch\.nn\.Conv1d, which is no"),
    (nn.LazyConv2d(4, 3), r"a torch\.nn\.LazyConv2d without weights, because it has seen no input yet"),
    (Standardised(3, 4, 3), r"a .*\.Standardised, which computes its output in its own way"),
    (StdConv2d(3, 4, 3), r"a timm\..*\.StdConv2d, which computes its output in its own way"),
    (Conv2dSame(3, 4, 3, stride=2), r"a timm\..*\.Conv2dSame with stride \(2, 2\)"),
    (nn.Conv2d(3, 4, 3, dtype=torch.complex64), r"a torch\.nn\.Conv2d with a weight of complex64"),
    (
        type("Conv2d", (nn.Module,), {"__module__": "torch.ao.nn.quantized.modules.conv"})(),
        r"a torch\.ao\.nn\.quantized",
    ),
    (scripted(nn.Conv2d(3, 4, 3)), r"a torch\.jit\..*, which is no torch\.nn\.Conv2d"),
]


@pytest.mark.parametrize(("layer", "reason"), UNSUITABLE)
def test_what_can_not_be_replaced_is_refused_by_name_or_skipped(layer, reason):
    model = nn.Sequential(layer, nn.Conv2d(3, 5, 3))
    with pytest.raises(InputError, match=rf"^where: got '0', {reason}.*unsuitable='skip'") as raised:
        convert(model, "*", probe=False, inplace=True)
    assert "\n" not in str(raised.value)
    converted = convert(model, "*", unsuitable="skip", probe=False, inplace=True)
    assert converted[0] is layer
    assert isinstance(converted[1], DRConv2d)
    ((skipped,), (row,)) = converted.conversion.skipped, converted.conversion.replacements
    assert (skipped.name, row.name) == ("0", "1")
    assert re.match(reason, skipped.reason)
    assert skipped.reason in str(converted.conversion)


def test_nothing_left_is_an_error():
    with pytest.raises(
        InputError, match=r"^where: none of the selected layers can be replaced: '0' is a torch.nn.Conv1d"
    ):
        convert(nn.Sequential(nn.Conv1d(3, 4, 3), nn.Conv1d(3, 4, 3)), "*", unsuitable="skip")


def test_a_scripted_network_is_refused():
    with pytest.raises(InputError, match=r"^model: got a TorchScript module; expected the module that was scripted"):
        convert(scripted(nn.Conv2d(3, 4, 3)), "*")
