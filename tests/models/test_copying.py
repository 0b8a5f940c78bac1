"""A copy of any network; what can't be copied is named."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from drbench.errors import InputError
from drbench.models import convert
from drbench.operators import DRConv2d

REPARAMETRISED = {
    "weight norm": weight_norm,
    "spectral norm": spectral_norm,
    "pruned": lambda conv: prune.l1_unstructured(conv, "weight", 0.5),
    "weight norm, parametrised": parametrizations.weight_norm,
    "spectral norm, parametrised": parametrizations.spectral_norm,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*spectral_norm.* is deprecated:FutureWarning")
@pytest.mark.parametrize("kind", REPARAMETRISED)
def test_a_layer_whose_weight_is_computed_is_copied(kind):
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
    REPARAMETRISED[kind](model[0])
    x = torch.randn(2, 3, 9, 9)
    model(x)  # leaves the result of a computation in the layer
    model.eval()
    converted = convert(model, "1")
    assert isinstance(converted[1], DRConv2d)
    assert isinstance(model[1], nn.Conv2d)
    torch.testing.assert_close(converted(x), model(x), atol=1e-5, rtol=1e-5)
    converted(x).sum().backward()
    assert all(parameter.grad is not None for parameter in converted[0].parameters())
    assert all(parameter.grad is None for parameter in model.parameters()), "the copy has its own parameters"


def test_what_can_not_be_copied_is_named():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Sequential(nn.Conv2d(8, 8, 3, padding=1)))
    model[1][0].guard = threading.Lock()
    with pytest.raises(InputError, match=r"^inplace: got False, but the attribute 'guard' of '1.0' can't be copied"):
        convert(model, "0")
    converted = convert(model, "*", inplace=True)
    assert converted[1][0].guard is not None


@pytest.mark.parametrize("attribute", [lambda x: x, torch.Generator(), torch.ones(3), {"a": [1]}])
def test_other_attributes_are_no_hindrance(attribute):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    model[1].attribute = attribute
    assert isinstance(convert(model, "0")[0], DRConv2d)
